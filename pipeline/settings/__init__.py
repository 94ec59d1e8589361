"""Settings: from a TOML file and the environment, checked before anything starts.

The file is ``pipeline.toml`` in the working folder, or what ``PIPELINE_CONFIG`` names. A variable of the environment wins
over the file: ``PIPELINE_BROKER__ADDRESS`` is ``address`` in the group ``[broker]``. Times end in their unit.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.core.errors import SettingsError
from pipeline.core.wrong_values import not_utf8, said
from pipeline.settings.groups import (
    Archive,
    Broker,
    Detectors,
    Flush,
    Health,
    Ingest,
    Log,
    Oee,
    Outbox,
    Postgres,
    Retention,
    Silence,
    Site,
    Spikes,
    Watchdog,
    Web,
    Windows,
)
from pipeline.settings.prognosis import Monitoring, Prognosis

PREFIX = "PIPELINE_"
FILE_VARIABLE = "PIPELINE_CONFIG"
DEFAULT_FILE = "pipeline.toml"


class Settings(BaseSettings):
    """All settings, by group."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=False
    )

    site: Site = Site()
    broker: Broker = Broker()
    postgres: Postgres = Postgres()
    flush: Flush = Flush()
    outbox: Outbox = Outbox()
    archive: Archive = Archive()
    retention: Retention = Retention()
    ingest: Ingest = Ingest()
    windows: Windows = Windows()
    spikes: Spikes = Spikes()
    detectors: Detectors = Detectors()
    prognosis: Prognosis = Prognosis()
    monitoring: Monitoring = Monitoring()
    silence: Silence = Silence()
    oee: Oee = Oee()
    health: Health = Health()
    web: Web = Web()
    watchdog: Watchdog = Watchdog()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the environment first, then what :func:`load` read from the file."""
        return env_settings, init_settings

    @property
    def group(self) -> str:
        """Consumer group, of the factory if there is one."""
        return f"{self.broker.group}-{self.site.factory}" if self.site.factory else self.broker.group

    @property
    def source_topics(self) -> list[str]:
        """Source topics by their full names."""
        return [self._full_name(topic) for topic in self.broker.topics]

    @property
    def command_topic(self) -> str:
        """Topic that commands on metadata are sent to by its full name."""
        return self._full_name(self.broker.command_topic)

    @property
    def alert_topic(self) -> str:
        """Topic that anomalies are published to by its full name; empty: none."""
        return self._full_name(self.broker.alert_topic) if self.broker.alert_topic else ""

    @property
    def all_topics(self) -> list[str]:
        """Topics that are read and topics that are written, by their full names."""
        return self.source_topics + ([self.alert_topic] if self.alert_topic else [])

    def _full_name(self, topic: str) -> str:
        factory = f"{self.site.factory}." if self.site.factory else ""
        return f"{self.broker.topic_prefix}{factory}{topic}"

    @property
    def admin_dsn(self) -> str:
        """Connection string of who may migrate."""
        return (self.postgres.admin_dsn.get_secret_value() or self.postgres.dsn.get_secret_value()).strip()

    @property
    def admin_setting(self) -> str:
        """Setting that :attr:`admin_dsn` is from, for people."""
        return "postgres.admin_dsn" if self.postgres.admin_dsn.get_secret_value() else "postgres.dsn"


def load(factory: str | None = None, file: str | None = None) -> Settings:
    """Return the checked settings.

    Parameters
    ----------
    factory
        Wins over ``site.factory``.
    file
        Instead of the usual file.

    Raises
    ------
    SettingsError
        If a setting is wrong or unknown: one line that names the key and where its value came from.
    """
    path = Path(file or os.environ.get(FILE_VARIABLE, DEFAULT_FILE))
    from_file = _read(path, named_by="--config" if file else FILE_VARIABLE if FILE_VARIABLE in os.environ else "")
    _check_groups(from_file, path)
    _check_variables()
    try:
        settings = Settings(**from_file)
    except ValidationError as error:
        raise SettingsError(_complaint(error, from_file, path)) from None
    if settings.broker.heartbeat_interval_s * 2 > settings.broker.session_timeout_s:
        origin = _origin("broker", "heartbeat_interval_s", from_file, path)
        raise SettingsError(
            f"broker.heartbeat_interval_s (from {origin}) must be at most half of broker.session_timeout_s"
        )
    if settings.broker.alert_topic in settings.broker.topics:
        origin = _origin("broker", "alert_topic", from_file, path)
        raise SettingsError(
            f"broker.alert_topic (from {origin}) is one of broker.topics: alerts would be read as telemetry"
        )
    return settings if factory is None else _serving(settings, factory)


def origins(settings: Settings) -> list[tuple[str, str, str]]:
    """Return (key, value, origin) of every setting; secrets are masked."""
    path = Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))
    from_file = _read(path)
    rows = []
    for group in Settings.model_fields:
        for key in keys(group):
            value = getattr(getattr(settings, group), key)
            shown = json.dumps(str(value) if isinstance(value, SecretStr) else value, ensure_ascii=False)
            rows.append((f"{group}.{key}", shown, _origin(group, key, from_file, path)))
    return rows


def keys(group: str) -> dict[str, FieldInfo]:
    """Return the settings of a group with their descriptions and defaults."""
    model = Settings.model_fields[group].annotation
    assert isinstance(model, type)  # noqa: S101  # every group is declared above
    fields: dict[str, FieldInfo] = model.model_fields
    return fields


def variable(group: str, key: str) -> str:
    """Return the environment variable of a setting.

    Examples
    --------
    >>> variable("broker", "address")
    'PIPELINE_BROKER__ADDRESS'
    """
    return f"{PREFIX}{group}__{key}".upper()


def _origin(group: str, key: str, from_file: dict[str, Any], path: Path) -> str:
    if variable(group, key) in {name.upper() for name in os.environ}:
        return variable(group, key)
    return str(path) if key in from_file.get(group, {}) else "default"


def _read(path: Path, named_by: str = "") -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named_by:
            raise SettingsError(f"{named_by} names {path}, which is not there") from None
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} {not_utf8(error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}; write [group], and beneath it key = value") from error


def _serving(settings: Settings, factory: str) -> Settings:
    try:
        site = Site.model_validate(settings.site.model_dump() | {"factory": factory})
    except ValidationError as error:
        raise SettingsError(f"site.factory (from --factory): {said(error.errors()[0])}") from None
    return settings.model_copy(update={"site": site})


def _check_groups(from_file: dict[str, Any], path: Path) -> None:
    for group, given in from_file.items():
        if group not in Settings.model_fields:
            raise SettingsError(f"{group} (from {path}) is no setting; `pipeline config` lists them all")
        if not isinstance(given, dict):
            raise SettingsError(f"{group} (from {path}) is a group of settings; write [{group}] and its keys beneath")


def _check_variables() -> None:
    known = {variable(group, key): (group, key) for group in Settings.model_fields for key in keys(group)}
    for name, value in os.environ.items():
        if not name.upper().startswith(PREFIX) or name == FILE_VARIABLE:
            continue
        if name.upper() not in known:
            raise SettingsError(f"the environment has {name}, which is no setting; `pipeline config` lists them all")
        group, key = known[name.upper()]
        if get_origin(keys(group)[key].annotation) is tuple and not _is_list(value):
            raise SettingsError(f"""{group}.{key} (from {name}): write a JSON list, for example '["a", "b"]'""")


def _is_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _complaint(error: ValidationError, from_file: dict[str, Any], path: Path) -> str:
    # The message never repeats the value, which may be a secret
    first = error.errors()[0]
    group, key = (str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        return f"{group}.{key} (from {path}) is no setting; `pipeline config` lists them all"
    return f"{group}.{key} (from {_origin(group, key, from_file, path)}): {said(first)}"
