"""The transaction (R35): who may write, what is left out, and what is refused for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import CommitUnknown, DatabaseUnavailable, PipelineError, SchemaOutdated, Unstorable
from pipeline.core.fold import FOLD_VERSION, FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store import controls
from pipeline.store.connect import Connection, connect
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from tests.core.raw_messages import NOW_MS, maintenance, quality, raw
from tests.store.leasing import acquire

A, B = SourcePartition("t", 0), SourcePartition("t", 1)
BASE_MS = 1_790_000_000_000


def batch(source: SourcePartition, start: int, end: int) -> RecordBatch:
    records = [
        Record(
            n,
            BASE_MS + n,
            orjson.dumps(
                {
                    "factory_id": "f",
                    "machine_id": f"m{source.partition}",
                    "machine_type": "press",
                    "time": "2026-09-21T00:00:00Z",
                    "seq": n,
                    "readings": {"t": float(n)},
                }
            ),
        )
        for n in range(start, end)
    ]
    return RecordBatch(source, "", start, end, records)


class World:
    """Two partitions, their owner's tokens, and ways to write."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.progress = Progress(Subscriber("local", "g", "w"), FOLD_VERSION)
        self.leasing = connect(dsn, autocommit=True, lock_timeout_s=1)
        self.sink = Sink(lambda: connect(dsn), self.progress)
        self.owners = {source: self.acquire(source) for source in (A, B)}

    def acquire(self, source: SourcePartition) -> str:
        return acquire(self.progress, self.leasing, source, end=10**6, backend=self.sink.backend).owner

    def unit(self, source: SourcePartition, start: int, end: int, skip: dict | None = None) -> UnitOfWork:
        effects = fold(PartitionState(), batch(source, start, end), FoldRules(), Marks(), skip)
        return UnitOfWork(source, self.owners[source], start, end, [effects])

    def windows_mark(self, source: SourcePartition) -> int:
        row = self.leasing.execute(
            "SELECT windows_next FROM source_progress WHERE partition = %s", [source.partition]
        ).fetchone()
        return int(row[0])

    def events(self) -> dict[int, int]:
        rows = self.leasing.execute(
            "SELECT source_partition, count(*) FROM event WHERE event_type = 'Telemetry Ingest' GROUP BY 1"
        ).fetchall()
        return dict(rows)

    def close(self) -> None:
        self.sink.close()
        self.leasing.close()


@pytest.fixture
def world(database) -> Iterator[World]:
    made = World(database.dsn)
    yield made
    made.close()


def test_a_partition_that_has_another_owner_is_left_out_and_the_others_are_stored(world: World) -> None:
    units = [world.unit(A, 0, 10), world.unit(B, 0, 10)]
    world.acquire(A)

    assert world.sink.store(units) == {B}
    assert world.events() == {1: 10}


def test_the_same_unit_has_its_effect_once(world: World) -> None:
    unit = world.unit(A, 0, 10)

    assert (world.sink.store([unit]), world.sink.store([unit])) == ({A}, set())
    assert world.events() == {0: 10}


def test_a_unit_that_does_not_begin_at_the_mark_is_refused(world: World) -> None:
    assert world.sink.store([world.unit(A, 5, 10)]) == set()
    assert world.events() == {}


def test_windows_are_refused_together_with_effects_when_their_mark_is_elsewhere(world: World) -> None:
    state = PartitionState()
    fold(state, batch(A, 0, 10), FoldRules(), Marks())
    unit = replace(world.unit(A, 0, 10), projections=project(state, 3, 10, FoldRules()))

    assert world.sink.store([unit]) == set()
    assert world.events() == {}


def test_one_record_in_thousands_that_the_database_refuses_is_named_and_set_aside(
    world: World, admin: Connection
) -> None:
    admin.execute("ALTER TABLE event ADD CHECK (source_offset <> 3217)")
    with pytest.raises(Unstorable) as caught:
        world.sink.store([world.unit(B, 0, 100), world.unit(A, 0, 5000)])
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 0, 3217)
    assert world.events() == {}

    reason = DeadLetterReason.UNSTORABLE
    controls.skip(world.leasing, world.progress, A, world.owners[A], 3217, reason, caught.value.reason)
    taken = acquire(world.progress, world.leasing, A, end=10**6)
    world.owners[A] = taken.owner
    assert world.sink.store([world.unit(A, 0, 5000, taken.skip)]) == {A}

    assert world.events() == {0: 4999}
    letters = admin.execute("SELECT source_offset, reason FROM dead_letter").fetchall()
    effects = admin.execute('SELECT "offset" FROM control_effect').fetchall()
    assert (letters, effects) == ([(3217, "unstorable")], [(3217,)])


def facts(world: World, goods: list[int], skip: dict | None = None) -> UnitOfWork:
    """Reports of so many pieces each, at the first offsets."""
    records = [Record(n, NOW_MS, raw(quality(good=good))) for n, good in enumerate(goods)]
    records.append(Record(len(goods), NOW_MS, raw(maintenance(note=str(goods)))))
    batch = RecordBatch(A, "", 0, len(records), records)
    effects = fold(PartitionState(), batch, FoldRules(), Marks(), skip)
    return UnitOfWork(A, world.owners[A], 0, len(records), [effects])


