"""Control records as they are stored: what changes the fold's answer other than the source records themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from pipeline.core.controls import MODEL, TICK, Control, PlacedControl, Polled
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.prognosis.model_controls import OUT
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.connect import SCHEMA
from pipeline.store.progress import KEY, Progress

_SKIP = f"""
INSERT INTO control_record (kind, cluster, consumer_group, topic, partition, "offset", reason, detail, created_by)
SELECT 'skip', cluster, consumer_group, topic, partition, %(offset)s, %(reason)s, %(detail)s, %(worker)s
FROM source_progress WHERE {KEY} AND owner = %(owner)s
FOR SHARE
"""

# What a transaction that was not over when somebody looked brings later is not before this
_HORIZON = "(SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin) AS horizon"

# Artefacts are where they always are, also for whoever looks into a shadow
_ARTEFACT = f"""
LEFT JOIN {SCHEMA}.model_version AS m
  ON m.model_id = CASE WHEN c.kind = '{MODEL}' AND c.body ->> 'action' <> '{OUT}' THEN (c.body ->> 'model_id')::bigint END
"""

_OF_GROUP = "c.cluster = %(cluster)s AND c.consumer_group = %(group)s AND c.topic IS NULL"

_SINCE = f"""
SELECT xmin, c.xid::text::bigint, c.id, c.kind, c.body, m.artefact FROM {_HORIZON}
LEFT JOIN control_record AS c ON {_OF_GROUP} AND c.xid >= %(since)s::text::xid8
{_ARTEFACT}
ORDER BY c.id
"""

_MARKS = f"SELECT controls_next, windows_controls, log_since FROM source_progress WHERE {KEY}"

# Places in a log that was lost are none in the present one
_APPLIED = """
SELECT FROM control_effect AS e
WHERE e.control_id = c.id AND e.topic = %(topic)s AND e.partition = %(partition)s AND e.ordinal IS NOT NULL
  AND (%(log_since)s::timestamptz IS NULL OR e.noted_at >= %(log_since)s)
