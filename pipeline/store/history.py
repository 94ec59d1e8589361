"""The table ``event`` as a log: what is stored of a source partition, in the order it was read in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from pipeline.core.records import SourcePartition, StoredEvents
from pipeline.core.selection import Selection
from pipeline.store.connect import SCHEMA
from pipeline.store.fact_rows import IS_INGESTED
from pipeline.store.failures import worded
from pipeline.store.identity import event_ids, seed
from pipeline.store.progress import KEY, Progress

_OFFSETS_AT_ONCE = 20_000
_ROWS = 200
"""Rows of one answer: bodies may have a megabyte."""

_EVENTS = f"""
SELECT source_offset, source_index, (extract(epoch FROM ingest_time) * 1000)::bigint, convert_to(body::text, 'UTF8'),
       event_type, uuid_send(event_id)
FROM event
WHERE source_topic = %(topic)s AND source_partition = %(partition)s
  AND source_offset >= %(first)s AND source_offset < %(end)s AND {IS_INGESTED}
  AND stored_time >= COALESCE((SELECT log_since FROM source_progress WHERE {KEY}), '-infinity')
  AND NOT EXISTS (
      SELECT FROM superseded_event AS s
      WHERE s.event_id = event.event_id AND event.stored_time >= s.stored_from AND event.stored_time < s.stored_to
  )
ORDER BY source_offset, source_index
"""

_CARRY = """
INSERT INTO {shadow}.dead_letter
SELECT l.* FROM {live}.dead_letter AS l
JOIN {live}.source_progress AS p ON (p.cluster, p.consumer_group, p.topic, p.partition)
    = (l.cluster, l.consumer_group, l.source_topic, l.source_partition)
WHERE l.cluster = %(cluster)s AND l.consumer_group = %(group)s AND l.source_topic = %(topic)s
  AND l.source_partition = %(partition)s AND l.source_offset < %(end)s
  AND (p.log_since IS NULL OR l.stored_time >= p.log_since)
  AND l.source_offset >= (
      SELECT max(s.effects_next) FROM {shadow}.source_progress AS s
      WHERE s.topic = l.source_topic AND s.partition = l.source_partition
  )
  AND l.record_time >= coalesce(to_timestamp(%(since_ms)s::bigint / 1000.0), '-infinity')
  AND l.record_time < coalesce(to_timestamp(%(until_ms)s::bigint / 1000.0), 'infinity')
ON CONFLICT DO NOTHING
"""

Row = tuple[int, int, int, bytes, str, bytes]


def stored_events(
    connection: psycopg.Connection[Any], progress: Progress, source: SourcePartition, first: int, end: int
) -> Iterator[StoredEvents]:
    """Yield what is stored of the offsets ``[first, end)``, some at a time.

    Rows of another cluster's topic of the same name are told by their ids; of two groups that store the same message, one
    row is given. Rows of a log that was lost are left out.

    Parameters
    ----------
    connection
        Not in autocommit mode; one snapshot of the table is read from beginning to end, sorted by the server on its disk.

    Raises
    ------
    DatabaseUnavailable, SchemaOutdated
        If the database does not give them.
    """
    own = np.array([seed(progress.subscriber.cluster, source)], np.uint64)
    last = (-1, -1)
    attempt = f"the stored events of {source} were not read"
    with worded(attempt), connection.cursor("stored_events", binary=True) as cursor:
        cursor.execute(_EVENTS, progress.key(source) | {"first": first, "end": end})
        while rows := cursor.fetchmany(_ROWS):
            events = []
            for row in _of_seed(own, rows):
                if row[:2] != last:
                    events.append(row[:5])
                last = row[:2]
            yield StoredEvents.of(events)


def portions(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield ``[first, end)`` in pieces to ask for in transactions of their own, in order.

    The server sorts what it gives: as much as one holds. While one is read, nobody can drop a partition.
    """
    return ((at, min(end, at + _OFFSETS_AT_ONCE)) for at in range(first, end, _OFFSETS_AT_ONCE))


def log_since(connection: psycopg.Connection[Any], progress: Progress, source: SourcePartition) -> dt.datetime | None:
    """Return since when a partition's log is the present one; ``None``: since ever."""
    row = connection.execute(
        f"SELECT log_since FROM {SCHEMA}.source_progress WHERE {KEY}", progress.key(source)
    ).fetchone()
    return row[0] if row is not None else None


def _of_seed(own: np.ndarray[Any, np.dtype[np.uint64]], rows: list[Row]) -> list[Row]:
    """Return the rows whose ids come from a seed."""
    ids = np.frombuffer(b"".join(row[5] for row in rows), ">u8").reshape(-1, 2)
    times_ms = (ids[:, 0] >> np.uint64(16)).astype(np.int64)
    offsets = np.array([row[0] for row in rows], np.int64)
    wanted = event_ids(own, times_ms, offsets, np.array([row[1] for row in rows], np.int32))
    mine = (ids[:, 0] == wanted.high) & (ids[:, 1] == wanted.low)
    return [row for row, is_mine in zip(rows, mine.tolist(), strict=True) if is_mine]


def carry_dead_letters(
    connection: psycopg.Connection[Any],
    progress: Progress,
    schema: str,
    source: SourcePartition,
    end: int,
    selection: Selection,
) -> None:
    """Copy the dead letters from a shadow's effects mark to an offset into it; those that are there stay."""
    names = {"shadow": sql.Identifier(schema), "live": sql.Identifier(SCHEMA)}
    wanted = {"end": end, "since_ms": selection.since_ms, "until_ms": selection.until_ms}
    connection.execute(sql.SQL(_CARRY).format(**names), progress.key(source) | wanted)
