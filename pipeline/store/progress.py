"""The marks: how far each source partition has come, and who may move them.

Correctness rests on the row lock and the compare-and-set of owner and mark at READ COMMITTED; nothing else is needed, and
nothing else (group membership, heartbeats, clocks) is trusted.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.marks import Gap, proves_truncation, reconcile
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.identity import source_id

log = structlog.get_logger(__name__)

Cursor = psycopg.Cursor[Any]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """In whose name progress is made.

    Parameters
    ----------
    cluster, group
        Name of the broker's cluster and consumer group: parts of every key, so that two groups, or two sites in one
        database, do not meet.
    worker
        Name of this worker, for people.
    """

    cluster: str
    group: str
    worker: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A database connection as the server knows it."""

    pid: int
    started: dt.datetime


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
    """

    owner: str
    previous_owner: str | None
    effects: int
    windows: int
    snapshot: tuple[int, bytes] | None
    skip: dict[int, tuple[DeadLetterReason, str]]


_KEY = "cluster = %(cluster)s AND consumer_group = %(group)s AND topic = %(topic)s AND partition = %(partition)s"

_INSERT = """
INSERT INTO source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next)
VALUES (%(cluster)s, %(group)s, %(topic)s, %(partition)s, %(source_id)s, %(start)s, %(start)s)
ON CONFLICT (cluster, consumer_group, topic, partition) DO NOTHING
"""

_LOCK = f"SELECT owner, effects_next, windows_next FROM source_progress WHERE {_KEY} FOR UPDATE"

_TAKE = f"""
UPDATE source_progress
SET owner = %(owner)s, worker = %(worker)s, backend_pid = %(pid)s, backend_start = %(started)s,
    effects_next = %(effects)s, windows_next = %(windows)s, fold_version = %(fold_version)s,
    acquired_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE {_KEY}
"""

_SNAPSHOT = f"""
SELECT snapshot_offset, state FROM partition_snapshot
WHERE {_KEY} AND fold_version = %(fold_version)s AND snapshot_offset <= %(reachable)s
"""

_SKIP = f"SELECT \"offset\", reason, detail FROM control_record WHERE kind = 'skip' AND {_KEY}"

_GAP = """
INSERT INTO source_gap (cluster, consumer_group, topic, partition, from_offset, to_offset, reason)
VALUES (%(cluster)s, %(group)s, %(topic)s, %(partition)s, %(from)s, %(to)s, %(reason)s)
"""

# The row says which transaction has it locked. The pid that a worker noted there would not do: it is not to be seen before
# that worker's first transaction is committed, and a worker that stopped inside it would keep the partition for ever
_TERMINATE = f"""
SELECT pg_terminate_backend(held.pid) FROM source_progress AS p
JOIN pg_locks AS held ON held.locktype = 'transactionid' AND held.transactionid = p.xmax AND held.granted
WHERE {_KEY} AND held.pid <> pg_backend_pid()
"""

_FORGET_SNAPSHOT = f"UPDATE partition_snapshot SET fold_version = 0 WHERE {_KEY}"

_COMPARE_AND_SET = f"""
UPDATE source_progress
SET effects_next = %(next)s, windows_next = COALESCE(%(windows_next)s, windows_next),
    backend_pid = %(pid)s, backend_start = %(started)s,
    checksum = COALESCE(%(checksum)s, checksum), checksum_offset = COALESCE(%(checksum_offset)s, checksum_offset),
    effects_time = GREATEST(effects_time, %(effects_time)s), watermark = COALESCE(%(watermark)s, watermark),
    duplicates = duplicates + %(duplicates)s, updated_at = clock_timestamp()
WHERE {_KEY} AND owner = %(owner)s AND effects_next = %(expected)s
  AND windows_next = COALESCE(%(windows_expected)s, windows_next)
