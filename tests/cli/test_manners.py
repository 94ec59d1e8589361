"""How commands behave at a terminal, in a pipe, under signals, and when they are used wrongly."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from rich.cells import cell_len
from typer.main import get_command

from pipeline.cli import app, main
from pipeline.cli.terminal import print_table, table
from pipeline.store import event_partitions
from pipeline.store.migrate import migrate
from tests.system.processes import Site

SECRET = "s3cret-word"
PIPELINE = [sys.executable, "-m", "pipeline"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs a command in this process, in an empty folder, without settings of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)

    def command(*words: str, **settings: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["pipeline", *words])
            for name, value in settings.items():
                patch.setenv(f"PIPELINE_{name}", value)
            with pytest.raises(SystemExit) as end:
                main()
        return (int(end.value.code or 0), *capfd.readouterr())

    return command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["worker", "--nope"], "No such option: --nope"),
        (["worker", "--wait=soon"], "--wait"),
        (["worker", "--wait=-1"], "--wait"),
        (["deadletter", "show"], "PLACE"),
        (["deadletter", "show", "telemetry.machine:3"], "topic:partition:offset:index"),
        (["deadletter", "show", "a:b:c:d"], "topic:partition:offset:index"),
        (["deadletter", "requeue"], "--all"),
        (["deadletter", "list", "--reason=boredom"], "boredom"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_help(run: Run, words: list[str], said: str) -> None:
    code, out, err = run(*words)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said.lower() in err.lower()
    assert re.fullmatch(r"pipeline: .*; see `\S*pipeline[a-z .]* --help`\n|pipeline: .*--help`\n", err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models", "show", "abc"], "'MODEL': write a whole number; see"),
        (["models", "show", "9" * 23], "'MODEL': write a number of at most 9,223,372,036,854,775,807; see"),
        (["models", "compare", "1", "0"], "'OTHER': write a number of at least 1; see"),
        (["models", "explain", "x"], "'EVENT_ID': write a UUID, such as"),
        (["models", "train", "x", "--machine-type=p", "--horizon=far"], "'--horizon': write a number; see"),
        (["models", "train", "x", "--machine-type=p", "--source=no"], "'no' is not one of 'events', 'archive'; see"),
        (["worker", "--wait=-1"], "'--wait': write a number of at least 0; see"),
        (["models", "list", "--kind=\udcff"], r"word 3, --kind=\udcff, is no text in UTF-8"),
    ],
)
def test_a_word_of_the_wrong_kind_is_told_with_what_to_write(run: Run, words: list[str], said: str) -> None:
    code, out, err = run(*words)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"user": "nobody"}, 'for user "nobody"'),
        ({"dbname": "absent"}, 'database "absent" does not exist'),
        ({"port": "1"}, "Connection refused"),
        ({"port": "many"}, 'invalid integer value "many"'),
        ({"host": "absent.invalid"}, "absent.invalid"),
    ],
    ids=str,
)
def test_a_database_that_gives_no_connection_is_named_with_its_settings(
    run: Run, database, changed: dict[str, str], said: str
) -> None:
    dsn = make_conninfo(database.dsn) + "".join(f" {name}={value}" for name, value in changed.items())

    code, out, err = run("models", "list", POSTGRES__DSN=dsn)

    assert (code, out, err.count("\n")) == (69, "", 1)
    assert said in err
    assert "Is the server running" not in err
    is_running = "FATAL:" in err
    assert err.endswith("; correct postgres.dsn\n" if is_running else "; start it, or correct postgres.dsn\n")


@pytest.mark.parametrize(
    ("name", "setting"), [("POSTGRES__ADMIN_DSN", "postgres.admin_dsn"), ("POSTGRES__DSN", "postgres.dsn")]
)
def test_the_login_of_whoever_changes_models_is_named_by_the_setting_it_is_from(
    run: Run, database, name: str, setting: str
) -> None:
    _, _, err = run("models", "retire", "1", **{name: f"{make_conninfo(database.dsn)} password=wrong"})

    assert err.endswith(f"; correct {setting}\n")


@pytest.mark.parametrize("key", ["CA_FILE", "CERTIFICATE_FILE"])
def test_a_certificate_that_is_none_is_told_with_its_settings(run: Run, tmp_path: Path, key: str) -> None:
    (tmp_path / "notes.txt").write_text("no certificate")
    files = {f"BROKER__{name}": "notes.txt" for name in {key, *(["KEY_FILE"] if key == "CERTIFICATE_FILE" else [])}}

    code, out, err = run("topics", BROKER__SECURITY_PROTOCOL="SSL", BROKER__ADDRESS="127.0.0.1:1", **files)

    assert (code, out, err.count("\n")) == (78, "", 1)
    assert "broker.ca_file, broker.certificate_file or broker.key_file is no readable PEM file" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "is not UTF-8: byte 0xff; save it as UTF-8"), (b"[", "is no TOML"), (None, "Is a directory")],
)
def test_a_file_of_settings_that_cannot_be_read_is_told_with_the_reason(
    run: Run, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "own.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)

    code, out, err = run("config", CONFIG="own.toml")

    assert (code, out, err.count("\n")) == (78, "", 1)
    assert f"own.toml {said}" in err or f"own.toml cannot be read: {said}" in err


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    code, out, err = run()

    assert code == 2
    assert "Usage:" in out + err
    assert "deadletter" in out + err


@pytest.mark.parametrize("words", [["--help"], ["config"], ["models", "list"], ["models", "show", "1"]], ids=" ".join)
def test_what_needs_no_worker_does_not_wait_for_one(words: list[str], tmp_path: Path) -> None:
    program = (
        f"import sys; from pipeline.cli import main; sys.argv = ['pipeline', *{words}]\n"
        "try: main()\nfinally: print(*sys.modules, file=open('modules', 'w'))"
    )
    nowhere = {"PIPELINE_POSTGRES__DSN": "postgresql://127.0.0.1:1/plant", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | nowhere,
        capture_output=True,
        timeout=60,
        check=False,
    )
    imported = (tmp_path / "modules").read_text().split()

    assert "typer" in imported
    assert not {"numba", "river", "faust", "aiokafka", "fastapi", "pyarrow"}.intersection(imported)


def _commands() -> list[list[str]]:
    top = get_command(app).commands
    return [[name] for name in top if name != "deadletter"] + [
        ["deadletter", name] for name in top["deadletter"].commands
    ]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_help_fits_80_columns_and_names_every_option(run: Run, words: list[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = get_command(app)
    for word in words:
        command = command.commands[word]

    code, out, _ = run(*words, "--help")

    assert code == 0
    assert all(option in out for parameter in command.params for option in parameter.opts if option.startswith("--"))
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plant=x=1"], "KEY=VALUE"),
        (["--plant=seed=a"], "--plant seed"),
        (["--plant=late_share=2"], "late_share"),
        (["--plant=fault_kinds=step,rust"], "fault_kinds"),
        (["--machines=0"], "machines"),
        (["--codec=zip"], "zstd"),
    ],
)
def test_a_plant_that_cannot_be_is_refused_in_one_line(run: Run, words: list[str], said: str) -> None:
    done = subprocess.run([*PIPELINE, "simulate", *words], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert said in done.stderr


def test_a_plant_says_at_once_that_its_topic_or_its_ledger_cannot_be(site: Callable[..., Site], tmp_path: Path) -> None:
    at = site()
    (tmp_path / "notes.txt").write_text("no ledger")

    for words, said in (
        (["--topic=absent"], "absent"),
        (["--ledger=/proc/no/ledger.csv"], "/proc/no/ledger.csv"),
        (["--ledger=notes.txt"], "notes.txt"),
    ):
        done = at.run("simulate", "--messages=1", *words)
        assert (done.returncode, done.stderr.count("\n")) == (78, 1), done.stderr
        assert said in done.stderr


def test_a_login_without_rights_is_a_finding_and_a_line(run: Run, broker_address: str, topic, database) -> None:
    settings = {
        "BROKER__ADDRESS": broker_address,
        "BROKER__TOPICS": f'["{topic()}"]',
        "POSTGRES__DSN": database.dashboard_dsn,
    }

    code, out, err = run("doctor", "--json", **settings)
    assert (code, err) == (1, "")
    assert [found["what"] for found in json.loads(out) if found["state"] == "wrong"] == ["schema"]
    assert "pipeline_worker" in out

    code, out, err = run("status", **settings)
    assert (out, err.count("\n")) == ("", 1)
    assert code != 0
    assert "pipeline_worker" in err


def test_the_doctor_notes_an_owner_and_names_what_is_missing(run: Run, broker_address: str, database) -> None:
    settings = {"BROKER__ADDRESS": broker_address, "BROKER__TOPICS": '["absent"]', "POSTGRES__DSN": database.admin_dsn}

    code, out, _ = run("doctor", "--json", **settings)

    found = {finding["what"]: finding for finding in json.loads(out)}
    assert code == 1
    assert (found["rights"]["state"], found["broker"]["state"], found["topic absent"]["state"]) == (
        "note",
        "ok",
        "wrong",
    )
    assert "pipeline topics --create" in found["topic absent"]["found"]


def test_the_doctor_names_partitions_that_no_migration_has_finished_with(
    run: Run, broker_address: str, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"BROKER__ADDRESS": broker_address, "POSTGRES__DSN": empty_database}
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(event_partitions, "bring_up_to_date", lambda _: [])
        migrate(empty_database)
    for _ in range(2):
        _, out, _ = run("doctor", "--json", **settings)
        found.append({finding["what"]: finding for finding in json.loads(out)})
        migrate(empty_database)

    assert found[0]["index"]["state"] == "wrong"
    assert "run `pipeline migrate`" in found[0]["index"]["found"]
    assert (found[1]["index"]["state"], found[1]["partitions"]["state"]) == ("ok", "ok")


def test_what_is_piped_into_something_that_has_had_enough_ends_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PIPELINE, "config"], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_worker_that_waits_for_its_database_can_be_told_to_stop(
    site: Callable[..., Site], database, number, code
) -> None:
    away = make_conninfo(database.dsn, host="127.0.0.1", port="1", password=SECRET)
    at = site(settings={"LOG__LEVEL": "debug", "POSTGRES__DSN": away})
    worker = at.worker("worker")
    at.wait(lambda: worker.said("service.waiting"))

    worker.signal(number)

    assert worker.wait(20) == code
    assert not worker.said("Traceback")
    assert not worker.said(SECRET)


def test_a_table_at_a_terminal_is_no_wider_than_it() -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "60", "LINES": "24", "PIPELINE_BROKER__TOPICS": '["' + "x" * 70 + '"]'}
    subprocess.run(
        [*PIPELINE, "doctor"], stdout=slave, stderr=slave, env=environment | _away(), timeout=60, check=False
    )
    os.close(slave)
    text = os.read(master, 100_000).decode()
    os.close(master)

    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in text.splitlines()]
    assert lines[0].split() == ["state", "what", "found"]
    assert "\x1b[1m" in text
    assert max(map(len, lines)) <= 60


def _away() -> dict[str, str]:
    return {
        "PIPELINE_BROKER__SECURITY_PROTOCOL": "SASL_SSL",
        "PIPELINE_POSTGRES__DSN": f"postgresql://worker:{SECRET}@127.0.0.1:1/plant",
    }


def test_piped_every_row_is_one_line_without_codes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["what", "found"], [("a", "long " * 100), ("b", None)], prose=True)

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["what", "a", "b"]


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    ((_, row),) = table(["body"], [("\x1b]0;gotcha\x07\nsecond",)], None)

    assert row == r"\x1b]0;gotcha\x07\nsecond"


WORDS = st.text("abc -", max_size=12)


@given(st.lists(st.tuples(WORDS, st.integers(0, 10**9), st.floats(0, 1e9) | st.none(), WORDS)), st.integers(40, 90))
def test_a_table_fits_its_width_and_loses_no_number(rows, width: int) -> None:
    columns = ["machine", "messages", "rate", "remark"]
    for prose in (False, True):
        parts = table(columns, [(*row[:3], row[3] * 4 if prose else row[3]) for row in rows], width, prose=prose)
        text = "\n".join(line for part in parts for line in part)

        assert all(f"{count:,}" in text for _, count, _, _ in rows)
        assert all(name in text for name in columns)
        assert max(map(cell_len, text.splitlines())) <= max(width, 48)
        assert prose or {len(part) for part in parts} == {1 + len(rows)}
