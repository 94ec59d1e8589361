"""The marks of a promotion: whether it may be, where the cut is, and from where workers go on."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.replaying.replays import Replay
from pipeline.store.connect import SCHEMA

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

_TRIES = 5
_PAUSE_S = 1.0

_OF_GROUP: LiteralString = "l.cluster = %(cluster)s AND l.consumer_group = %(group)s"

_BOTH: LiteralString = f"""
SELECT l.topic, l.partition, l.effects_next, l.fold_version, l.config_version, l.log_since,
       s.effects_next, s.windows_next, r.from_offset,
       EXISTS (SELECT FROM {{live}}.source_progress AS o WHERE (o.topic, o.partition) = (l.topic, l.partition)
               AND (o.cluster, o.consumer_group) <> (l.cluster, l.consumer_group)) AS is_shared
FROM {{live}}.source_progress AS l
LEFT JOIN {{shadow}}.source_progress AS s USING (cluster, consumer_group, topic, partition)
LEFT JOIN {{live}}.replay_range AS r ON r.replay = %(replay)s AND (r.topic, r.partition) = (l.topic, l.partition)
WHERE {_OF_GROUP} ORDER BY l.topic, l.partition
"""
_BEHIND: LiteralString = f"""
SELECT coalesce(sum(greatest(0, s.effects_next - l.effects_next)), 0) FROM {{live}}.source_progress AS l
JOIN {{shadow}}.source_progress AS s USING (cluster, consumer_group, topic, partition) WHERE {_OF_GROUP}
"""
_CUT: LiteralString = f"""
CREATE TABLE {{shadow}}.cut AS
SELECT l.cluster, l.consumer_group, l.topic, l.partition, l.source_id, 0::bigint AS from_offset,
       s.effects_next AS effects, r.stored_to > 0 AS is_stored
FROM {{live}}.source_progress AS l
JOIN {{shadow}}.source_progress AS s USING (cluster, consumer_group, topic, partition)
JOIN {{live}}.replay_range AS r ON r.replay = %(replay)s AND (r.topic, r.partition) = (l.topic, l.partition)
WHERE {_OF_GROUP}
"""
# Partitions that came since: nothing of them was live before the promotion
_EXTEND: LiteralString = f"""
INSERT INTO {{shadow}}.cut
SELECT l.cluster, l.consumer_group, l.topic, l.partition, l.source_id, 0, 0, false FROM {{live}}.source_progress AS l
WHERE {_OF_GROUP} AND (l.topic, l.partition) NOT IN (SELECT topic, partition FROM {{shadow}}.cut)
"""
# In the order in which workers lock them, or they would lock each other out
_LOCK: LiteralString = f"""
SELECT max(clock_timestamp()) FROM (
    SELECT FROM {{live}}.source_progress AS l WHERE {_OF_GROUP} ORDER BY l.topic COLLATE "C", l.partition FOR UPDATE
) AS held
"""
_STRAY: LiteralString = f"""
SELECT l.topic, l.partition FROM {{live}}.source_progress AS l LEFT JOIN {{shadow}}.cut AS c USING (topic, partition)
WHERE {_OF_GROUP} AND (c.topic IS NULL OR l.effects_next < c.effects) LIMIT 1
"""
_MOVED: LiteralString = f"""
SELECT l.topic, l.partition FROM {{shadow}}.source_progress AS l LEFT JOIN {{shadow}}.cut AS c USING (topic, partition)
WHERE {_OF_GROUP} AND (l.effects_next, l.windows_next) IS DISTINCT FROM (c.effects, c.effects)
  AND (c.topic IS NOT NULL OR l.effects_next > 0) LIMIT 1
"""
_AHEAD: LiteralString = f"""
SELECT l.topic, l.partition FROM {{shadow}}.source_progress AS l
LEFT JOIN {{live}}.source_progress AS o USING (cluster, consumer_group, topic, partition)
WHERE {_OF_GROUP} AND o.topic IS NULL AND l.effects_next > 0 LIMIT 1
"""
_FREEZE: LiteralString = """
UPDATE {shadow}.source_progress SET owner = md5(random()::text || clock_timestamp()::text || topic || partition)
"""
_SOURCES: LiteralString = f"""
SELECT l.topic, l.partition FROM {{live}}.source_progress AS l WHERE {_OF_GROUP} ORDER BY l.topic COLLATE "C", l.partition
"""
_LOCK_ONE: LiteralString = f"""
SELECT FROM {{live}}.source_progress AS l
WHERE {_OF_GROUP} AND l.topic = %(topic)s AND l.partition = %(partition)s FOR UPDATE
"""
# What workers would have to fold again may be gone from the table, and the log need not have it either
_OLD: LiteralString = f"""
SELECT m.dropped_before FROM {{live}}.retention_mark AS m
WHERE m.table_name = 'event' AND EXISTS (
    SELECT FROM {{shadow}}.{{progress}} AS l
    JOIN {{live}}.source_progress AS o USING (cluster, consumer_group, topic, partition)
    WHERE {_OF_GROUP} AND l.windows_next < o.effects_next AND l.watermark < m.dropped_before)
