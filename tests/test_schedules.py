"""R4: schedules of service come from a CSV file; what is wrong with a row is said with its line."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import SettingsError
from pipeline.schedules import COLUMNS, Schedule, read
from pipeline.store.connect import connect

HEAD = ",".join(COLUMNS)


def written(tmp_path: Path, *lines: str | bytes) -> Path:
    path = tmp_path / "schedules.csv"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return path


def test_rows_become_schedules_whatever_the_order_of_columns(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\ufefftask,component,machine_type,every_days,every_h,manufacturer,remark\r",
        '"grease, then wipe",spindle,cnc_machine,90,,Acme,x\r',
        "",
        " change oil ,pump,stamping_press,,2000.5",
    )

    assert read(path) == (
        [
            Schedule("cnc_machine", "spindle", None, 90.0, "grease, then wipe", "Acme"),
            Schedule("stamping_press", "pump", 2000.5, None, "change oil", ""),
        ],
        [],
    )


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (",spindle,100,,grease,Acme", "machine_type is empty; name it"),
        ("cnc,,100,,grease,Acme", "component is empty"),
        ("cnc,spindle,100,, ,Acme", "task is empty"),
        ("cnc,spindle,,,grease,Acme", "every_h and every_days are empty"),
        ("cnc,spindle,often,,grease,Acme", "every_h is 'often'"),
        ("cnc,spindle,,0,grease,Acme", "every_days is '0'"),
        ("cnc,spindle,,-3,grease,Acme", "every_days is '-3'"),
        ("cnc,spindle,nan,,grease,Acme", "every_h is 'nan'"),
        ("cnc,spindle,,36501,grease,Acme", "every_days is '36501'"),
        ("cnc,spindle,,1,grease, then wipe,Acme", "more cells than columns"),
        (f"{129 * 'x'},spindle,1,,grease,Acme", "machine_type has 129 characters"),
        (f"cnc,spindle,1,,{257 * 'x'},Acme", "task has 257 characters"),
        ("cnc,spin\0dle,1,,grease,Acme", "NUL"),
        ("press,pump,1,,oil,B", "those of line 2"),
    ],
)
def test_a_refused_row_is_named_by_its_line_and_the_others_are_taken(tmp_path: Path, row: str, word: str) -> None:
    path = written(tmp_path, HEAD, 'press,pump,1,,oil,"A\nB"', row, "press,pump,1,,air,B")

    schedules, refused = read(path)

    assert [(each.task, each.manufacturer) for each in schedules] == [("oil", "A\nB"), ("air", "B")]
    assert [each.line for each in refused] == [4]
    assert word in refused[0].detail


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ([], "lacks the column machine_type"),
        (["machine_type,component,every_h,task,manufacturer"], "lacks the column every_days"),
        ([HEAD, b"\xff"], "is not UTF-8: byte 0xff"),
        ([HEAD, '"a"b,c'], "is no CSV: line 2"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused_as_a_whole(tmp_path: Path, lines: list[str | bytes], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        read(written(tmp_path, *lines))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.csv cannot be read: No such file"):
        read(tmp_path / "none.csv")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", database.dsn)
    return lambda *words: CliRunner().invoke(app, ["schedules", *map(str, words)])


def test_importing_replaces_rows_by_their_key_and_leaves_the_others(run, tmp_path: Path) -> None:
    first = run("import", written(tmp_path, HEAD, "press,pump,1000,,oil,A", "press,frame,,365,look,A"), "--json")
    dry = run("import", written(tmp_path, HEAD, "press,pump,7,,oil,B"), "--dry-run")
    second = run("import", written(tmp_path, HEAD, "press,pump,500,30,oil,B", ",x,1,,y,B"), "--json")

    assert (first.exit_code, dry.exit_code, second.exit_code) == (0, 0, 1)
    assert json.loads(first.output) == {
        "file": str(tmp_path / "schedules.csv"),
        "rows": 2,
        "imported": 2,
        "refused": [],
    }
    assert json.loads(second.output)["refused"] == [{"line": 3, "detail": "machine_type is empty; name it"}]
    assert [tuple(each.values()) for each in json.loads(run("list", "--json").output)] == [
        ("press", "frame", None, 365.0, "look", "A"),
        ("press", "pump", 500.0, 30.0, "oil", "B"),
    ]
    said = run("import", written(tmp_path, HEAD, ",x,1,,y,B")).output
    assert "imported: 0 of 1 row(s)" in said
    assert "machine_type is empty" in said


def test_what_is_due_counts_from_the_last_maintenance_of_that_component(run, tmp_path: Path, database) -> None:
    run("import", written(tmp_path, HEAD, "press,pump,1000,10,oil,A", "press,frame,,30,look,A", "press,belt,50,,see,A"))
    now = dt.datetime.now(dt.UTC)
    with connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute(
            "INSERT INTO machine_state (machine_id, factory_id, machine_type, readings, last_seen, last_offset, source_id,"
            " messages, duplicates, late, unverified, first_seen)"
            " VALUES ('m', 'f', 'press', '{}', now(), 0, 0, 0, 0, 0, 0, now() - interval '40 days'),"
            " ('other', 'f', 'cnc', '{}', now(), 0, 0, 0, 0, 0, 0, now())"
        )
        for number, (kind, days) in enumerate([("planned", 20), ("unplanned", 5), ("failure", 1)]):
            maintained(admin, number, kind, now - dt.timedelta(days=days))
        due = admin.execute(
            "SELECT component, last_maintenance, next_due, overdue FROM dashboard.service_due ORDER BY component"
        ).fetchall()

    assert [row[0] for row in due] == ["belt", "frame", "pump"]
    assert due[0][1:] == (None, None, None)
    assert due[1][1] is None
    assert due[1][3] is True
    assert due[2][1:] == (now - dt.timedelta(days=5), now + dt.timedelta(days=5), False)


def maintained(admin: psycopg.Connection, number: int, kind: str, at: dt.datetime) -> None:
    admin.execute(
        "INSERT INTO maintenance_record (machine_id, cluster, source_topic, source_partition, source_offset, source_index,"
        " factory_id, kind, component, note, event_time, ingest_time, event_id)"
        " VALUES ('m', 'local', 't', 0, %s, 0, 'f', %s, 'pump', '', %s, %s, gen_random_uuid())",
        [number, kind, at, at],
    )
