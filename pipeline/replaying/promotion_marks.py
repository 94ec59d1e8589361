"""The marks of a promotion: whether it may be, where the cut is, and from where workers go on."""

from __future__ import annotations

import datetime as dt
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.replaying.replays import Replay
from pipeline.store.connect import SCHEMA

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

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
_ASIDE: LiteralString = f"""
DROP TABLE IF EXISTS {{shadow}}.{{aside_progress}}, {{shadow}}.{{aside_snapshot}};
CREATE TABLE {{shadow}}.{{aside_progress}} AS SELECT * FROM {{live}}.source_progress AS l WHERE {_OF_GROUP};
CREATE TABLE {{shadow}}.{{aside_snapshot}} AS SELECT * FROM {{live}}.partition_snapshot AS l WHERE {_OF_GROUP};
DELETE FROM {{live}}.partition_snapshot AS l WHERE {_OF_GROUP};
INSERT INTO {{live}}.partition_snapshot SELECT l.* FROM {{shadow}}.{{snapshot}} AS l WHERE {_OF_GROUP};
UPDATE {{live}}.source_progress AS l
SET owner = md5(random()::text || clock_timestamp()::text || l.topic || l.partition), windows_next = 0, watermark = NULL,
    duplicates = 0, updated_at = clock_timestamp()
WHERE {_OF_GROUP};
UPDATE {{live}}.source_progress AS l
SET windows_next = s.windows_next, watermark = s.watermark, duplicates = s.duplicates
FROM {{shadow}}.{{progress}} AS s
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
    """Check that the logs still are what they were; raises :class:`SettingsError`."""
    for topic, partition, *_, log_since, _, _, _, _ in _execute(connection, replay, _BOTH):
        if log_since is not None:
            raise SettingsError(
                f"the log of {SourcePartition(topic, partition)} was made anew since the promotion: what was live before"
                " cannot be gone on with"
            )


def behind(connection: Connection, replay: Replay) -> int:
    """Return how many records the workers still lack of what the replay holds."""
    return int(_value(connection, replay, _BEHIND))


def cut(connection: Connection, replay: Replay) -> None:
    """Note up to where the replay holds everything."""
    with connection.transaction():
        _execute(connection, replay, "DROP TABLE IF EXISTS {shadow}.cut CASCADE")
        _execute(connection, replay, _CUT)


def extend_cut(connection: Connection, replay: Replay) -> None:
    """Note partitions that came since the promotion."""
    _execute(connection, replay, _EXTEND)


def fence(connection: Connection, replay: Replay) -> dt.datetime:
    """Return a moment such that what workers merged before it is to be seen now, and what they merge later is younger."""
    with connection.transaction():
        at = _value(connection, replay, _LOCK)
    assert isinstance(at, dt.datetime)  # noqa: S101  # there are marks: it was checked
    return at


def hold(cursor: Cursor, replay: Replay) -> None:
    """Let no worker of the group store anything, nor keep a snapshot, until the transaction ends."""
    # A snapshot's writer looks at the owner first and writes then: the row alone would not keep it out
    _execute(cursor.connection, replay, "LOCK TABLE {live}.partition_snapshot IN SHARE ROW EXCLUSIVE MODE")
    _execute(cursor.connection, replay, _LOCK)


def require_owned(cursor: Cursor, replay: Replay) -> None:
    """Check under lock that no partition came or went back meanwhile; raises :class:`SettingsError`."""
    stray = _execute(cursor.connection, replay, _STRAY).fetchone()
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
        _execute(cursor.connection, replay, statement, **relations)
    if not target:
        _execute(cursor.connection, replay, _CONTROLS)
    return int(_value(cursor.connection, replay, _AGAIN))


def _execute(connection: Connection, replay: Replay, statement: LiteralString, **relations: str) -> Cursor:
    names = {"live": SCHEMA, "shadow": replay.schema} | relations
    query = sql.SQL(statement).format(**{name: sql.Identifier(each) for name, each in names.items()})
    about = {"replay": replay.name, "cluster": replay.cluster, "group": replay.consumer_group}
    return connection.execute(query, about if "%(" in statement else None)


def _value(connection: Connection, replay: Replay, statement: LiteralString) -> Any:
    row = _execute(connection, replay, statement).fetchone()
    return row[0] if row is not None else None
