"""Events stored as workers store them, and the same events out of an archive, for tests to compare."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import orjson
from psycopg import sql

from pipeline.archive import archiving
from pipeline.archive.archiving import Archived
from pipeline.archive.place import Place
from pipeline.archive.reader import Archive
from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvent
from pipeline.core.state import PartitionState
from pipeline.store.connect import connect
from pipeline.store.history import stored_events
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from tests.store.leasing import acquire

SOURCE = SourcePartition("t", 3)
DAY = dt.datetime(2026, 9, 21, tzinfo=dt.UTC)
INGEST_MS = 1_790_000_000_123

COLUMNS = (
    "event_id::text, event_type, entity_type, entity_id::text, machine_id, factory_id, event_time, ingest_time, stored_time,"
    " source_topic, source_partition, source_offset, source_index, body::text"
)

Row = tuple[Any, ...]


class Plant:
    """A database that workers store into, one record after the other, and an archive beside it."""

    def __init__(self, dsn: str, admin_dsn: str, address: str) -> None:
        self.dsn, self.admin_dsn, self.place = dsn, admin_dsn, Place(address)
        self.leasing = connect(dsn, autocommit=True)
        self.admin = connect(admin_dsn, autocommit=True, lock_timeout_s=1)
        self._at: dict[tuple[str, str, SourcePartition], tuple[int, PartitionState]] = {}

    def close(self) -> None:
        self.leasing.close()
        self.admin.close()

    def make_day(self, day: dt.datetime = DAY, days: int = 1) -> None:
        """Make one partition for each day, as it was before there were four a day."""
        for begins in (day + dt.timedelta(days=n) for n in range(days)):
            statement = sql.SQL("CREATE TABLE {} PARTITION OF event FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(f"event_{begins:%Y%m%d}"),
                begins.isoformat(),
                (begins + dt.timedelta(days=1)).isoformat(),
            )
            self.admin.execute(statement)

    def store(
        self, bodies: Sequence[bytes], source: SourcePartition = SOURCE, cluster: str = "local", group: str = "g"
    ) -> None:
        """Store records at the next offsets, as a worker that took the partition does."""
        first, state = self._at.get((cluster, group, source), (0, PartitionState()))
        progress = Progress(Subscriber(cluster, group, "w"), 1)
        end = first + len(bodies)
        owner = acquire(progress, self.leasing, source, start=first, end=max(end, 1)).owner
        records = [Record(first + at, INGEST_MS, body) for at, body in enumerate(bodies)]
        found = fold(state, RecordBatch(source, owner, first, end, records), FoldRules(), Marks(first, first))
        # Machines are not looked at here: what is stored is what was sent, and what was found about it
        effects = replace(found, new_machines=[])
        sink = Sink(lambda: connect(self.dsn), progress)
        assert sink.store([UnitOfWork(source, owner, first, end, [effects])]) == {source}
        sink.close()
        self._at[cluster, group, source] = (end, state)

    def begin_at(self, offset: int, source: SourcePartition = SOURCE) -> None:
        """Take a partition over whose log begins late."""
        acquire(Progress(Subscriber("local", "g", "w"), 1), self.leasing, source, start=offset, end=offset)
        self._at["local", "g", source] = (offset, PartitionState())

    def lose_log(self, source: SourcePartition = SOURCE, cluster: str = "local", group: str = "g") -> None:
        """Take the partition over as one whose topic was recreated."""
        self.leasing.execute("UPDATE source_progress SET windows_next = effects_next")
        progress = Progress(Subscriber(cluster, group, "w"), 1)
        assert acquire(progress, self.leasing, source, end=0).effects == 0
        self._at[cluster, group, source] = (0, PartitionState())

    def has_stored(self, source: SourcePartition, cluster: str, group: str = "g") -> bool:
        return (cluster, group, source) in self._at

    def promote(self, chosen: Sequence[Row]) -> None:
        """Store rows once more as a promotion does, and supersede all that there were of their ids."""
        distinct = {row[0]: row for row in chosen}
        with self.admin.transaction():
            promotion = self.admin.execute(
                "INSERT INTO promotion (replay, cluster, consumer_group, tables, promoted_by)"
                " VALUES ('r', 'local', 'g', '{event}', 'me') RETURNING number, promoted_at"
            ).fetchone()
            assert promotion is not None
            number, at = promotion
            with self.admin.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO superseded_event VALUES (%s, %s, '-infinity', %s, %s)",
                    [(row[0], row[6], at, number) for row in distinct.values()],
                )
                cursor.executemany(
                    f"INSERT INTO event VALUES ({', '.join(['%s'] * 14)})",
                    [(*row[:8], at, *row[9:]) for row in distinct.values()],
                )

    def archive(self, *, compare: bool = False, due_days: int | None = None) -> Archived:
        with connect(self.dsn, autocommit=True) as guard, connect(self.dsn, autocommit=True) as reading:
            return archiving.archive(guard, reading, self.place, due_days=due_days, compare_all=compare)

    def rows(self, relation: str = "event") -> list[Row]:
        """Return every row of ``event``."""
        return sorted(self.admin.execute(f"SELECT {COLUMNS} FROM {relation}").fetchall(), key=str)

    def archived(self) -> list[Row]:
        return archived_rows(self.place.address)

    def stored(self, cluster: str = "local", source: SourcePartition = SOURCE, end: int = 10**9) -> list[StoredEvent]:
        """Return what the database gives of a partition as a log."""
        progress = Progress(Subscriber(cluster, "g", "w"), 1)
        with connect(self.dsn) as connection:
            return [event for some in stored_events(connection, progress, source, 0, end) for event in some]

    def since(self, cluster: str = "local", source: SourcePartition = SOURCE) -> dt.datetime | None:
        query = "SELECT log_since FROM source_progress WHERE cluster = %s AND topic = %s AND partition = %s"
        row = self.leasing.execute(query, [cluster, *source]).fetchone()
        assert row is not None
        return row[0]

    def read(self, cluster: str = "local", source: SourcePartition = SOURCE) -> list[StoredEvent]:
        """Return what the archive gives of the present log of a partition."""
        archive, since = Archive(self.place), self.since(cluster, source)
        return [
            event
            for first, end in archive.ranges(cluster, source, since)
            for some in archive.events(cluster, source, first, end, since)
            for event in some
        ]


def archived_rows(folder: str) -> list[Row]:
    """Return every row of an archive in a folder as DuckDB reads it, by its manifests."""
    paths = [
        f"{folder}/{file['path']}"
        for manifest in Path(folder).glob("manifest/*/*.json")
        for file in json.loads(manifest.read_bytes())["files"]
    ]
    if not paths:
        return []
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        found = database.execute(f"SELECT {COLUMNS} FROM read_parquet(?)", [paths]).fetchall()
    return sorted(found, key=str)


def message(
    seq: int,
    *,
    factory: str = "aurora",
    machine: str = "m",
    at: dt.datetime = DAY,
    value: float | None = None,
    **more: Any,
) -> bytes:
    body = {"factory_id": factory, "machine_id": machine, "machine_type": "press", "time": at.isoformat(), "seq": seq}
    return orjson.dumps(body | {"readings": {"temperature": float(seq % 7) if value is None else value}} | more)


def minute(number: int) -> dt.datetime:
    return DAY + dt.timedelta(minutes=number)