"""
_ASIDE: LiteralString = f"""
DROP TABLE IF EXISTS {{shadow}}.{{aside_progress}}, {{shadow}}.{{aside_snapshot}};
CREATE TABLE {{shadow}}.{{aside_progress}} AS SELECT * FROM {{live}}.source_progress AS l WHERE {_OF_GROUP};
CREATE TABLE {{shadow}}.{{aside_snapshot}} AS SELECT * FROM {{live}}.partition_snapshot AS l WHERE {_OF_GROUP};
DELETE FROM {{live}}.partition_snapshot AS l WHERE {_OF_GROUP};
INSERT INTO {{live}}.partition_snapshot SELECT l.* FROM {{shadow}}.{{snapshot}} AS l WHERE {_OF_GROUP};
UPDATE {{live}}.source_progress AS l
SET owner = md5(random()::text || clock_timestamp()::text || l.topic || l.partition), windows_next = 0, watermark = NULL,
    duplicates = 0, updated_at = clock_timestamp()
WHERE {_OF_GROUP} AND (l.topic, l.partition) IN (SELECT topic, partition FROM {{shadow}}.cut);
UPDATE {{live}}.source_progress AS l
SET windows_next = s.windows_next, watermark = s.watermark,
    duplicates = greatest(s.duplicates, CASE WHEN c.is_stored AND %(is_promotion)s THEN o.duplicates END)
FROM {{shadow}}.{{progress}} AS s JOIN {{shadow}}.{{aside_progress}} AS o USING (cluster, consumer_group, topic, partition)
JOIN {{shadow}}.cut AS c USING (cluster, consumer_group, topic, partition)
WHERE (s.cluster, s.consumer_group, s.topic, s.partition) = (l.cluster, l.consumer_group, l.topic, l.partition)
  AND {_OF_GROUP}
"""
# Records that were set aside while they were replayed are set aside again when workers fold them once more
_CONTROLS: LiteralString = f"""
INSERT INTO {{live}}.control_record (kind, cluster, consumer_group, topic, partition, "offset", reason, detail, created_by)
SELECT l.kind, l.cluster, l.consumer_group, l.topic, l.partition, l."offset", l.reason, l.detail, l.created_by
FROM {{shadow}}.control_record AS l WHERE {_OF_GROUP} AND l.kind = 'skip' AND NOT EXISTS (
    SELECT FROM {{live}}.control_record AS o WHERE (o.kind, o.cluster, o.consumer_group, o.topic, o.partition, o."offset")
        = (l.kind, l.cluster, l.consumer_group, l.topic, l.partition, l."offset"))