def test_a_fact_that_the_database_refuses_is_found_and_set_aside(world: World, admin: Connection) -> None:
    admin.execute("ALTER TABLE quality_report ADD CHECK (good <> 13)")
    goods = [*range(10, 40)]
    with pytest.raises(PipelineError) as caught:
        world.sink.store([facts(world, goods)])
    assert isinstance(caught.value, Unstorable)
    assert caught.value.offset == 3

    skip = {3: (DeadLetterReason.UNSTORABLE, caught.value.reason)}
    assert world.sink.store([facts(world, goods, skip)]) == {A}

    stored = admin.execute("SELECT good FROM quality_report ORDER BY source_offset").fetchall()
    assert stored == [(good,) for good in goods if good != 13]
    assert admin.execute("SELECT source_offset FROM dead_letter").fetchall() == [(3,)]


def test_of_a_topic_that_was_recreated_the_newer_fact_is_kept(world: World, admin: Connection) -> None:
    assert world.sink.store([facts(world, [1, 2])]) == {A}
    admin.execute("UPDATE source_progress SET effects_next = 0")

    assert world.sink.store([facts(world, [7, 8])]) == {A}

    assert admin.execute("SELECT good FROM quality_report ORDER BY source_offset").fetchall() == [(7,), (8,)]
    assert admin.execute("SELECT note FROM maintenance_record").fetchall() == [("[7, 8]",)]
    assert admin.execute("SELECT count(*) FROM event WHERE event_type = 'Quality Reported'").fetchone() == (4,)


def test_a_connection_that_was_ended_is_opened_again_by_the_next_try(world: World, admin: Connection) -> None:
    assert world.sink.store([world.unit(A, 0, 10)]) == {A}
    admin.execute("SELECT pg_terminate_backend(%s)", [world.sink.backend.pid])

    with pytest.raises(DatabaseUnavailable) as caught:
        world.sink.store([world.unit(A, 10, 20)])

    assert caught.value.retriable
    assert world.sink.store([world.unit(A, 10, 20)]) == {A}
    assert world.events() == {0: 20}


class _LosesItsCommit(psycopg.Connection):
    """A connection whose COMMIT gets through and whose answer does not."""

    losing = True

    def commit(self) -> None:
        super().commit()
        if self.losing and self.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and self.armed:
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    armed = False


def test_an_answer_to_commit_that_is_lost_is_unknown_and_the_marks_tell(world: World, database) -> None:
    lossy = _LosesItsCommit.connect(database.dsn, options="-c search_path=telemetry")
    sink = Sink(lambda: lossy, world.progress)
    assert sink.store([]) == set()
    lossy.armed = True
    unit = world.unit(A, 0, 10)

    with pytest.raises(CommitUnknown):
        sink.store([unit])

    assert acquire(world.progress, world.leasing, A, end=100).effects == 10
    assert world.events() == {0: 10}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("ALTER ROLE worker_test SET default_transaction_read_only = on", DatabaseUnavailable),
        ("DROP TABLE anomaly CASCADE", SchemaOutdated),
    ],
    ids=["read-only", "a table is missing"],
)
def test_what_the_database_refuses_says_whether_it_may_pass(world: World, admin: Connection, change, error) -> None:
    admin.execute(change)
    try:
        with pytest.raises(error):
            world.sink.store([world.unit(A, 0, 10)])
    finally:
        admin.execute("ALTER ROLE worker_test RESET ALL")


def test_a_row_that_stays_locked_is_something_to_wait_for(world: World, admin: Connection, database) -> None:
    sink = Sink(lambda: connect(database.dsn, lock_timeout_s=0.1), world.progress)
    with admin.transaction():
        admin.execute("SELECT 1 FROM source_progress FOR UPDATE")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            sink.store([world.unit(A, 0, 10)])

    assert sink.store([world.unit(A, 0, 10)]) == {A}
    sink.close()


def test_a_transaction_that_was_ended_for_idling_can_be_tried_again(world: World, database) -> None:
    """As for a worker that was stopped in the middle of it for longer than the server allows."""
    impatient = make_conninfo(database.dsn, options="-c idle_in_transaction_session_timeout=50")
    sink = Sink(lambda: connect(impatient), world.progress)
    assert sink.store([]) == set()
    sink._open().execute("SELECT 1")
    time.sleep(0.3)

    with pytest.raises(DatabaseUnavailable):
        sink.store([world.unit(A, 0, 10)])

    assert sink.store([world.unit(A, 0, 10)]) == {A}
    sink.close()


def test_windows_that_another_partition_has_already_are_merged_though_they_seem_new(world: World) -> None:
    for source in (A, B, B):
        state = PartitionState()
        moved = replace(batch(A, 0, 10), source=source)
        marks = Marks(windows=0)
        fold(state, moved, FoldRules(), marks)
        mark = world.windows_mark(source)
        due = project(state, mark, mark + 10, FoldRules())
        assert due.windows.first.all()
        unit = UnitOfWork(source, world.owners[source], 0, 0, [], due)
        assert world.sink.store([unit]) == {source}

    assert world.leasing.execute("SELECT machine_id, count, mean FROM reading_window").fetchall() == [("m0", 30, 4.5)]


def test_windows_of_several_partitions_in_one_transaction_are_merged_once_each(world: World) -> None:
    states = {source: PartitionState() for source in (A, B)}
    for start in (0, 10):
        units = []
        for source, state in states.items():
            fold(state, batch(source, start, start + 10), FoldRules(), Marks())
            due = project(state, start, start + 10, FoldRules())
            units.append(UnitOfWork(source, world.owners[source], 0, 0, [], due))
        assert world.sink.store(units) == {A, B}

    rows = world.leasing.execute("SELECT machine_id, count, mean FROM reading_window ORDER BY 1").fetchall()
    assert rows == [("m0", 20, 9.5), ("m1", 20, 9.5)]
