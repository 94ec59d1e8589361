"""Taking partitions over: the row of ``source_progress`` gets a new owner, and marks that the log can serve.

In order, inside one transaction and under the row's lock:

1. judge the marks by what the log was seen to hold; refuse evidence that is older than they are,
2. note what is gone, and forget what a lost log left behind,
3. write the new owner's token, after which every transaction of the one before misses; and from where on another version of
   the fold, or of its rules, decides,
4. read what the new owner goes on with: snapshot, and control records that it has not applied. Those that it has are many,
   and the snapshot says how many it holds: the others are read when that is loaded.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from pipeline.core.controls import Control
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.marks import Evidence, Gap, Reconciled, StoredMarks, reconcile
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store import controls
from pipeline.store.identity import source_id
from pipeline.store.progress import KEY, Backend, Progress

log = structlog.get_logger(__name__)

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


@dataclass(frozen=True, slots=True)
class Acquired:
    """A partition that was taken over.

    Parameters
    ----------
    owner, previous_owner
        The new token, and the one before (``None`` at first sight).
    effects, windows
        The marks.
    snapshot
        Offset and compressed state of the last snapshot, if there is one.
    skip
        Offsets that are to become dead letters, with reason and detail.
    gap
        What the log no longer had of what was to be read, if anything.
    settle_first
        Whether the log is lost and its windows are still to be merged: nothing can be read before.
    controls_mark, windows_controls
        Of how many control records that the partition applied in this log what they bring to light is stored, and how many the
        stored windows and machine states hold.
    waiting
        Those that it has not applied yet.
    horizon
        Where to look for control records that came since; see :class:`pipeline.core.controls.Polled`.
    heard
        Numbers of those that it has applied and that may be told again by whoever looks from the horizon on.
    """

    owner: str
    previous_owner: str | None
    effects: int
    windows: int
    snapshot: tuple[int, bytes] | None
    skip: dict[int, tuple[DeadLetterReason, str]]
    gap: Gap | None = None
    settle_first: bool = False
    controls_mark: int = 0
    windows_controls: int = 0
    waiting: tuple[Control, ...] = ()
    horizon: int = 0
    heard: frozenset[int] = frozenset()


_INSERT = """
INSERT INTO source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next)
VALUES (%(cluster)s, %(group)s, %(topic)s, %(partition)s, %(source_id)s, %(start)s, %(start)s)
ON CONFLICT (cluster, consumer_group, topic, partition) DO NOTHING
"""

_MARKS = "owner, effects_next, windows_next, checksum, checksum_offset"

_PEEK = f"""
SELECT topic, partition, {_MARKS} FROM source_progress
WHERE cluster = %(cluster)s AND consumer_group = %(group)s
  AND (topic, partition) IN (SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[]))
"""

_LOCK = f"SELECT {_MARKS} FROM source_progress WHERE {KEY} FOR UPDATE"

_TAKE = f"""
UPDATE source_progress
SET owner = %(owner)s, worker = %(worker)s, backend_pid = %(pid)s, backend_start = %(started)s,
    effects_next = %(effects)s, windows_next = %(windows)s, fold_version = %(fold_version)s,
    config_version = %(config_version)s,
    checksum = CASE WHEN NOT %(begins_anew)s THEN checksum END,
    checksum_offset = CASE WHEN NOT %(begins_anew)s THEN checksum_offset END,
    log_since = CASE WHEN %(begins_anew)s THEN clock_timestamp() ELSE log_since END,
    controls_next = CASE WHEN %(begins_anew)s THEN 0 ELSE controls_next END,
    windows_controls = CASE WHEN %(begins_anew)s THEN 0 ELSE windows_controls END,
    acquired_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE {KEY}
"""

_SNAPSHOT = f"""
SELECT snapshot_offset, state FROM partition_snapshot
WHERE {KEY} AND fold_version = %(fold_version)s AND snapshot_offset <= %(reachable)s
"""

# A record to skip is meant in the log that it was found in
_SKIP = f"""
SELECT "offset", reason, detail
FROM control_record JOIN source_progress USING (cluster, consumer_group, topic, partition)
WHERE kind = 'skip' AND {KEY} AND (log_since IS NULL OR created_at >= log_since)
"""

_GAP = """
INSERT INTO source_gap (cluster, consumer_group, topic, partition, from_offset, to_offset, reason)
VALUES (%(cluster)s, %(group)s, %(topic)s, %(partition)s, %(from)s, %(to)s, %(reason)s)
"""

PROMOTING = "pipeline replay promote"
"""Name of the connections that hold marks for a moment while a replay is taken over; the server ends them if they stop."""

# The row says which transaction has it locked. The pid that a worker noted there would not do: it is not to be seen before
# that worker's first transaction is committed, and a worker that stopped inside it would keep the partition for ever
_TERMINATE = f"""
SELECT pg_terminate_backend(held.pid) FROM source_progress AS p
JOIN pg_locks AS held ON held.locktype = 'transactionid' AND held.transactionid = p.xmax AND held.granted
WHERE {KEY} AND held.pid <> pg_backend_pid()
  AND held.pid NOT IN (SELECT pid FROM pg_stat_activity WHERE application_name = '{PROMOTING}')
