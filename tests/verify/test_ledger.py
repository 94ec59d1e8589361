"""How far a ledger goes, what is still to be stored of it, and what is no ledger."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pipeline.core.errors import DatabaseUnavailable, SchemaOutdated, SettingsError
from pipeline.store.connect import connect
from pipeline.verifying import queries as verify_queries
from pipeline.verifying.verify import behind, ledger_ends, settled, verify
from simulator import ledger as ledgers
from simulator.ledger import LedgerRow
from tests.verify.tables import GROUP, TOPIC, Tables, message


@pytest.mark.parametrize(
    ("marks", "records"),
    [([], 7), ([(0, 4, 4), (1, 3, 3)], 0), ([(0, 4, 2), (1, 3, 3)], 2), ([(0, 9, 9), (1, 0, 9)], 3), ([(0, 4, 4)], 3)],
)
def test_behind_counts_what_either_mark_still_has_to_pass(
    tables: Tables, marks: list[tuple[int, int, int]], records: int
) -> None:
    for mark in marks:
        tables.move_marks(*mark)
    tables.move_marks(0, 0, 0, topic="another.topic")
    ends = {(TOPIC, 0): 3, (TOPIC, 1): 2}

    assert behind(ends, tables.dsn, GROUP) == records
    assert settled(ends, tables.dsn, GROUP) == (records == 0)


def test_the_ends_of_a_ledger_are_its_highest_offsets(tables: Tables, rows: list[LedgerRow]) -> None:
    ends = ledger_ends(tables.ledger)

    assert ends == {(TOPIC, p): max(row.offset for row in rows if row.partition == p) for p in (0, 1)}


def test_the_ledgers_columns_are_the_simulators() -> None:
    assert verify_queries.COLUMNS.split(",") == list(ledgers.COLUMNS)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no rows"),
        (verify_queries.COLUMNS + "\n", "has no rows"),
        ("buy milk\n", "is not a ledger: its first line is not"),
        (verify_queries.COLUMNS + "\nt,0,0\n", "is not a ledger: "),
        (verify_queries.COLUMNS + "\nt,0,x,0,sent,,m,f,1,1,1,[],{}\n", "is not a ledger: "),
        (verify_queries.COLUMNS + '\nt,0,1,0,sent,,m,f,1,1,1,[],"{"\n', "is not a ledger: "),
        (verify_queries.COLUMNS + 2 * "\nt,0,1,0,sent,,m,f,1,1,1,[],{}" + "\n", "the same place twice"),
        (verify_queries.COLUMNS + "\nt,0,1", "has no rows"),
    ],
)
def test_what_is_no_ledger_is_one_line_with_its_path(tables: Tables, content: str | None, complaint: str) -> None:
    if content is not None:
        tables.ledger.write_text(content)

    with pytest.raises(SettingsError, match=complaint) as caught:
        tables.verify()

    assert str(tables.ledger) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('t,0,1,0,sent,,m,f,1,1,1,[],"{"', "line 3: readings: "),
        ('t,0,1,0,sent,,m,f,1,1,1,[],"{""a"":""b""}"', "line 3: readings: "),
        ('t,0,1,0,sent,,m,f,1,1,1,[1],"{}"', "line 3: anomalies: "),
        ('t,,1,0,sent,,m,f,1,1,1,[],"{}"', "line 3 has no partition"),
        ('t,0,1,0,sent,,m,f,1,,1,[],"{}"', "line 3 has no event_time_ms"),
    ],
)
def test_a_spoilt_line_of_a_ledger_is_named(tables: Tables, line: str, complaint: str) -> None:
    tables.ledger.write_text(f"{verify_queries.COLUMNS}\nt,0,0,0,sent,,m,f,1,1,1,[],{{}}\n{line}\n")

    with pytest.raises(SettingsError, match=f"is not a ledger: {complaint}"):
        tables.verify()


def test_a_ledger_that_breaks_off_while_it_is_read_is_named(tables: Tables) -> None:
    # It can be opened, and nothing be read of it
    broken = Path("/proc/self/mem")

    for asked in (lambda: verify(broken, tables.dsn, group=GROUP), lambda: ledger_ends(broken)):
        with pytest.raises(SettingsError, match=f"the ledger {broken} cannot be read: Input/output error"):
            asked()


def test_a_login_that_may_not_read_is_told_which_role_it_lacks(database, tables: Tables) -> None:
    tables.send([message(0)])

    with pytest.raises(SchemaOutdated, match="grant the login the role pipeline_worker"):
        verify(tables.ledger, database.dashboard_dsn, group=GROUP)
    tables.admin.execute("REVOKE SELECT ON machine_state FROM pipeline_worker")
    with pytest.raises(SchemaOutdated, match=r"permission denied for .* grant the login the role pipeline_worker"):
        verify(None, tables.dsn, group=GROUP)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_temporary_folder_is_one_line_and_what_else_goes_wrong_there_is_not_taken_for_that(
    tables: Tables, rows: list[LedgerRow], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert rows

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(SettingsError, match=f"takes no more: {os.strerror(number)}; set TMPDIR"):
        tables.verify()
    number = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        tables.verify()


def test_without_a_place_for_temporary_folders_that_is_said(
    tables: Tables, rows: list[LedgerRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows
    monkeypatch.setattr(tempfile, "tempdir", "/proc/absent")

    with pytest.raises(SettingsError, match=r"no temporary folder can be made: .*; set TMPDIR"):
        tables.verify()


def test_of_two_machines_at_one_place_the_ledger_is_refused(tables: Tables) -> None:
    row = "t,0,1,0,sent,,{},f,1,1,1,[],{{}}\n"
    tables.ledger.write_text(f"{verify_queries.COLUMNS}\n{row.format('a')}{row.format('b')}")

    with pytest.raises(SettingsError, match="the same place twice"):
        tables.verify()


def test_without_a_database_the_error_says_where_it_was_looked_for(tmp_path: Path, tables: Tables) -> None:
    tables.send([message(0)])

    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/plant"):
        verify(tables.ledger, "postgresql://worker:secret@127.0.0.1:1/plant", group=GROUP)


def test_a_database_without_tables_is_named(tables: Tables, empty_database: str) -> None:
    tables.send([message(0)])

    with pytest.raises(SchemaOutdated, match="run `pipeline migrate`"):
        verify(tables.ledger, empty_database, group=GROUP)
    with pytest.raises(SchemaOutdated, match="run `pipeline migrate`"):
        behind({(TOPIC, 0): 0}, empty_database, GROUP)


def test_a_lock_that_is_not_given_is_an_unavailable_database(database, tables: Tables) -> None:
    tables.send([message(0)])
    dsn = make_conninfo(tables.dsn, options="-c statement_timeout=200")
    with connect(database.admin_dsn) as other:
        other.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable, match="was not read: canceling statement"):
            verify(tables.ledger, dsn, group=GROUP)
