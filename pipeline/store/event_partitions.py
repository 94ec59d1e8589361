"""Partitions of ``event``: which there are, and how those of an older version come to their index and size.

An index on a table that is written to is built beside its writers (``CONCURRENTLY``), which the database refuses inside a
transaction: so it is no migration, but what ``pipeline migrate`` does after them, as often as it is called.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pipeline.crash_points import CrashPoint, reached
from pipeline.store.connect import SCHEMA, Connection, connect
from pipeline.store.failures import worded

INDEX = "event_machine"
"""The index by machine, as the table has it; each partition has its part of it."""

LOCK = f"hashtextextended('pipeline event partitions {SCHEMA}', 0)"
"""Key of the advisory lock that lets one at a time change partitions that are there."""

_PARTITIONS = f"""
SELECT c.relname, bounds[1]::timestamptz, bounds[2]::timestamptz,
       EXISTS (
           SELECT FROM pg_index AS i JOIN pg_inherits AS part ON part.inhrelid = i.indexrelid
           WHERE i.indrelid = c.oid AND part.inhparent = '{SCHEMA}.{INDEX}'::regclass AND i.indisvalid
       )
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
LEFT JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''(.+)''\\) TO \\(''(.+)''\\)') AS bounds ON true
WHERE h.inhparent = '{SCHEMA}.event'::regclass AND NOT h.inhdetachpending
ORDER BY 2 DESC NULLS LAST
"""
STEPS = 3
"""In how many transactions new partitions are prepared; more only if somebody else prepares others at the same time."""

_DAY = dt.timedelta(days=1)
_PATIENCE_MS = 1000
_AGAIN_S = 0.2


class EventPartition(NamedTuple):
    """One partition of ``event``; rows of ``[begins, ends)`` are in it, ``None`` for the one with all the rest."""

    name: str
    begins: dt.datetime | None
    ends: dt.datetime | None
    indexed: bool


def event_partitions(connection: Connection) -> list[EventPartition]:
    """Return the partitions of ``event``, the latest first, that with the rest at the end."""
    return [EventPartition(*row) for row in connection.execute(_PARTITIONS)]


def summarize(connection: Connection) -> int:
    """Tell the indexes of the last day's partitions what was stored since they were last told.

    Until then whoever rebuilds a state, or asks for a machine, has to read those rows one by one. Returns of how many ranges of
    pages those by time and by source offset were told, and how many pages of rows that by machine has sorted in.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    with worded("the indexes of event were not told what is new"):
        row = connection.execute("SELECT summarize_event_partitions(now() - interval '1 day')").fetchone()
    assert row is not None  # noqa: S101  # a function call always gives a row
    return int(row[0])


def bring_up_to_date(dsn: str) -> list[str]:
    """Give partitions of an older version what new ones have; return the names of those that were indexed.

    Days ahead that are empty are replaced by partitions of the present size, unless somebody is
    at work on the table for so long that everybody would have to wait: then they stay, and the next call tries again. What
    was interrupted is gone on with. Only one process does it at a time, another waits and finds nothing to do.

    Parameters
    ----------
    dsn
        Of the tables' owner.

    Raises
    ------
    psycopg.Error
        Whatever the database has against it.
    """
    with connect(dsn, autocommit=True, application_name="pipeline migrate") as connection, _alone(connection):
        _reshape(connection)
        return [each.name for each in event_partitions(connection) if not each.indexed and _index(connection, each)]


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    # Who waits inside a statement has a snapshot, and an index that is built beside writers waits for old snapshots to go
    while connection.execute(f"SELECT pg_try_advisory_lock({LOCK})").fetchone() != (True,):
        time.sleep(_AGAIN_S)
    yield
    # The connection is closed hereafter, which is what frees the lock, also after a failure


def _reshape(connection: Connection) -> None:
    """Replace empty days ahead."""
    now = dt.datetime.now(dt.UTC)
    days = [
        (each.name, each.begins)
        for each in event_partitions(connection)
        if each.begins and each.ends and each.ends - each.begins == _DAY and each.ends > now
    ]
    days = [(name, begins) for name, begins in days if not _has_rows(connection, name)]
    try:
        # A row of a day that has its partition never comes to the default one: this refuses nothing
        _exclude(connection, [begins for _, begins in days])
        for name, begins in days:
            with _patient(connection):
                # The table first, as those who store do it
                connection.execute(f"LOCK TABLE {SCHEMA}.event IN ACCESS EXCLUSIVE MODE")
                if not _has_rows(connection, name):
                    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(SCHEMA, name)))
                    connection.execute("SELECT make_event_partitions(%s, %s)", [begins.date(), begins.date()])
        _exclude(connection, [])
    except psycopg.errors.LockNotAvailable:
        return


def _exclude(connection: Connection, days: Sequence[dt.datetime]) -> None:
    """Let a constraint rule days out for the default partition, so that nobody waits while its rows are looked at."""
    spans = Multirange([Range(begins, begins + _DAY) for begins in days])
    for _ in range(STEPS):
        with _patient(connection):
            query = sql.SQL("SELECT exclude_from_event_default({}::tstzmultirange)").format(sql.Literal(spans))
            if connection.execute(query).fetchone() == (True,):
                return


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Begin a transaction that waits for locks only for a moment: others wait behind it."""
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
        yield


def _has_rows(connection: Connection, partition: str) -> bool:
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(SCHEMA, partition))
    return connection.execute(query).fetchone() is not None


def _index(connection: Connection, partition: EventPartition) -> bool:
    """Build a partition's part of the index, unless it is dropped meanwhile; return whether it has it now."""
    name = f"{partition.name}_machine"
    index, table = sql.Identifier(SCHEMA, name), sql.Identifier(SCHEMA, partition.name)
    found = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    try:
        state = connection.execute(found, [f"{SCHEMA}.{name}"]).fetchone()
        if state == (False,):
            # Whoever began it was interrupted
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(index))
        if state != (True,):
            build = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING gin (machine_id)")
            connection.execute(build.format(sql.Identifier(name), table))
        reached(CrashPoint.PARTITION_INDEXED)
        attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}")
        connection.execute(attach.format(sql.Identifier(SCHEMA, INDEX), index))
    except psycopg.Error:
        if partition.name in {each.name for each in event_partitions(connection)}:
            raise
        return False
    return True
