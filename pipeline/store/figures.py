"""Figures about progress, for people and programs: what the marks say, and what came out lately."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.store.connect import Connection


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """One row of ``source_progress`` with its snapshot.

    Parameters
    ----------
    effects_next, windows_next, snapshot_offset
        The three marks; the snapshot's is ``None`` before the first.
    effects_time, watermark
        Latest event time stored, and up to when windows are complete, UTC.
    updated_at, snapshot_at
        When the marks moved, UTC.
    now
        The database's clock, UTC.
    """

    topic: str
    partition: int
    effects_next: int
    windows_next: int
    worker: str | None
    effects_time: dt.datetime | None
    watermark: dt.datetime | None
    duplicates: int
    updated_at: dt.datetime
    snapshot_offset: int | None
    snapshot_at: dt.datetime | None
    snapshot_bytes: int | None
    now: dt.datetime


_PROGRESS = """
SELECT topic, partition, effects_next, windows_next, worker, effects_time, watermark, duplicates, updated_at,
       snapshot_offset, taken_at AS snapshot_at, length(state) AS snapshot_bytes, clock_timestamp() AS now
FROM source_progress LEFT JOIN partition_snapshot USING (cluster, consumer_group, topic, partition)
WHERE cluster = %s AND consumer_group = %s
ORDER BY topic, partition
"""


def progress(connection: Connection, cluster: str, group: str) -> list[PartitionProgress]:
    """Return the progress of every partition of a group."""
    with connection.cursor(row_factory=class_row(PartitionProgress)) as cursor:
        return cursor.execute(_PROGRESS, [cluster, group]).fetchall()


def groups(connection: Connection) -> list[tuple[str, str]]:
    """Return cluster and group of all whose workers have stored anything."""
    return connection.execute("SELECT DISTINCT cluster, consumer_group FROM source_progress ORDER BY 1, 2").fetchall()


@dataclass(frozen=True, slots=True)
class LatestAnomaly:
    """A row of ``dashboard.anomaly``."""

    event_time: dt.datetime
    factory_id: str
    machine_id: str
    sensor: str
    kind: str
    observed: float
    expected: float
    score: float


_ANOMALIES = """
SELECT event_time, factory_id, machine_id, sensor, kind, observed, expected, score
FROM dashboard.anomaly ORDER BY event_time DESC LIMIT %s
"""


def latest_anomalies(connection: Connection, limit: int) -> list[LatestAnomaly]:
    """Return the newest anomalies by event time."""
    with connection.cursor(row_factory=class_row(LatestAnomaly)) as cursor:
        return cursor.execute(_ANOMALIES, [limit]).fetchall()


_AT_WORK = """
SELECT 1 FROM pg_stat_activity
WHERE pid = ANY(%s) AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Client'
LIMIT 1
"""


def at_work(connection: Connection, backends: list[int]) -> bool:
    """Return whether the server works for one of some connections, and does not wait for the client's next word.

    Parameters
    ----------
    backends
        The server's process ids of the connections.
    """
    return connection.execute(_AT_WORK, [backends]).fetchone() is not None
