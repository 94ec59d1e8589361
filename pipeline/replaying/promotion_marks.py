"""The marks of a promotion: where the cut is, who waits for whom, and from where workers go on."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from pipeline.core.controls import TICK
from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.replaying.replays import Replay
from pipeline.store.connect import SCHEMA

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

_TRIES = 5
_PAUSE_S = 1.0

OF_GROUP: LiteralString = "l.cluster = %(cluster)s AND l.consumer_group = %(group)s"
"""Condition on a row ``l`` that it is of the replay's group."""

_BEHIND: LiteralString = f"""
SELECT coalesce(sum(greatest(0, s.effects_next - l.effects_next)), 0) FROM {{live}}.source_progress AS l
JOIN {{shadow}}.source_progress AS s USING (cluster, consumer_group, topic, partition) WHERE {OF_GROUP}
"""
_CUT: LiteralString = f"""
CREATE TABLE {{shadow}}.cut AS
SELECT l.cluster, l.consumer_group, l.topic, l.partition, l.source_id, 0::bigint AS from_offset,
       s.effects_next AS effects, r.stored_to > 0 AS is_stored, s.controls_next AS controls
FROM {{live}}.source_progress AS l
JOIN {{shadow}}.source_progress AS s USING (cluster, consumer_group, topic, partition)
JOIN {{live}}.replay_range AS r ON r.replay = %(replay)s AND (r.topic, r.partition) = (l.topic, l.partition)
WHERE {OF_GROUP}
"""
# Partitions that came since: nothing of them was live before the promotion
_EXTEND: LiteralString = f"""
INSERT INTO {{shadow}}.cut
SELECT l.cluster, l.consumer_group, l.topic, l.partition, l.source_id, 0, 0, false, 0 FROM {{live}}.source_progress AS l
WHERE {OF_GROUP} AND (l.topic, l.partition) NOT IN (SELECT topic, partition FROM {{shadow}}.cut)
"""
# In the order in which workers lock them, or they would lock each other out
_LOCK: LiteralString = f"""
SELECT max(clock_timestamp()) FROM (
    SELECT FROM {{live}}.source_progress AS l WHERE {OF_GROUP} ORDER BY l.topic COLLATE "C", l.partition FOR UPDATE
) AS held
"""
_STRAY: LiteralString = f"""
SELECT l.topic, l.partition FROM {{live}}.source_progress AS l LEFT JOIN {{shadow}}.cut AS c USING (topic, partition)
WHERE {OF_GROUP} AND (c.topic IS NULL OR l.effects_next < c.effects) LIMIT 1
"""
_MOVED: LiteralString = f"""
SELECT l.topic, l.partition FROM {{shadow}}.source_progress AS l LEFT JOIN {{shadow}}.cut AS c USING (topic, partition)
WHERE {OF_GROUP} AND (l.effects_next, l.windows_next) IS DISTINCT FROM (c.effects, c.effects)
  AND (c.topic IS NOT NULL OR l.effects_next > 0) LIMIT 1
"""
# What a tick brought to light is before its place, so the replay has to have it too
_TICKED: LiteralString = f"""
SELECT l.topic, l.partition FROM {{live}}.control_effect AS e
JOIN {{live}}.control_record AS c ON c.id = e.control_id AND c.kind = '{TICK}'
JOIN {{live}}.source_progress AS l
  ON (l.cluster, l.consumer_group, l.topic, l.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
JOIN {{shadow}}.source_progress AS s
  ON (s.cluster, s.consumer_group, s.topic, s.partition) = (l.cluster, l.consumer_group, l.topic, l.partition)
WHERE {OF_GROUP} AND e."offset" <= s.effects_next AND e.ordinal >= least(s.controls_next, s.windows_controls)
  AND (l.log_since IS NULL OR e.noted_at >= l.log_since) LIMIT 1
"""
_FREEZE: LiteralString = """
UPDATE {shadow}.source_progress SET owner = md5(random()::text || clock_timestamp()::text || topic || partition)
"""
_SOURCES: LiteralString = f"""
SELECT l.topic, l.partition FROM {{live}}.source_progress AS l WHERE {OF_GROUP} ORDER BY l.topic COLLATE "C", l.partition
"""
_LOCK_ONE: LiteralString = f"""
SELECT FROM {{live}}.source_progress AS l
WHERE {OF_GROUP} AND l.topic = %(topic)s AND l.partition = %(partition)s FOR UPDATE
"""
_ASIDE: LiteralString = f"""
DROP TABLE IF EXISTS {{shadow}}.{{aside_progress}}, {{shadow}}.{{aside_snapshot}};
CREATE TABLE {{shadow}}.{{aside_progress}} AS SELECT * FROM {{live}}.source_progress AS l WHERE {OF_GROUP};
CREATE TABLE {{shadow}}.{{aside_snapshot}} AS SELECT * FROM {{live}}.partition_snapshot AS l WHERE {OF_GROUP};
DELETE FROM {{live}}.partition_snapshot AS l WHERE {OF_GROUP};
INSERT INTO {{live}}.partition_snapshot SELECT l.* FROM {{shadow}}.{{snapshot}} AS l WHERE {OF_GROUP};
UPDATE {{live}}.source_progress AS l
SET owner = md5(random()::text || clock_timestamp()::text || l.topic || l.partition), windows_next = 0, windows_controls = 0,
    watermark = NULL, cycles_to = NULL, duplicates = 0, updated_at = clock_timestamp()
WHERE {OF_GROUP} AND (l.topic, l.partition) IN (SELECT topic, partition FROM {{shadow}}.cut);
UPDATE {{live}}.source_progress AS l
SET windows_next = s.windows_next, windows_controls = s.windows_controls, watermark = s.watermark, cycles_to = s.cycles_to,
    duplicates = greatest(s.duplicates, CASE WHEN c.is_stored AND %(is_promotion)s THEN o.duplicates END)
FROM {{shadow}}.{{progress}} AS s JOIN {{shadow}}.{{aside_progress}} AS o USING (cluster, consumer_group, topic, partition)
JOIN {{shadow}}.cut AS c USING (cluster, consumer_group, topic, partition)
WHERE (s.cluster, s.consumer_group, s.topic, s.partition) = (l.cluster, l.consumer_group, l.topic, l.partition)
  AND {OF_GROUP}
"""
# Records that were set aside while they were replayed are set aside again when workers fold them once more
_CONTROLS: LiteralString = f"""
INSERT INTO {{live}}.control_record (kind, cluster, consumer_group, topic, partition, "offset", reason, detail, created_by)
SELECT l.kind, l.cluster, l.consumer_group, l.topic, l.partition, l."offset", l.reason, l.detail, l.created_by
FROM {{shadow}}.control_record AS l WHERE {OF_GROUP} AND l.kind = 'skip' AND NOT EXISTS (
    SELECT FROM {{live}}.control_record AS o WHERE (o.kind, o.cluster, o.consumer_group, o.topic, o.partition, o."offset")
        = (l.kind, l.cluster, l.consumer_group, l.topic, l.partition, l."offset"))
"""
_AGAIN: LiteralString = f"""
SELECT coalesce(sum(l.effects_next - coalesce(p.snapshot_offset, 0)), 0) FROM {{live}}.source_progress AS l
LEFT JOIN {{live}}.partition_snapshot AS p USING (cluster, consumer_group, topic, partition) WHERE {OF_GROUP}
"""