"""
_AGAIN: LiteralString = f"""
SELECT coalesce(sum(l.effects_next - coalesce(p.snapshot_offset, 0)), 0) FROM {{live}}.source_progress AS l
LEFT JOIN {{live}}.partition_snapshot AS p USING (cluster, consumer_group, topic, partition) WHERE {_OF_GROUP}
"""
_GAPS: LiteralString = "SELECT count(*) FROM {shadow}.source_gap"


def require_whole(replay: Replay) -> None:
    """Check that a replay was asked for everything; raises :class:`SettingsError`."""
    if not replay.is_whole:
        raise SettingsError(
            f"the replay {replay.name!r} began cold, or with limits: promoted is what was replayed whole, with every row and"
            " from the beginning; start another"
        )


def require_promotable(connection: Connection, replay: Replay) -> None:
    """Check that a replay holds all that the live tables hold, by the same rules; raises :class:`SettingsError`."""
    name = replay.name
    require_whole(replay)
    if _value(connection, replay, _GAPS):
        raise SettingsError(
            f"the replay {name!r} lacks records that its logs had lost: `pipeline replay diff` says what"
        )
    rows = _execute(connection, replay, _BOTH).fetchall()
    if not rows:
        raise SettingsError(
            f"no worker of the group {replay.consumer_group} has stored anything: nothing to promote over"
        )
    if ahead := _execute(connection, replay, _AHEAD).fetchone():
        raise SettingsError(
            f"no worker has stored anything of {SourcePartition(*ahead)} yet, which the replay has: wait for them"
        )
    for topic, partition, effects, fold, config, log_since, shadow_effects, shadow_windows, first, is_shared in rows:
        source = SourcePartition(topic, partition)
        if shadow_effects is None or first != 0:
            raise SettingsError(
                f"the replay {name!r} has not all of {source}: promoted is what was replayed whole; start another, with"
                " every topic and from the beginning"
            )
        if is_shared:
            raise SettingsError(
                f"another group or cluster stores {source} in this database: events cannot be told apart"
            )
        if log_since is not None:
            raise SettingsError(f"the log of {source} is not the one it once was: the replay lacks what was lost")
        if (fold, config) != (replay.fold_version, replay.config_version):
            raise SettingsError(
                f"the owner of {source} folds by other rules than the replay {name!r}: give the workers its settings first"
            )
        if shadow_effects != shadow_windows:
            raise SettingsError(f"the replay {name!r} is not done with {source}: pipeline replay resume {name}")
        if effects < shadow_effects:
            raise SettingsError(
                f"the workers are {shadow_effects - effects} records behind the replay {name!r} in {source}: wait for them"
            )


def require_undoable(connection: Connection, replay: Replay) -> None:
    """Check that the logs still are what they were, and events still there; raises :class:`SettingsError`."""
    for topic, partition, *_, log_since, _, _, _, _ in _execute(connection, replay, _BOTH):
        if log_since is not None:
            raise SettingsError(
                f"the log of {SourcePartition(topic, partition)} was made anew since the promotion: what was live before"
                " cannot be gone on with"
            )


def behind(connection: Connection, replay: Replay) -> int:
    """Return how many records the workers still lack of what the replay holds."""
    return int(_value(connection, replay, _BEHIND))


def require_young(connection: Connection, replay: Replay, progress: str) -> None:
    """Check that the events which workers would have to fold again are still there; raises :class:`SettingsError`.

    Parameters
    ----------
    progress
        The table in the shadow that has the marks to go back to.
    """
    old = _execute(connection, replay, _OLD, progress=progress).fetchone()
    if old is not None:
        raise SettingsError(
            f"the replay {replay.name!r} is too old for that: workers would have to fold events again from before"
            f" {old[0]:%Y-%m-%d %H:%M}Z, which were dropped because of their age"
        )


def cut(connection: Connection, replay: Replay) -> None:
    """Note up to where the replay holds everything."""
    with connection.transaction():
        _execute(connection, replay, "DROP TABLE IF EXISTS {shadow}.cut CASCADE")
        _execute(connection, replay, _CUT)


def is_inexact(connection: Connection, replay: Replay) -> bool:
    """Return whether any of a replay's partitions was read from what is stored, where nothing is twice."""
    return bool(_value(connection, replay, "SELECT bool_or(is_stored) FROM {shadow}.cut"))


def extend_cut(connection: Connection, replay: Replay) -> None:
    """Note partitions that came since the promotion."""
    _execute(connection, replay, _EXTEND)


def freeze(connection: Connection, replay: Replay) -> None:
    """Let none of a replay's processes store anything more, should one be left."""
    _execute(connection, replay, _FREEZE)


def fence(connection: Connection, replay: Replay) -> dt.datetime:
    """Return a moment such that what workers merged before it is to be seen now, and what they merge later is younger."""
    since = _value(connection, replay, "SELECT clock_timestamp() - interval '5 seconds'")
    assert isinstance(since, dt.datetime)  # noqa: S101  # it always gives a time
    # Whoever has a row now began before; one after the other, so that a worker which stands still holds up only itself
    for topic, partition in _execute(connection, replay, _SOURCES).fetchall():
        with connection.transaction():
            _execute(connection, replay, _LOCK_ONE, {"topic": topic, "partition": partition})
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
                _execute(connection, replay, "LOCK TABLE {live}.partition_snapshot IN SHARE ROW EXCLUSIVE MODE")
                _execute(connection, replay, _LOCK)
                return
        except psycopg.errors.LockNotAvailable:
            if not left:
                raise
            time.sleep(_PAUSE_S)


def require_unchanged(cursor: Cursor, replay: Replay, target: LiteralString) -> None:
    """Check that no partition came or went back meanwhile, nor the replay itself; raises :class:`SettingsError`."""
    for question in (_STRAY,) if target else (_STRAY, _MOVED):
        stray = _execute(cursor.connection, replay, question).fetchone()
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
        _execute(cursor.connection, replay, statement, {"is_promotion": not target}, **relations)
    if not target:
        _execute(cursor.connection, replay, _CONTROLS)
    return int(_value(cursor.connection, replay, _AGAIN))


def _execute(
    connection: Connection,
    replay: Replay,
    statement: LiteralString,
    parameters: Mapping[str, object] = MappingProxyType({}),
    **relations: str,
) -> Cursor:
    names = {"live": SCHEMA, "shadow": replay.schema} | relations
    query = sql.SQL(statement).format(**{name: sql.Identifier(each) for name, each in names.items()})
    about = {"replay": replay.name, "cluster": replay.cluster, "group": replay.consumer_group, **parameters}
    return connection.execute(query, about if "%(" in statement else None)


def _value(connection: Connection, replay: Replay, statement: LiteralString) -> Any:
    row = _execute(connection, replay, statement).fetchone()
    return row[0] if row is not None else None