"""
# In one statement: what is committed between two would be in neither
_WAITING = f"""
SELECT xmin, c.xid::text::bigint, c.id, c.kind, c.body, m.artefact FROM {_HORIZON}
LEFT JOIN (SELECT * FROM control_record AS c WHERE {_OF_GROUP} AND NOT EXISTS ({_APPLIED})) AS c ON true
{_ARTEFACT}
ORDER BY c.id
"""
_HEARD = f"""
SELECT c.id FROM control_record AS c
WHERE {_OF_GROUP} AND c.xid >= %(horizon)s::text::xid8 AND EXISTS ({_APPLIED})
"""
_PLACED = f"""
SELECT c.xid::text::bigint, c.id, c.kind, c.body, m.artefact, e."offset", e.ordinal
FROM control_effect AS e
JOIN control_record AS c ON c.id = e.control_id AND c.cluster = %(cluster)s AND c.consumer_group = %(group)s
JOIN source_progress AS p
  ON (p.cluster, p.consumer_group, p.topic, p.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
{_ARTEFACT}
WHERE e.topic = %(topic)s AND e.partition = %(partition)s AND e.ordinal >= %(first)s
  AND (p.log_since IS NULL OR e.noted_at >= p.log_since)
ORDER BY e.ordinal
"""

_TICK = f"""
INSERT INTO control_record
    (id, kind, cluster, consumer_group, topic, partition, "offset", reason, detail, created_by, body)
OVERRIDING SYSTEM VALUE
VALUES (%(id)s, '{TICK}', %(cluster)s, %(group)s, %(topic)s, %(partition)s, %(offset)s, 'nothing_came', '', %(worker)s,
        %(body)s)
ON CONFLICT (id) DO NOTHING
"""
# A server that others failed over to may be behind the clock by which the log was seen to begin anew
_NOTE = f"""
INSERT INTO control_effect AS old (control_id, topic, partition, "offset", ordinal, noted_at)
SELECT id, %(topic)s, %(partition)s, at, ordinal,
       greatest(clock_timestamp(), (SELECT log_since FROM source_progress WHERE {KEY}))
FROM unnest(%(ids)s::bigint[], %(offsets)s::bigint[], %(ordinals)s::int[]) AS placed (id, at, ordinal)
ON CONFLICT (control_id, topic, partition, "offset") DO UPDATE
SET ordinal = excluded.ordinal, noted_at = excluded.noted_at
"""


class OfPartition(NamedTuple):
    """The control records of a group as one partition stands to them.

    Parameters
    ----------
    mark, windows_mark
        How many it has applied, and how many of these its windows and machine states hold; :func:`placed` returns them.
    waiting
        The others.
    horizon
        See :class:`pipeline.core.controls.Polled`.
    heard
        Numbers of those that it has applied and that may be told again by whoever looks from the horizon on.
    """

    mark: int
    windows_mark: int
    waiting: tuple[Control, ...]
    horizon: int
    heard: frozenset[int]


def of_partition(cursor: psycopg.Cursor[Any], key: dict[str, Any]) -> OfPartition:
    """Return what a partition, whose row of progress is locked, has not applied, and how much it has."""
    marks = cursor.execute(_MARKS, key).fetchone()
    assert marks is not None  # noqa: S101  # it is locked
    mark, windows_mark, log_since = marks
    about = key | {"log_since": log_since}
    rows = cursor.execute(_WAITING, about).fetchall()
    waiting = tuple(_control(*row[1:]) for row in rows if row[1] is not None)
    horizon = rows[0][0]
    heard = cursor.execute(_HEARD, about | {"horizon": horizon})
    return OfPartition(mark, windows_mark, waiting, horizon, frozenset(number for (number,) in heard))


def placed(
    connection: psycopg.Connection[Any], progress: Progress, source: SourcePartition, first: int = 0
) -> list[PlacedControl]:
    """Return the control records that a partition applied in its present log, in this order, but for the ``first`` ones."""
    rows = connection.execute(_PLACED, progress.key(source) | {"first": first})
    return [PlacedControl(_control(*row[:5]), *row[5:]) for row in rows]


def since(connection: psycopg.Connection[Any], progress: Progress, horizon: int) -> Polled:
    """Return the group's control records of transactions that were not over at a horizon, or began later."""
    rows = connection.execute(_SINCE, progress.of_all() | {"since": horizon}).fetchall()
    return Polled([_control(*row[1:]) for row in rows if row[1] is not None], rows[0][0])


def _control(xid: int, number: int, kind: str, body: dict[str, Any], artefact: bytes | None) -> Control:
    return Control(number, kind, body if artefact is None else body | {"artefact": artefact}, xid)


def clock_ms(connection: psycopg.Connection[Any]) -> int:
    """Return the database's clock, ms since the epoch."""
    row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchone()
    assert row is not None  # noqa: S101  # it always has one
    return int(row[0])


def note(
    cursor: psycopg.Cursor[Any], progress: Progress, source: SourcePartition, placed: Sequence[PlacedControl]
) -> None:
    """Note where a partition applied control records, in the transaction that moves its marks there; and its own ticks."""
    for each in placed:
        if each.control.kind == TICK:
            about = {"id": each.control.id, "offset": each.offset, "body": Jsonb(dict(each.control.body))}
            cursor.execute(_TICK, progress.key(source) | about | {"worker": progress.subscriber.worker})
    parameters = progress.key(source) | {
        "ids": [each.control.id for each in placed],
        "offsets": [each.offset for each in placed],
        "ordinals": [each.ordinal for each in placed],
    }
    cursor.execute(_NOTE, parameters)


def skip(
    connection: psycopg.Connection[Any],
    progress: Progress,
    source: SourcePartition,
    owner: str,
    offset: int,
    reason: DeadLetterReason,
    detail: str,
) -> None:
    """Decide that one record becomes a dead letter, for this fold and every later one; only a partition's owner can.

    Whoever comes next may have found that the log is another one, in which the offset means another record.

    Parameters
    ----------
    owner
        Under whose lease the record was read.
    connection
        In autocommit mode.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    parameters = progress.key(source) | {
        "owner": owner,
        "offset": offset,
        "reason": str(reason),
        "detail": detail,
        "worker": progress.subscriber.worker,
    }
    try:
        reached(CrashPoint.BEFORE_CONTROL_RECORD)
        connection.execute(_SKIP, parameters)
        reached(CrashPoint.CONTROL_RECORD_WRITTEN)
    except psycopg.Error as error:
        msg = f"the control record for {source} offset {offset} was not stored: {str(error).partition(chr(10))[0]}"
        raise DatabaseUnavailable(msg) from error