"""

# A row from before there was a configuration version says nothing about it
_NOTE_VERSION = f"""
WITH changed AS (
    INSERT INTO control_record (kind, cluster, consumer_group, topic, partition, "offset", reason, detail, created_by)
    SELECT 'version', cluster, consumer_group, topic, partition, %(effects)s, 'version_changed',
           format('fold %%s -> %%s, configuration %%s -> %%s', fold_version, %(fold_version)s::int,
                  config_version, %(config_version)s::text),
           %(worker)s
    FROM source_progress
    WHERE {KEY} AND (fold_version <> %(fold_version)s OR config_version <> %(config_version)s)
    RETURNING id, topic, partition, "offset"
)
INSERT INTO control_effect (control_id, topic, partition, "offset") SELECT * FROM changed
"""

_FORGET_SNAPSHOT = f"UPDATE partition_snapshot SET fold_version = 0 WHERE {KEY}"


def peek(
    connection: Connection, progress: Progress, sources: Sequence[SourcePartition]
) -> dict[SourcePartition, StoredMarks]:
    """Return the marks of those partitions that have any."""
    parameters = {
        "topics": [source.topic for source in sources],
        "partitions": [source.partition for source in sources],
    }
    rows = connection.execute(_PEEK, progress.of_all() | parameters)
    return {SourcePartition(*row[:2]): StoredMarks(*row[2:]) for row in rows}


def take_over(
    connection: Connection, progress: Progress, source: SourcePartition, evidence: Evidence, backend: Backend | None
) -> Acquired:
    """Take a partition over, whoever has it.

    A previous owner that holds the row's lock (a stopped worker in the middle of its transaction) loses its connection: the
    lock is the only thing it could still harm us with.

    Parameters
    ----------
    connection
        In autocommit mode, with ``lock_timeout`` set.
    evidence
        What the log was seen to hold after :func:`peek`.
    backend
        The connection that this worker writes with, if there is one yet.

    Raises
    ------
    StaleEvidence
        If somebody moved the marks since they were seen.
    DatabaseUnavailable
        If the row stayed locked; its holder's connection was ended, so the next try may succeed.
    """
    key = progress.key(source)
    new = {"source_id": source_id(progress.subscriber.cluster, source), "start": evidence.held.start}
    try:
        # By itself, so that nobody ever waits for a row that is not to be seen yet
        connection.execute(_INSERT, key | new)
        with connection.transaction(), connection.cursor() as cursor:
            return _take(cursor, progress, source, evidence, backend)
    except psycopg.errors.LockNotAvailable as error:
        ended = connection.execute(_TERMINATE, key).fetchall()
        msg = f"the previous owner of {source} held its progress row; connections ended: {len(ended)}"
        raise DatabaseUnavailable(msg) from error


def _take(
    cursor: Cursor, progress: Progress, source: SourcePartition, evidence: Evidence, backend: Backend | None
) -> Acquired:
    versions = {"fold_version": progress.fold_version, "config_version": progress.config_version}
    key = progress.key(source) | versions
    row = cursor.execute(_LOCK, key).fetchone()
    assert row is not None  # noqa: S101  # inserted before, and rows are never deleted
    present = StoredMarks(*row)
    found = reconcile(evidence, present)
    if found.gap is not None:
        _note_gap(cursor, key, source, found.gap)
    if found.begins_anew:
        # It would seem to fit again as soon as the marks of the new log have come as far
        cursor.execute(_FORGET_SNAPSHOT, key)
    owner = secrets.token_hex(16)
    marks = {"effects": found.effects, "windows": found.windows, "begins_anew": found.begins_anew}
    who = {"owner": owner, "worker": progress.subscriber.worker}
    writes = {"pid": backend.pid if backend else None, "started": backend.started if backend else None}
    if cursor.execute(_NOTE_VERSION, key | marks | who).rowcount:
        log.info("version.changed", source=str(source), offset=found.effects, **versions)
    cursor.execute(_TAKE, key | marks | who | writes)
    reached(CrashPoint.TOKEN_WRITTEN)
    return _acquired(cursor, key, present, found, owner)


def _acquired(cursor: Cursor, key: dict[str, Any], before: StoredMarks, found: Reconciled, owner: str) -> Acquired:
    reachable = -1 if found.begins_anew else min(found.effects, found.windows)
    snapshot = cursor.execute(_SNAPSHOT, key | {"reachable": reachable}).fetchone()
    known = controls.of_partition(cursor, key)
    skip = {at: (DeadLetterReason(reason), detail) for at, reason, detail in cursor.execute(_SKIP, key)}
    return Acquired(
        owner,
        before.owner,
        found.effects,
        found.windows,
        snapshot,
        skip,
        found.gap,
        found.settle_first,
        *known,
    )


def _note_gap(cursor: Cursor, key: dict[str, Any], source: SourcePartition, gap: Gap) -> None:
    cursor.execute(_GAP, key | {"from": gap.first, "to": gap.end, "reason": gap.reason})
    log.error("source.gap", source=str(source), from_offset=gap.first, to_offset=gap.end, reason=gap.reason)
