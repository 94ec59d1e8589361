"""The stored events of a source partition, read as a log (R61)."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import psycopg
import pytest

from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvent
from pipeline.core.state import PartitionState
from pipeline.store.connect import Connection, connect
from pipeline.store.history import stored_events
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from tests.store.leasing import acquire

SOURCE = SourcePartition("t", 3)
INGEST_MS = 1_790_000_000_123


class World:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.leasing = connect(dsn, autocommit=True)

    def store(
        self, bodies: list[bytes], source: SourcePartition = SOURCE, cluster: str = "local", group: str = "g"
    ) -> None:
        """Store records from offset 0 on, as a worker that took the partition does."""
        progress = Progress(Subscriber(cluster, group, "w"), 1)
        owner = acquire(progress, self.leasing, source).owner
        records = [Record(offset, INGEST_MS, body) for offset, body in enumerate(bodies)]
        effects = fold(PartitionState(), RecordBatch(source, owner, 0, len(bodies), records), FoldRules(), Marks())
        sink = Sink(lambda: connect(self.dsn), progress)
        assert sink.store([UnitOfWork(source, owner, 0, len(bodies), [effects])]) == {source}
        sink.close()

    def read(self, first: int = 0, end: int = 1000, cluster: str = "local") -> list[StoredEvent]:
        progress = Progress(Subscriber(cluster, "g", "w"), 1)
        with connect(self.dsn) as connection:
            return [e for some in stored_events(connection, progress, SOURCE, first, end) for e in some]


def message(seq: int, machine: str = "m") -> bytes:
    body = {"factory_id": "f", "machine_id": machine, "machine_type": "t", "time": "2026-09-21T00:00:00Z"}
    return orjson.dumps(body | {"seq": seq, "readings": {"r": float(seq)}})


@pytest.fixture
def world(database) -> Iterator[World]:
    made = World(database.dsn)
    yield made
    made.leasing.close()


def test_bodies_places_and_times_come_as_they_were_stored(world: World) -> None:
    odd = b' {"seq":5, ' + message(5, machine="\N{SNOWMAN}")[1:].replace(b'"seq":5,', b"") + b" "
    array = b"[" + b",".join([message(1), b"null", message(1), message(2)]) + b"]"

    world.store([message(0), array, b"garbage", odd])

    assert world.read() == [
        StoredEvent(0, 0, INGEST_MS, message(0)),
        StoredEvent(1, 0, INGEST_MS, message(1)),
        StoredEvent(1, 3, INGEST_MS, message(2)),
        StoredEvent(3, 0, INGEST_MS, odd),
    ]
    assert [event.offset for event in world.read(1, 3)] == [1, 1]


def test_only_the_partitions_own_events_are_read_and_each_once(world: World) -> None:
    world.store([message(0)])
    world.store([message(0)], group="another")
    world.store([message(7)], cluster="site-2")
    world.store([message(8)], source=SourcePartition("t", 4))
    world.store([message(9)], source=SourcePartition("u", 3))

    assert [event.value for event in world.read()] == [message(0)]
    assert [event.value for event in world.read(cluster="site-2")] == [message(7)]


def test_what_was_stored_of_a_lost_log_is_not_read_for_the_present_one(world: World) -> None:
    world.store([message(0), message(1)])
    world.leasing.execute("UPDATE source_progress SET windows_next = effects_next")
    progress = Progress(Subscriber("local", "g", "w"), 1)
    assert acquire(progress, world.leasing, SOURCE, end=1).effects == 0

    assert world.read() == []
    world.store([message(2)])
    assert [event.value for event in world.read()] == [message(2)]


def test_many_events_are_read_in_order_however_they_lie(world: World) -> None:
    world.store([message(n) for n in range(1500)])

    assert [event.offset for event in world.read(3, 1400)] == list(range(3, 1400))


def test_offsets_are_found_without_reading_the_whole_table(world: World, database) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute(
            "INSERT INTO telemetry.event SELECT gen_random_uuid(), 'Telemetry Ingest', 'machine', gen_random_uuid(), 'm', 'f',"
            " now(), now(), now(), 't', n % 8, n / 8, 0, '{}' FROM generate_series(0, 199999) AS n"
        )
        admin.execute("VACUUM ANALYZE telemetry.event")
        plan: Connection = admin
        (found,) = plan.execute(
            "EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM telemetry.event"
            " WHERE source_topic = 't' AND source_partition = 3 AND source_offset >= 9000 AND source_offset < 10000"
        ).fetchone()

    text = orjson.dumps(found).decode()
    assert "source_offset_idx" in text or "event_source" in text or "Bitmap Index Scan" in text
    read = found[0]["Plan"]
    assert _rows_looked_at(read) < 50_000


def _rows_looked_at(plan: dict) -> int:
    own = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0) + plan["Actual Rows"]
    return own + sum(_rows_looked_at(each) for each in plan.get("Plans", ()) if "Index" not in each["Node Type"])


def test_a_connection_that_is_lost_meanwhile_is_an_error_that_may_pass(world: World) -> None:
    with connect(world.dsn) as connection:
        found = stored_events(connection, Progress(Subscriber("local", "g", "w"), 1), SOURCE, 0, 10)
        connection.close()
        with pytest.raises(DatabaseUnavailable, match=r"the stored events of t\[3\] were not read"):
            next(found)