"""


class Progress:
    """The rows of ``source_progress`` on behalf of one subscriber.

    Parameters
    ----------
    subscriber
        In whose name.
    fold_version
        Version of the fold whose snapshots can be loaded.
    """

    def __init__(self, subscriber: Subscriber, fold_version: int) -> None:
        self.subscriber = subscriber
        self.fold_version = fold_version
        self._beyond: dict[SourcePartition, int] = {}

    def key(self, source: SourcePartition) -> dict[str, Any]:
        """Return the key columns of a partition as query parameters."""
        return {
            "cluster": self.subscriber.cluster,
            "group": self.subscriber.group,
            "topic": source.topic,
            "partition": source.partition,
        }

    def acquire(
        self,
        connection: psycopg.Connection[Any],
        source: SourcePartition,
        log_start: int,
        log_end: int,
        backend: Backend | None,
    ) -> Acquired:
        """Take a partition over, whoever has it.

        A previous owner that holds the row's lock (a stopped worker in the middle of its transaction) loses its
        connection: the lock is the only thing it could still harm us with.

        Parameters
        ----------
        connection
            In autocommit mode, with ``lock_timeout`` set.
        log_start, log_end
            Positions ``[log_start, log_end)`` that the broker's log holds.
        backend
            The connection that this worker writes with, if there is one yet.

        Raises
        ------
        DatabaseUnavailable
            If the row stayed locked; its holder's connection was ended, so the next try may succeed.
        """
        parameters = self.key(source) | {"source_id": source_id(self.subscriber.cluster, source), "start": log_start}
        try:
            # By itself, so that nobody ever waits for a row that is not to be seen yet
            connection.execute(_INSERT, parameters)
            with connection.transaction(), connection.cursor() as cursor:
                return self._take(cursor, source, log_start, log_end, backend)
        except psycopg.errors.LockNotAvailable as error:
            ended = connection.execute(_TERMINATE, self.key(source)).fetchall()
            msg = f"the previous owner of {source} held its progress row; connections ended: {len(ended)}"
            raise DatabaseUnavailable(msg) from error

    def _take(
        self, cursor: Cursor, source: SourcePartition, log_start: int, log_end: int, backend: Backend | None
    ) -> Acquired:
        key = self.key(source) | {"fold_version": self.fold_version}
        row = cursor.execute(_LOCK, key).fetchone()
        assert row is not None  # noqa: S101  # inserted before, and rows are never deleted
        previous_owner, effects, windows = row
        found = reconcile(effects, windows, log_start, log_end)
        if not found.log_is_ours:
            self._require_truncated(source, max(effects, windows), log_end)
            # It would seem to fit again as soon as the marks of the new log have come as far
            cursor.execute(_FORGET_SNAPSHOT, key)
        if found.gap is not None:
            self._note_gap(cursor, source, found.gap)
        owner = secrets.token_hex(16)
        cursor.execute(
            _TAKE,
            key
            | {"owner": owner, "worker": self.subscriber.worker, "effects": found.effects, "windows": found.windows}
            | {"pid": backend.pid if backend else None, "started": backend.started if backend else None},
        )
        reached(CrashPoint.TOKEN_WRITTEN)
        reachable = min(found.effects, found.windows) if found.log_is_ours else -1
        snapshot = cursor.execute(_SNAPSHOT, key | {"reachable": reachable}).fetchone()
        skip = {at: (DeadLetterReason(reason), detail) for at, reason, detail in cursor.execute(_SKIP, key)}
        return Acquired(owner, previous_owner, found.effects, found.windows, snapshot, skip)

    def _require_truncated(self, source: SourcePartition, reached: int, end: int) -> None:
        """Ask again with a fresh end, unless this end already is evidence of a truncated log."""
        seen = self._beyond.pop(source, None)
        if not proves_truncation(seen, end):
            self._beyond[source] = reached
            raise DatabaseUnavailable(
                f"the marks of {source} are at {reached}, its log was seen to end at {end}: asking again"
            )

    def _note_gap(self, cursor: Cursor, source: SourcePartition, gap: Gap) -> None:
        cursor.execute(_GAP, self.key(source) | {"from": gap.first, "to": gap.end, "reason": gap.reason})
        log.error("source.gap", source=str(source), from_offset=gap.first, to_offset=gap.end, reason=gap.reason)


def compare_and_set(
    cursor: Cursor, progress: Progress, backend: Backend, moves: Sequence[tuple[SourcePartition, dict[str, Any]]]
) -> set[SourcePartition]:
    """Move marks, in (topic, partition) order so that workers cannot deadlock; return the partitions that were hit.

    Parameters
    ----------
    moves
        Partition and parameters of the statement, one per partition.
    """
    hit = set()
    for source, move in sorted(moves, key=lambda pair: pair[0]):
        parameters = progress.key(source) | move | {"pid": backend.pid, "started": backend.started}
        if cursor.execute(_COMPARE_AND_SET, parameters).rowcount == 1:
            hit.add(source)
    return hit