def behind(connection: Connection, replay: Replay) -> int:
    """Return how many records the workers still lack of what the replay holds."""
    return int(value(connection, replay, _BEHIND))


def cut(connection: Connection, replay: Replay) -> None:
    """Note up to where the replay holds everything."""
    with connection.transaction():
        execute(connection, replay, "DROP TABLE IF EXISTS {shadow}.cut CASCADE")
        execute(connection, replay, _CUT)


def is_inexact(connection: Connection, replay: Replay) -> bool:
    """Return whether any of a replay's partitions was read from what is stored, where nothing is twice."""
    return bool(value(connection, replay, "SELECT bool_or(is_stored) FROM {shadow}.cut"))


def extend_cut(connection: Connection, replay: Replay) -> None:
    """Note partitions that came since the promotion."""
    execute(connection, replay, _EXTEND)


def freeze(connection: Connection, replay: Replay) -> None:
    """Let none of a replay's processes store anything more, should one be left."""
    execute(connection, replay, _FREEZE)


def fence(connection: Connection, replay: Replay) -> dt.datetime:
    """Return a moment such that what workers merged before it is to be seen now, and what they merge later is younger."""
    since = value(connection, replay, "SELECT clock_timestamp() - interval '5 seconds'")
    assert isinstance(since, dt.datetime)  # noqa: S101  # it always gives a time
    # Whoever has a row now began before; one after the other, so that a worker which stands still holds up only itself
    for topic, partition in execute(connection, replay, _SOURCES).fetchall():
        with connection.transaction():
            execute(connection, replay, _LOCK_ONE, {"topic": topic, "partition": partition})
    return since


