"""Settings: a file, the environment that wins over it, and one line about whatever is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.core.detectors.catalogue import CHANGE, STUCK
from pipeline.core.errors import SettingsError
from pipeline.rules import fold_rules
from pipeline.settings import Settings, keys, load, origins, variable

SECRET = "s3cret-Wort"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "pipeline.toml").write_text(text)
        return tmp_path / "pipeline.toml"

    return write


def test_without_a_file_and_variables_everything_is_the_default() -> None:
    assert load() == Settings()
    assert {origin for _, _, origin in origins(load())} == {"default"}


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(file, monkeypatch) -> None:
    file('[broker]\naddress = "file:1"\ngroup = "from-file"\n[flush]\nmax_records = 7\n')
    monkeypatch.setenv("PIPELINE_BROKER__ADDRESS", "environment:2")

    settings = load()
    origin = {key: (value, where) for key, value, where in origins(settings)}

    assert (settings.broker.address, settings.broker.group) == ("environment:2", "from-file")
    assert origin["broker.address"] == ('"environment:2"', "PIPELINE_BROKER__ADDRESS")
    assert origin["broker.group"] == ('"from-file"', "pipeline.toml")
    assert origin["flush.max_records"] == ("7", "pipeline.toml")
    assert origin["broker.partitions"] == ("8", "default")


def test_another_file_is_read_when_the_variable_names_it(file, tmp_path, monkeypatch) -> None:
    file("[broker]\npartitions = 3\n")
    other = tmp_path / "other.toml"
    other.write_text("[broker]\npartitions = 5\n")
    monkeypatch.setenv("PIPELINE_CONFIG", str(other))

    assert load().broker.partitions == 5
    assert ("broker.partitions", "5", str(other)) in origins(load())


def test_every_setting_has_a_variable(monkeypatch) -> None:
    for group in Settings.model_fields:
        for key in keys(group):
            default = getattr(getattr(Settings(), group), key)
            value = {"topics": '["a"]', "gateways": '["g"]'}.get(key) or ("[]" if isinstance(default, tuple) else None)
            text = default.get_secret_value() if hasattr(default, "get_secret_value") else str(default)
            monkeypatch.setenv(variable(group, key), value or text)

    assert {where for _, _, where in origins(load())} == {
        variable(group, key) for group in Settings.model_fields for key in keys(group)
    }


def test_lists_in_the_environment_are_json(monkeypatch) -> None:
    monkeypatch.setenv("PIPELINE_BROKER__TOPICS", '["a", "b"]')
    monkeypatch.setenv("PIPELINE_INGEST__GATEWAYS", '["edge 1"]')

    assert load().broker.topics == ("a", "b")
    assert load().ingest.gateways == ("edge 1",)


def test_detectors_are_chosen_in_the_file(file) -> None:
    file(
        '[detectors]\nenabled = ["stuck"]\nalarms_per_machine_day = 0.5\n[[detectors.choices]]\ndetector = "change"\n'
        'machine_types = ["press*"]\nthreshold = 30\nparameters = { warm_up = 100 }\n'
    )

    rules = fold_rules(load()).detectors

    press, mill = (rules.variant(CHANGE, kind, "temperature") for kind in ("press", "mill"))
    assert mill is None
    assert press is not None
    assert (press.rules.warm_up, press.alarms.initial, press.alarms.budget) == (100, 30.0, 0.5)
    assert rules.variant(STUCK, "mill", "temperature") is not None


def test_factory_and_prefix_stand_before_topics_and_the_factory_after_the_group(monkeypatch) -> None:
    monkeypatch.setenv("PIPELINE_BROKER__TOPIC_PREFIX", "test.")
    monkeypatch.setenv("PIPELINE_SITE__FACTORY", "aurora")

    assert load().source_topics == ["test.aurora.telemetry.machine"]
    assert load().alert_topic == ""
    assert load().group == "pipeline-aurora"
    assert load("borealis").source_topics == ["test.borealis.telemetry.machine"]
    assert load("").group == "pipeline"

    monkeypatch.setenv("PIPELINE_BROKER__ALERT_TOPIC", "alert")
    assert load().all_topics == ["test.aurora.telemetry.machine", "test.aurora.alert"]


def test_migrations_run_under_the_workers_login_unless_there_is_another(monkeypatch) -> None:
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", "postgresql://worker@db/plant")
    assert load().admin_dsn == "postgresql://worker@db/plant"

    monkeypatch.setenv("PIPELINE_POSTGRES__ADMIN_DSN", "postgresql://postgres@db/plant")
    assert load().admin_dsn == "postgresql://postgres@db/plant"


def test_secrets_are_masked_wherever_settings_are_shown(monkeypatch) -> None:
    for key in ("POSTGRES__DSN", "POSTGRES__ADMIN_DSN"):
        monkeypatch.setenv(f"PIPELINE_{key}", f"postgresql://worker:{SECRET}@db/plant")
    monkeypatch.setenv("PIPELINE_BROKER__SASL_PASSWORD", SECRET)

    settings = load()

    assert SECRET not in f"{settings} {settings!r} {settings.model_dump_json()} {origins(settings)}"


WRONG_VARIABLES = [
    ("PIPELINE_BROKER__ADRESS", "x", "PIPELINE_BROKER__ADRESS", "no setting"),
    ("PIPELINE_BROKR__ADDRESS", "x", "PIPELINE_BROKR__ADDRESS", "no setting"),
    ("PIPELINE_BROKER", '{"address": "x"}', "PIPELINE_BROKER", "no setting"),
    ("PIPELINE_BROKER__PARTITIONS", "many", "broker.partitions", "write a whole number"),
    ("PIPELINE_BROKER__PARTITIONS", "0", "broker.partitions", "at least 1"),
    ("PIPELINE_BROKER__TOPICS", "telemetry", "broker.topics", "JSON list"),
    ("PIPELINE_BROKER__TOPICS", "[", "broker.topics", "JSON list"),
    ("PIPELINE_BROKER__TOPICS", "[]", "broker.topics", "at least 1"),
    ("PIPELINE_BROKER__TOPICS", '["a b"]', "broker.topics", "pattern"),
    ("PIPELINE_BROKER__SECURITY_PROTOCOL", "TLS", "broker.security_protocol", "SASL_SSL"),
    ("PIPELINE_BROKER__HEARTBEAT_INTERVAL_S", "20", "broker.heartbeat_interval_s", "half"),
    ("PIPELINE_BROKER__ALERT_TOPIC", "telemetry.machine", "broker.alert_topic", "read as telemetry"),
    ("PIPELINE_OUTBOX__RETENTION_S", "1", "outbox.retention_s", "60"),
    ("PIPELINE_SPIKES__FADING", "nan", "spikes.fading", "finite"),
    ("PIPELINE_LOG__LEVEL", "loud", "log.level", "debug"),
]


@pytest.mark.parametrize(("name", "value", "key", "why"), WRONG_VARIABLES)
def test_a_wrong_variable_ends_a_command_with_one_line_that_names_key_and_variable(
    name, value, key, why, monkeypatch, capsys
) -> None:
    monkeypatch.setenv(name, value)

    line = _refused(monkeypatch, capsys)

    assert name in line
    assert key in line
    assert why in line


WRONG_FILES = [
    ('[broker]\nadress = "x"\n', "broker.adress", "no setting"),
    ("[brokr]\nx = 1\n", "brokr", "no setting"),
    ("address = 1\n", "address", "no setting"),
    ("broker = 3\n", "broker", "[broker]"),
    ("[broker]\npartitions = 10_001\n", "broker.partitions", "at most 10,000"),
    ('[broker]\ntopics = "a"\n', "broker.topics", "write a list"),
    (f'[postgres]\ndsn = ["{SECRET}"]\n', "postgres.dsn", "write a text"),
    ("[broker\n", "pipeline.toml", "line 1"),
]


@pytest.mark.parametrize(("text", "key", "why"), WRONG_FILES)
def test_a_wrong_file_ends_a_command_with_one_line_that_names_key_and_file(
    text, key, why, file, monkeypatch, capsys
) -> None:
    file(text)

    line = _refused(monkeypatch, capsys)

    assert "pipeline.toml" in line
    assert key in line
    assert why in line


def test_a_wrong_group_in_the_file_is_refused_though_a_variable_sets_one_of_its_keys(file, monkeypatch, capsys) -> None:
    file("broker = 3\n")
    monkeypatch.setenv("PIPELINE_BROKER__ADDRESS", "x:1")

    assert "[broker]" in _refused(monkeypatch, capsys)


def test_a_file_that_is_named_must_be_there(monkeypatch, capsys) -> None:
    monkeypatch.setenv("PIPELINE_CONFIG", "absent.toml")

    assert "PIPELINE_CONFIG names absent.toml" in _refused(monkeypatch, capsys)


def test_a_file_that_is_not_text_is_refused(file, monkeypatch, capsys) -> None:
    file("").write_bytes(b"\xff\xfe")

    assert "pipeline.toml is not UTF-8" in _refused(monkeypatch, capsys)


def test_a_factory_that_cannot_be_in_a_topic_is_refused_by_the_name_of_its_option() -> None:
    with pytest.raises(SettingsError, match=r"site\.factory \(from --factory\)"):
        load("north hall")


@pytest.mark.parametrize("dsn", [f"postgresql://worker:{SECRET}@[db/plant", f"nonsense {SECRET}"])
def test_a_connection_string_that_cannot_be_read_is_not_repeated(dsn, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", dsn)

    assert "postgres.dsn" in _refused(monkeypatch, capsys, "deadletter", "list")


@pytest.mark.parametrize(
    "address",
    [f"sftp://user:{SECRET}@host/x", f"sftp://user:{SECRET}/1@host:22/x", "sftp://:22@host", "sftp://u:1@h/x"],
)
@pytest.mark.parametrize("command", ["archive", "config", "status"])
def test_an_archives_address_with_a_password_is_refused_and_not_shown(
    monkeypatch, capsys, address: str, command: str
) -> None:
    monkeypatch.setenv("PIPELINE_ARCHIVE__ADDRESS", address)

    line = _refused(monkeypatch, capsys, command)

    assert "archive.address" in line
    assert "FSSPEC_SFTP_PASSWORD" in line
    assert SECRET not in line


@pytest.mark.parametrize(
    "address", ["/mnt/a:b@c", "s3://bucket/a:b@c", "sftp://user@host:22/x", "webdav://host:8080/a@b", "C:/archive", ""]
)
def test_an_archives_address_without_a_password_is_taken(monkeypatch, address: str) -> None:
    monkeypatch.setenv("PIPELINE_ARCHIVE__ADDRESS", address)

    assert load().archive.address == address


def _refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Run a command that must end with exit code 78; return the only line it says."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *(command or ("config",))])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 78
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("pipeline: ")
    assert SECRET not in err
    return err
