"""The outbox: messages that were stored with their effects, in the order in which they are to be published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import psycopg

from pipeline.core.outbox import Outcome, Outgoing, Place
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.progress import Progress

Connection = psycopg.Connection[Any]

_OF_A_PARTITION = (
    "o.cluster = p.cluster AND o.consumer_group = p.consumer_group AND o.source_topic = p.topic"
    " AND o.source_partition = p.partition"
)

# Of each partition some, so that one with much that waits neither hides the others nor has its whole backlog read each time
_WAITING = f"""
SELECT o.seq, p.owner, o.source_topic, o.source_partition, o.source_offset, o.source_index, o.id::text, o.target_topic,
       o.message_key, o.body::text, (extract(epoch FROM o.ingest_time) * 1000)::bigint,
       COALESCE(o.expires_at <= clock_timestamp(), false)
FROM source_progress AS p CROSS JOIN LATERAL (
    SELECT * FROM outbox AS o WHERE {_OF_A_PARTITION} AND outcome IS NULL ORDER BY seq LIMIT %(each)s
) AS o
WHERE p.cluster = %(cluster)s AND p.consumer_group = %(group)s AND p.owner = ANY(%(owners)s)
ORDER BY o.seq
"""

_MARK = f"""
UPDATE outbox AS o SET outcome = m.outcome, published_at = clock_timestamp()
FROM unnest(%(seqs)s::bigint[], %(outcomes)s::text[]) AS m (seq, outcome), source_progress AS p
WHERE o.seq = m.seq AND o.outcome IS NULL AND {_OF_A_PARTITION}
  AND p.cluster = %(cluster)s AND p.consumer_group = %(group)s AND p.owner = ANY(%(owners)s)
"""

_FORGET = """
DELETE FROM outbox WHERE seq IN (
    SELECT seq FROM outbox
    WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND outcome IS NOT NULL
      AND published_at < clock_timestamp() - make_interval(secs => %(keep_s)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
"""


def waiting(connection: Connection, progress: Progress, owners: Collection[str], limit: int) -> list[Outgoing]:
    """Return messages that wait, in order, of the partitions whose owner's token is one of these; about ``limit`` of them.

    Parameters
    ----------
    connection
        In autocommit mode, as for all functions here.
    """
    parameters = {"owners": list(owners), "each": max(1, limit // max(1, len(owners)))}
    rows = connection.execute(_WAITING, progress.of_all() | parameters)
    return [_outgoing(*row) for row in rows]


def _outgoing(
    seq: int, owner: str, source_topic: str, partition: int, offset: int, index: int,
    id_: str, topic: str, key: str, body: str, ingest_ms: int, expired: bool,
) -> Outgoing:  # fmt: skip
    place = Place(SourcePartition(source_topic, partition), offset, index)
    return Outgoing(seq, owner, place, id_, topic, key, body.encode(), ingest_ms, expired)


def mark(connection: Connection, progress: Progress, owners: Collection[str], outcomes: Mapping[int, Outcome]) -> int:
    """Note what became of messages, by ``seq``, where one of these tokens still owns the partition; return how many it was.

    The token decides because a restored database gives the same numbers to other messages: those were stored under a newer
    one.
    """
    parameters = {
        "owners": list(owners),
        "seqs": list(outcomes),
        "outcomes": [str(outcome) for outcome in outcomes.values()],
    }
    reached(CrashPoint.MESSAGES_PUBLISHED)
    return connection.execute(_MARK, progress.of_all() | parameters).rowcount


def forget(connection: Connection, progress: Progress, keep_s: float, limit: int) -> int:
    """Delete messages that were done with longer ago than ``keep_s``, at most ``limit``; return how many it was."""
    return connection.execute(_FORGET, progress.of_all() | {"keep_s": keep_s, "limit": limit}).rowcount
