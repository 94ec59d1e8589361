"""R38, R43: what is no more because of its age is not missed, and everything else is judged as before."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pipeline.archive import archiving
from pipeline.archive.place import Place
from pipeline.archive.retention import Retention
from pipeline.core.errors import SettingsError
from pipeline.store.connect import connect
from pipeline.verifying.report import DEFECTS
from pipeline.verifying.verify import Bounds, Verification
from simulator.ledger import LedgerRow
from tests.verify.folding import alone, fold_plant
from tests.verify.tables import PLANT, Tables, accepted, at, sound

AGED = replace(PLANT, duplicate_share=0.0)


@pytest.fixture
def folded(tables: Tables) -> list[LedgerRow]:
    """The ledger of a plant that went through fold and sink."""
    return fold_plant(tables, AGED)


def defects(found: Verification) -> set[str]:
    return {name for name in DEFECTS if getattr(found, name)}


def middle(tables: Tables) -> dt.datetime:
    return tables.admin.execute(
        "SELECT to_timestamp(avg(extract(epoch FROM event_time))) FROM event WHERE event_type = 'Telemetry Ingest'"
    ).fetchone()[0]


def mark(tables: Tables, table: str, before: dt.datetime) -> None:
    tables.admin.execute("INSERT INTO retention_mark VALUES (%s, %s)", [table, before])


@pytest.mark.parametrize("marked", ["event", "reading_window"])
def test_dropped_rows_are_not_missed_and_faults_in_what_is_left_are_found(
    tables: Tables, folded: list[LedgerRow], marked: str
) -> None:
    before = middle(tables)
    tables.admin.execute("DELETE FROM event WHERE event_time < %s", [before])
    tables.admin.execute("DELETE FROM reading_window WHERE window_start < %s - interval '1 min'", [before])
    assert defects(alone(tables)) >= {"unaccounted", "windows_wrong"}
    mark(tables, marked, before)

    found = alone(tables)

    kept = [row for row in accepted(folded) if row.event_time_ms >= before.timestamp() * 1000]
    assert (defects(found), found.stored) == (set(), len(kept))
    assert 0 < len(kept) < len(accepted(folded))
    assert found.windows > 0
    assert (found.unaccounted, found.states_wrong, found.late is None) == (None, 0, False)
    assert any(before.isoformat() in note and "because of their age" in note for note in found.notes)
    tables.admin.execute("UPDATE reading_window SET count = count + 1 WHERE window_start > %s", [before])
    tables.admin.execute("UPDATE machine_state SET messages = 0")
    assert defects(alone(tables)) == {"windows_wrong", "states_wrong"}


def test_old_rows_that_are_still_there_are_not_judged(tables: Tables, folded: list[LedgerRow]) -> None:
    early = min(accepted(folded), key=lambda row: row.event_time_ms)
    tables.admin.execute(f"UPDATE event SET body = '{{}}' {at(early)}")
    assert defects(alone(tables)) >= {"unreadable"}
    mark(tables, "event", middle(tables))

    assert defects(alone(tables)) == set()


def test_offsets_are_not_unaccounted_for_if_their_dead_letters_may_be_gone(
    tables: Tables, folded: list[LedgerRow]
) -> None:
    assert folded
    assert alone(tables).unaccounted == 0
    tables.admin.execute("DELETE FROM dead_letter")
    assert alone(tables).unaccounted > 0
    mark(tables, "dead_letter", dt.datetime.now(dt.UTC))

    found = alone(tables)

    assert (found.unaccounted, defects(found), found.stored) == (None, set(), len(accepted(folded)))


def test_by_a_ledger_nothing_from_before_the_mark_is_lost(tables: Tables, rows: list[LedgerRow]) -> None:
    before = middle(tables)
    gone = sound([row for row in rows if row.event_time_ms < before.timestamp() * 1000])
    tables.admin.execute(f"DELETE FROM event {at(gone)}")
    assert tables.verify().lost == 1
    mark(tables, "event", before)

    found = tables.verify()

    assert (defects(found), found.sent) == (set(), sum(r.event_time_ms >= before.timestamp() * 1000 for r in rows))
    later = sound([row for row in rows if row.event_time_ms >= before.timestamp() * 1000])
    tables.admin.execute(f"DELETE FROM event {at(later)}")
    assert tables.verify().lost == 1


def test_by_a_ledger_what_has_no_dead_letter_any_more_is_not_lost(tables: Tables, rows: list[LedgerRow]) -> None:
    garbage = sum(row.kind == "garbage" for row in rows)
    tables.admin.execute("DELETE FROM dead_letter")
    assert tables.verify().lost == garbage > 0
    # The ledger of these tests says of all messages that they were sent at the epoch
    mark(tables, "dead_letter", dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
    assert tables.verify().lost == garbage
    tables.admin.execute("UPDATE retention_mark SET dropped_before = '1970-01-02'")

    found = tables.verify()

    assert (found.lost, found.sent) == (0, len(rows))
    assert any("1970-01-02" in note for note in found.notes)


def test_what_retention_dropped_is_not_missed(
    tables: Tables, folded: list[LedgerRow], database, tmp_path: Path
) -> None:
    place, before = Place(str(tmp_path / "archive")), middle(tables)
    with connect(database.admin_dsn, autocommit=True) as guard, connect(database.admin_dsn, autocommit=True) as reading:
        archiving.archive(guard, reading, place, due_days=None)
        verdicts = list(Retention(guard, reading, place).apply(before))
    assert any(verdict.dropped and verdict.rows for verdict in verdicts)

    found = alone(tables)

    assert (defects(found), found.unaccounted) == (set(), None)
    assert 0 < found.stored < len(accepted(folded))


def test_bounds_within_what_is_gone_are_one_line(tables: Tables, folded: list[LedgerRow]) -> None:
    assert folded
    before = middle(tables)
    mark(tables, "event", before)

    with pytest.raises(SettingsError, match="because of their age: nothing before --until"):
        alone(tables, bounds=Bounds(until=before))


def test_nothing_is_locked_while_it_is_judged(tables: Tables, folded: list[LedgerRow], database) -> None:
    assert folded
    said: set[str] = set()

    def told(what: str, _done: int, _of: int | None) -> None:
        said.add(what)
        with connect(database.admin_dsn, lock_timeout_s=0.2) as other:
            if what.startswith("copying"):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
            else:
                other.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")

    assert alone(tables, told=told).holds
    assert said >= {"copying events", "reading events", "judging places", "judging machines"}
