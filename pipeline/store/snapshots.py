"""Snapshots of partition states: written when the marks have passed them, read when a partition is acquired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.failures import line
from pipeline.store.progress import KEY, Progress


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent cut of one partition's whole state.

    Parameters
    ----------
    offset
        The state holds exactly the records before it.
    owner
        Under whose lease it was cut.
    state
        Compressed.
    raw_bytes
        Size before compression, bytes.
    controls
        How many control records the state holds.
    """

    source: SourcePartition
    owner: str
    offset: int
    format_version: int
    state: bytes
    raw_bytes: int
    controls: int = 0


_SAVE = """
INSERT INTO partition_snapshot AS old
    (cluster, consumer_group, topic, partition, snapshot_offset, format_version, fold_version, state, raw_bytes, taken_at)
SELECT cluster, consumer_group, topic, partition, %(offset)s, %(format_version)s, %(fold_version)s, %(state)s,
       %(raw_bytes)s, clock_timestamp()
FROM source_progress
WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND topic = %(topic)s AND partition = %(partition)s
  AND owner = %(owner)s AND effects_next >= %(offset)s AND windows_next >= %(offset)s
  AND controls_next >= %(controls)s AND windows_controls >= %(controls)s
ON CONFLICT (cluster, consumer_group, topic, partition) DO UPDATE SET
    snapshot_offset = excluded.snapshot_offset, format_version = excluded.format_version,
    fold_version = excluded.fold_version, state = excluded.state, raw_bytes = excluded.raw_bytes,
    taken_at = excluded.taken_at
"""


_KEEP = f"""
INSERT INTO snapshot_history SELECT * FROM partition_snapshot AS p
WHERE {KEY} AND NOT EXISTS (
    SELECT FROM snapshot_history AS h
    WHERE (h.cluster, h.consumer_group, h.topic, h.partition) = (p.cluster, p.consumer_group, p.topic, p.partition)
      AND h.fold_version = p.fold_version AND h.taken_at > p.taken_at - make_interval(secs => %(every_s)s)
)
ON CONFLICT DO NOTHING
"""


def keep(connection: psycopg.Connection[Any], progress: Progress, source: SourcePartition, every_s: float) -> None:
    """Keep a partition's last snapshot for good, unless one was kept less than ``every_s`` seconds before it.

    Parameters
    ----------
    connection
        In autocommit mode.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    try:
        connection.execute(_KEEP, progress.key(source) | {"every_s": every_s})
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"a state of {source} was not kept: {line(error)}") from error


def save(connection: psycopg.Connection[Any], progress: Progress, snapshot: Snapshot) -> bool:
    """Keep a snapshot if its owner still owns the partition and all marks have reached it; return whether it was kept.

    A snapshot ahead of a mark would, after a restart, hold effects that nobody stored.

    Parameters
    ----------
    connection
        In autocommit mode.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    parameters = progress.key(snapshot.source) | {
        "owner": snapshot.owner,
        "offset": snapshot.offset,
        "format_version": snapshot.format_version,
        "fold_version": progress.fold_version,
        "state": snapshot.state,
        "raw_bytes": snapshot.raw_bytes,
        "controls": snapshot.controls,
    }
    try:
        reached(CrashPoint.BEFORE_SNAPSHOT)
        kept = connection.execute(_SAVE, parameters).rowcount == 1
        reached(CrashPoint.SNAPSHOT_STORED)
    except psycopg.Error as error:
        msg = f"the snapshot of {snapshot.source} was not stored: {line(error)}"
        raise DatabaseUnavailable(msg) from error
    return kept
