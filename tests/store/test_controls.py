"""Control records for every partition, as they are stored and found (R9, R35, R45)."""

from __future__ import annotations

import psycopg
from psycopg.types.json import Jsonb

from pipeline.core.controls import Control, PlacedControl
from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.records import SourcePartition
from pipeline.store import controls, snapshots
from pipeline.store.connect import connect
from pipeline.store.snapshots import Snapshot
from tests.store.leasing import PROGRESS, acquire

SOURCE, OTHER = SourcePartition("t", 0), SourcePartition("t", 1)


def write(connection: psycopg.Connection, name: str, group: str = "g") -> Control:
    row = connection.execute(
        "INSERT INTO control_record (kind, cluster, consumer_group, reason, detail, created_by, body)"
        " VALUES ('metadata', 'local', %s, 'test', '', 'test', %s) RETURNING id",
        [group, Jsonb({"name": name})],
    ).fetchone()
    return Control(row[0], "metadata", {"name": name})


def applied(owner: str, at: int, *controls: Control, before: int = 0) -> UnitOfWork:
    """Return a unit of a silent partition that applied some control records where it stands."""
    placed = tuple(PlacedControl(each, at, before + n) for n, each in enumerate(controls))
    return UnitOfWork(SOURCE, owner, at, at, [Effects.of_controls(at, placed)], controls=before)


def test_a_partition_learns_what_it_applied_where_and_what_waits(connection, sink) -> None:
    first, second = write(connection, "first"), write(connection, "second")
    write(connection, "of another group", group="h")
    taken = acquire(PROGRESS, connection, SOURCE)
    assert (taken.controls, taken.waiting, taken.controls_mark) == ((), (first, second), 0)

    assert sink.store([applied(taken.owner, 0, second)]) == {SOURCE}

    again, other = acquire(PROGRESS, connection, SOURCE), acquire(PROGRESS, connection, OTHER)
    assert (again.controls, again.waiting) == ((PlacedControl(second, 0, 0),), (first,))
    assert again.controls_mark == 1
    assert (other.controls, other.waiting) == ((), (first, second))


def test_what_a_partition_applied_is_compared_as_the_other_marks_are(connection, sink) -> None:
    first = write(connection, "first")
    owner = acquire(PROGRESS, connection, SOURCE).owner
    unit = applied(owner, 0, first)

    assert (sink.store([unit]), sink.store([unit])) == ({SOURCE}, set())
    assert sink.store([applied("somebody else", 0, write(connection, "second"), before=1)]) == set()

    rows = connection.execute('SELECT control_id, topic, partition, "offset", ordinal FROM control_effect').fetchall()
    assert rows == [(first.id, *SOURCE, 0, 0)]


def test_a_snapshot_is_kept_only_behind_the_control_records_that_it_holds(connection, sink) -> None:
    first = write(connection, "first")
    owner = acquire(PROGRESS, connection, SOURCE).owner
    ahead = Snapshot(SOURCE, owner, 0, 1, b"state", 5, controls=1)
    assert not snapshots.save(connection, PROGRESS, ahead)

    sink.store([applied(owner, 0, first)])
    assert not snapshots.save(connection, PROGRESS, ahead), "machine states and windows do not hold it yet"
    connection.execute("UPDATE source_progress SET windows_controls = 1")

    assert snapshots.save(connection, PROGRESS, ahead)


def test_what_was_applied_in_a_log_that_is_lost_waits_for_the_new_one_and_may_have_the_same_place(
    connection, sink
) -> None:
    first = write(connection, "first")
    owner = acquire(PROGRESS, connection, SOURCE).owner
    sink.store([applied(owner, 0, first)])
    connection.execute("UPDATE source_progress SET effects_next = 50, windows_next = 50")

    anew = acquire(PROGRESS, connection, SOURCE, end=10)
    assert (anew.effects, anew.controls, anew.waiting, anew.controls_mark) == (0, (), (first,), 0)
    assert sink.store([applied(anew.owner, 0, first)]) == {SOURCE}

    assert acquire(PROGRESS, connection, SOURCE, end=10).controls == (PlacedControl(first, 0, 0),)


def test_what_is_committed_later_than_a_higher_number_is_found_all_the_same(connection, database) -> None:
    horizon = controls.since(connection, PROGRESS, 0).horizon
    with connect(database.dsn) as slow:
        late = write(slow, "late")
        early = write(connection, "early")
        polled = controls.since(connection, PROGRESS, horizon)
        slow.commit()

    assert polled.controls == [early]
    assert controls.since(connection, PROGRESS, polled.horizon).controls == [late, early]
    later = controls.since(connection, PROGRESS, controls.since(connection, PROGRESS, 0).horizon)
    assert later.controls == []
