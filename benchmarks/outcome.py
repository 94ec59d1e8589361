"""What a run left in the database, asked from another connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from benchmarks.load import SENSORS, Job

_MINE: LiteralString = "event_type = 'Telemetry Ingest'"
_COMMITS: LiteralString = """
WITH c AS (
    SELECT pg_xact_commit_timestamp(xmin) AS at, count(*) AS n FROM event {where} GROUP BY xmin
)
SELECT coalesce(sum(n), 0)::bigint, extract(epoch FROM min(at))::float8, extract(epoch FROM max(at))::float8,
       coalesce((array_agg(n ORDER BY at))[1], 0)
FROM c
"""
_DISTINCT: LiteralString = "SELECT count(DISTINCT (source_partition, source_offset)) FROM event {where}"

_COUNTERS: LiteralString = (
    "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE relname = 'event' OR relname LIKE 'event\\_%'"
)


@dataclass(frozen=True, slots=True)
class Committed:
    """Event rows by their commits.

    Parameters
    ----------
    rows, distinct
        Rows, and distinct places in the topic.
    first_rows
        Rows of the first transaction: they were gathered before anything could be seen.
    first_s, last_s
        Timestamps of the first and the last commit, s since the epoch.
    """

    rows: int
    distinct: int
    first_rows: int
    first_s: float
    last_s: float

    @property
    def per_second(self) -> float:
        """Rows committed between the first commit and the last, per second."""
        return self._per_second(self.last_s)

    def per_second_until(self, end_s: float) -> float:
        """Return the same with the time up to a later end, s since the epoch; one that is not later changes nothing."""
        return self._per_second(max(self.last_s, end_s))

    def _per_second(self, end_s: float) -> float:
        took_s = end_s - self.first_s
        return (self.rows - self.first_rows) / took_s if took_s else 0.0


def committed(connection: psycopg.Connection, *, ours: bool) -> Committed:
    """Return what was committed when; in our table only messages count, not the anomalies that derive from them."""
    where: LiteralString = f"WHERE {_MINE}" if ours else ""
    row = connection.execute(_COMMITS.format(where=where)).fetchone()
    (distinct,) = connection.execute(_DISTINCT.format(where=where)).fetchone()
    return Committed(int(row[0]), distinct, int(row[3]), row[1] or 0.0, row[2] or 0.0)


def any_stored(connection: psycopg.Connection) -> bool:
    """Return whether there is an event yet."""
    return bool(_number(connection, "SELECT EXISTS (SELECT FROM event)::int"))


class Stored:
    """How many messages are stored: by the marks, or by the server's counters, without reading them.

    A backend that has nothing to do reports its counters only after ten seconds: when they stand still, rows are counted.
    """

    def __init__(self, connection: psycopg.Connection, *, marks: bool) -> None:
        self._connection, self._marks = connection, marks
        self._best, self._since_s = 0, time.monotonic()

    def __call__(self) -> int:
        """Return the number; it never falls."""
        if self._marks:
            return int(_number(self._connection, "SELECT sum(effects_next) FROM source_progress"))
        now = int(_number(self._connection, _COUNTERS))
        if now <= self._best and time.monotonic() - self._since_s > 1.0:
            now = int(_number(self._connection, "SELECT count(*) FROM event"))
            self._since_s = time.monotonic()
        if now > self._best:
            self._best, self._since_s = now, time.monotonic()
        return self._best


def readings_short(connection: psycopg.Connection, job: Job) -> int:
    """Return how many of the job's readings are missing in the windows; negative: there are too many."""
    total: LiteralString = "SELECT sum(count) FROM reading_window WHERE window_start < to_timestamp(%s)"
    return SENSORS * job.messages - int(_number(connection, total, [job.closing_ms / 1000]))


def readings(connection: psycopg.Connection, table: str = "reading_window") -> int:
    """Return how many readings all windows of a table have."""
    query = sql.SQL("SELECT sum(count) FROM {}").format(sql.Identifier(table))
    ((count,),) = connection.execute(query)
    return int(count or 0)


def state_bytes(connection: psycopg.Connection) -> int:
    """Return the size of all partitions' kept states before compression, bytes."""
    return int(_number(connection, "SELECT sum(raw_bytes) FROM partition_snapshot"))


def last_window_s(connection: psycopg.Connection, job: Job) -> float:
    """Return when the last of the job's windows was committed, s since the epoch; 0 if there is none.

    Those of the closing messages are left out: who is told to end may store what it has of them.
    """
    last: LiteralString = """
    SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8 FROM reading_window
    WHERE window_start < to_timestamp(%s)
    """
    return _number(connection, last, [job.closing_ms / 1000])


def anomalies(connection: psycopg.Connection) -> int:
    """Return how many readings were anomalies; who else looks for silent machines, nobody asked."""
    return int(_number(connection, "SELECT count(*) FROM anomaly WHERE sensor <> ''"))


def predictions(connection: psycopg.Connection) -> int:
    """Return how often a model said something."""
    return int(_number(connection, "SELECT count(*) FROM maintenance_prediction"))


def sizes(connection: psycopg.Connection) -> tuple[int, int, int]:
    """Return bytes of the events, of their indexes, and of the windows with theirs."""
    tables: LiteralString = "SELECT relid FROM pg_partition_tree('event') UNION SELECT 'event'::regclass"
    row = connection.execute(
        f"SELECT sum(pg_table_size(relid)), sum(pg_indexes_size(relid)) FROM ({tables})"
    ).fetchone()
    return int(row[0]), int(row[1]), int(_number(connection, "SELECT pg_total_relation_size('reading_window')"))


def _number(connection: psycopg.Connection, query: LiteralString, parameters: Sequence[float] | None = None) -> float:
    ((number,),) = connection.execute(query, parameters)
    return float(number or 0)
