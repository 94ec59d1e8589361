"""Control records for every partition, as they are stored and found (R9, R35, R45)."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pipeline.core.controls import Control, PlacedControl
from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.errors import NotOwner, NotReproducible
from pipeline.core.fold import FoldRules
from pipeline.core.records import SourcePartition
from pipeline.store import controls, snapshots
from pipeline.store.connect import Connection, connect
from pipeline.store.sink import Sink
from pipeline.store.snapshots import Snapshot
from tables.loading import load
from tables.snapshots import encode
from tests.store.leasing import PROGRESS, acquire

SOURCE, OTHER = SourcePartition("t", 0), SourcePartition("t", 1)


def write(connection: psycopg.Connection, name: str, group: str = "g") -> Control:
    row = connection.execute(
        "INSERT INTO control_record (kind, cluster, consumer_group, reason, detail, created_by, body)"
        " VALUES ('metadata', 'local', %s, 'test', '', 'test', %s) RETURNING id, xid::text::bigint",
        [group, Jsonb({"name": name})],
    ).fetchone()
    return Control(row[0], "metadata", {"name": name}, row[1])


def placed(connection: Connection, source: SourcePartition, first: int = 0) -> list[PlacedControl]:
    return controls.placed(connection, PROGRESS, source, first)


def applied(owner: str, at: int, *controls: Control, before: int = 0) -> UnitOfWork:
    """Return a unit of a silent partition that applied some control records where it stands."""
    placed = tuple(PlacedControl(each, at, before + n) for n, each in enumerate(controls))
    return UnitOfWork(SOURCE, owner, at, at, [Effects.of_controls(at, placed)], controls=before)


def test_a_partition_learns_what_it_applied_where_and_what_waits(connection, sink) -> None:
    first, second = write(connection, "first"), write(connection, "second")
    write(connection, "of another group", group="h")
    taken = acquire(PROGRESS, connection, SOURCE)
    assert (placed(connection, SOURCE), taken.waiting, taken.controls_mark) == ([], (first, second), 0)

    assert sink.store([applied(taken.owner, 0, second)]) == {SOURCE}

    again, other = acquire(PROGRESS, connection, SOURCE), acquire(PROGRESS, connection, OTHER)
    assert (placed(connection, SOURCE), again.waiting) == ([PlacedControl(second, 0, 0)], (first,))
    assert again.controls_mark == 1
    assert (placed(connection, OTHER), other.waiting) == ([], (first, second))


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
    assert (anew.effects, anew.waiting, anew.controls_mark) == (0, (first,), 0)
    assert placed(connection, SOURCE) == []
    assert sink.store([applied(anew.owner, 0, first)]) == {SOURCE}

    assert acquire(PROGRESS, connection, SOURCE, end=10).waiting == ()
    assert placed(connection, SOURCE) == [PlacedControl(first, 0, 0)]


class Owned:
    """A partition whose owners store and keep what they applied."""

    def __init__(self, connection: Connection, sink: Sink) -> None:
        self.connection, self.sink = connection, sink
        self.read: list[PlacedControl] = []
        self.own()

    def own(self, **otherwise: object) -> None:
        self.taken = replace(acquire(PROGRESS, self.connection, SOURCE), **otherwise)
        self.partition = load(SOURCE, self.taken, 0, FoldRules(), lambda *_: [], lambda: True, self.placed)

    def placed(self, source: SourcePartition, first: int) -> list[PlacedControl]:
        self.read = placed(self.connection, source, first)
        return self.read

    def store(self) -> None:
        unit = self.partition.take_all(FoldRules())
        assert self.sink.store([unit]) == {SOURCE}
        self.partition.stored(unit)

    def save(self) -> None:
        partition = self.partition
        state, size = encode(partition.state.to_arrays())
        held = partition.state.registry.applied
        assert snapshots.save(self.connection, PROGRESS, Snapshot(SOURCE, partition.owner, 0, 1, state, size, held))


def maintained(connection: Connection, machine_id: str) -> int:
    return connection.execute(
        "INSERT INTO control_record (kind, cluster, consumer_group, reason, detail, created_by, body)"
        " VALUES ('maintained', 'local', 'g', 'test', '', 'test', %s) RETURNING id",
        [Jsonb({"machine_id": machine_id, "time_ms": 1_790_000_000_000})],
    ).fetchone()[0]


def foretold(owned: Owned) -> list:
    return owned.partition.state.to_arrays()["foretold"]


def test_a_new_owner_reads_the_control_records_that_its_snapshot_lacks_and_knows_them_all(connection, sink) -> None:
    for machine in ("m0", "m1", "m2"):
        maintained(connection, machine)
    owned = Owned(connection, sink)
    owned.store()
    owned.save()
    for machine in ("m3", "m4"):
        maintained(connection, machine)
    owned.partition.tell(controls.since(connection, PROGRESS, owned.taken.horizon).controls)
    owned.store()
    maintained(connection, "m5")

    owned.own()
    assert [each.ordinal for each in owned.read] == [3, 4]
    known = foretold(owned)
    owned.own(snapshot=None)

    assert [each.ordinal for each in owned.read] == [0, 1, 2, 3, 4]
    assert foretold(owned) == known == [[f"m{n}", 1_790_000_000_000] for n in range(6)]


def test_what_a_new_owner_is_told_again_it_applied_before(connection, database, sink) -> None:
    with connect(database.dsn) as slow:
        maintained(slow, "slow")
        maintained(connection, "m0")
        owned = Owned(connection, sink)
        owned.store()
        owned.save()
        owned.own()
        assert owned.partition.known == owned.taken.heard != set()
        slow.commit()

    owned.partition.tell(controls.since(connection, PROGRESS, owned.taken.horizon).controls)
    owned.partition.tell(controls.since(connection, PROGRESS, 0).controls)
    owned.store()

    assert [each.control.body["machine_id"] for each in placed(connection, SOURCE)] == ["m0", "slow"]


def test_a_database_that_lost_control_records_is_noticed(connection, database, sink) -> None:
    maintained(connection, "m0")
    owned = Owned(connection, sink)
    owned.store()
    owned.save()
    with connect(database.admin_dsn, autocommit=True) as restoring:
        restoring.execute("UPDATE source_progress SET controls_next = 0, windows_controls = 0")
        owned.own()
        assert [each.ordinal for each in owned.read] == [0], "the snapshot knows of more, so all are read"

        restoring.execute("UPDATE source_progress SET controls_next = 1, windows_controls = 1")
        restoring.execute("DELETE FROM control_effect")
        with pytest.raises(NotReproducible):
            owned.own(snapshot=None)


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


def test_a_place_belongs_to_the_log_that_it_is_in_whatever_the_clock_of_another_server_says(connection, sink) -> None:
    control = write(connection, "first")
    acquire(PROGRESS, connection, SOURCE, end=60)
    connection.execute("UPDATE source_progress SET effects_next = 50, windows_next = 50")
    owner = acquire(PROGRESS, connection, SOURCE, end=10).owner
    connection.execute("UPDATE source_progress SET log_since = clock_timestamp() + interval '1 hour'")

    sink.store([applied(owner, 0, control)])

    assert placed(connection, SOURCE) == [PlacedControl(control, 0, 0)]


def test_who_lost_a_partition_while_loading_is_told_that_and_not_that_something_is_missing(connection, sink) -> None:
    control = write(connection, "first")
    owner = acquire(PROGRESS, connection, SOURCE).owner
    sink.store([applied(owner, 0, control)])
    connection.execute("UPDATE source_progress SET effects_next = 50, windows_next = 50, windows_controls = 1")
    slow = acquire(PROGRESS, connection, SOURCE, end=60)
    # Another owner found that the topic was recreated: places in the log before are none in this one
    acquire(PROGRESS, connection, SOURCE, end=10)

    with pytest.raises(NotOwner):
        load(SOURCE, slow, 0, FoldRules(), lambda *_: [], lambda: False, lambda s, n: placed(connection, s, n))