def hold(cursor: Cursor, replay: Replay) -> None:
    """Let no worker of the group store anything, nor keep a snapshot, until the transaction ends.

    A worker that stands still inside a transaction holds up all others only for as long as one try takes.

    Raises
    ------
    psycopg.errors.LockNotAvailable
        If that cannot be had.
    """
    connection = cursor.connection
    for left in reversed(range(_TRIES)):
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout TO '2s'")
                # A snapshot's writer looks at the owner first and writes then: the row alone would not keep it out
                execute(connection, replay, "LOCK TABLE {live}.partition_snapshot IN SHARE ROW EXCLUSIVE MODE")
                execute(connection, replay, _LOCK)
                return
        except psycopg.errors.LockNotAvailable:
            if not left:
                raise
            time.sleep(_PAUSE_S)


def require_unchanged(cursor: Cursor, replay: Replay, target: LiteralString) -> None:
    """Check that no partition came or went back meanwhile, nor the replay itself; raises :class:`SettingsError`."""
    for question in (_STRAY,) if target else (_STRAY, _MOVED, _TICKED):
        stray = execute(cursor.connection, replay, question).fetchone()
        if stray is not None:
            raise SettingsError(f"{SourcePartition(*stray)} changed meanwhile: nothing was done; try again")


def take(cursor: Cursor, replay: Replay, target: LiteralString, aside: LiteralString) -> int:
    """Exchange marks and snapshots, and renew the owners; return how many records are folded again.

    The effects marks stay: what workers stored is stored.
    """
    before = "replaced_" if target else ""
    relations = {
        "aside_progress": f"{aside}source_progress",
        "aside_snapshot": f"{aside}partition_snapshot",
        "progress": f"{before}source_progress",
        "snapshot": f"{before}partition_snapshot",
    }
    for statement in _ASIDE.split(";\n"):
        execute(cursor.connection, replay, statement, {"is_promotion": not target}, **relations)
    if not target:
        execute(cursor.connection, replay, _CONTROLS)
    return int(value(cursor.connection, replay, _AGAIN))


def execute(
    connection: Connection,
    replay: Replay,
    statement: LiteralString,
    parameters: Mapping[str, object] = MappingProxyType({}),
    **relations: str,
) -> Cursor:
    """Run a statement about a replay's group, with ``{live}``, ``{shadow}`` and other relations in it."""
    names = {"live": SCHEMA, "shadow": replay.schema} | relations
    query = sql.SQL(statement).format(**{name: sql.Identifier(each) for name, each in names.items()})
    about = {"replay": replay.name, "cluster": replay.cluster, "group": replay.consumer_group, **parameters}
    return connection.execute(query, about if "%(" in statement else None)


def value(
    connection: Connection,
    replay: Replay,
    statement: LiteralString,
    parameters: Mapping[str, object] = MappingProxyType({}),
) -> Any:
    """Return the only value that a statement gives; ``None`` if there is none."""
    row = execute(connection, replay, statement, parameters).fetchone()
    return row[0] if row is not None else None
