"""Whether a replay may be promoted, or its promotion undone; or one clear line why that would be wrong."""

from __future__ import annotations

from typing import LiteralString

from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.replaying.promotion_marks import OF_GROUP, Connection, execute, value
from pipeline.replaying.replays import Replay

_BOTH: LiteralString = f"""
SELECT l.topic, l.partition, l.effects_next, l.log_since,
       s.effects_next, s.windows_next, r.from_offset,
       EXISTS (SELECT FROM {{live}}.source_progress AS o WHERE (o.topic, o.partition) = (l.topic, l.partition)
               AND (o.cluster, o.consumer_group) <> (l.cluster, l.consumer_group)) AS is_shared
FROM {{live}}.source_progress AS l
LEFT JOIN {{shadow}}.source_progress AS s USING (cluster, consumer_group, topic, partition)
LEFT JOIN {{live}}.replay_range AS r ON r.replay = %(replay)s AND (r.topic, r.partition) = (l.topic, l.partition)
WHERE {OF_GROUP} ORDER BY l.topic, l.partition
"""
_OTHER_RULES: LiteralString = f"""
SELECT l.topic, l.partition FROM {{live}}.source_progress AS l
WHERE {OF_GROUP} AND (l.fold_version, l.config_version) IS DISTINCT FROM (%(fold)s, %(config)s)
ORDER BY l.topic, l.partition LIMIT 1
"""
_AHEAD: LiteralString = f"""
SELECT l.topic, l.partition FROM {{shadow}}.source_progress AS l
LEFT JOIN {{live}}.source_progress AS o USING (cluster, consumer_group, topic, partition)
WHERE {OF_GROUP} AND o.topic IS NULL AND l.effects_next > 0 LIMIT 1
"""
# What workers would have to fold again may be gone from the table, and the log need not have it either
_OLD: LiteralString = f"""
SELECT m.dropped_before FROM {{live}}.retention_mark AS m
WHERE m.table_name = 'event' AND EXISTS (
    SELECT FROM {{shadow}}.{{progress}} AS l
    JOIN {{live}}.source_progress AS o USING (cluster, consumer_group, topic, partition)
    WHERE {OF_GROUP} AND l.windows_next < o.effects_next AND l.watermark < m.dropped_before)
"""
_MISSED: LiteralString = f"""
SELECT e.topic, e.partition, e."offset" FROM {{live}}.control_effect AS e
JOIN {{live}}.control_record AS c ON c.id = e.control_id AND c.topic IS NULL
JOIN {{live}}.source_progress AS l
  ON (l.cluster, l.consumer_group, l.topic, l.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
JOIN {{shadow}}.source_progress AS s
  ON (s.cluster, s.consumer_group, s.topic, s.partition) = (l.cluster, l.consumer_group, l.topic, l.partition)
WHERE {OF_GROUP} AND e."offset" < s.effects_next AND (l.log_since IS NULL OR e.noted_at >= l.log_since) AND NOT EXISTS (
    SELECT FROM {{shadow}}.control_effect AS k
    WHERE (k.control_id, k.topic, k.partition, k."offset") = (e.control_id, e.topic, e.partition, e."offset"))
LIMIT 1
"""
_GAPS: LiteralString = "SELECT count(*) FROM {shadow}.source_gap"


def require_whole(replay: Replay) -> None:
    """Check that a replay was asked for everything; raises :class:`SettingsError`."""
    if not replay.is_whole:
        raise SettingsError(
            f"the replay {replay.name!r} began cold, or with limits: promoted is what was replayed whole, with every row and"
            " from the beginning; start another"
        )


def require_same_rules(connection: Connection, replay: Replay) -> None:
    """Check that the workers fold by a replay's rules, which is quickly known; raises :class:`SettingsError`."""
    about = {"fold": replay.fold_version, "config": replay.config_version}
    if other := execute(connection, replay, _OTHER_RULES, about).fetchone():
        raise SettingsError(
            f"the owner of {SourcePartition(*other)} folds by other rules than the replay {replay.name!r}: give the workers its"
            " settings first; `pipeline config`, run with those of either, shows in what they differ"
        )


def require_promotable(connection: Connection, replay: Replay) -> None:
    """Check that a replay holds all that the live tables hold, by the same rules; raises :class:`SettingsError`."""
    name = replay.name
    require_whole(replay)
    if value(connection, replay, _GAPS):
        raise SettingsError(
            f"the replay {name!r} lacks records that its logs had lost: `pipeline replay diff` says what"
        )
    rows = execute(connection, replay, _BOTH).fetchall()
    if not rows:
        raise SettingsError(
            f"no worker of the group {replay.consumer_group} has stored anything: nothing to promote over"
        )
    if ahead := execute(connection, replay, _AHEAD).fetchone():
        raise SettingsError(
            f"no worker has stored anything of {SourcePartition(*ahead)} yet, which the replay has: wait for them"
        )
    _require_same_plant(connection, replay)
    require_same_rules(connection, replay)
    for topic, partition, effects, log_since, shadow_effects, shadow_windows, first, is_shared in rows:
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
        if shadow_effects != shadow_windows:
            raise SettingsError(f"the replay {name!r} is not done with {source}: pipeline replay resume {name}")
        if effects < shadow_effects:
            raise SettingsError(
                f"the workers are {shadow_effects - effects} records behind the replay {name!r} in {source}: wait for them"
            )


def _require_same_plant(connection: Connection, replay: Replay) -> None:
    """Check that what the plant is like changed for a replay where it did for the workers."""
    if missed := execute(connection, replay, _MISSED).fetchone():
        *source, offset = missed
        raise SettingsError(
            f"the replay {replay.name!r} had read on when what the plant is like changed at {SourcePartition(*source)} offset"
            f" {offset}: start another"
        )


def require_undoable(connection: Connection, replay: Replay) -> None:
    """Check that the logs still are what they were, and events still there; raises :class:`SettingsError`."""
    for topic, partition, *_, log_since, _, _, _, _ in execute(connection, replay, _BOTH):
        if log_since is not None:
            raise SettingsError(
                f"the log of {SourcePartition(topic, partition)} was made anew since the promotion: what was live before"
                " cannot be gone on with"
            )


def require_young(connection: Connection, replay: Replay, progress: str) -> None:
    """Check that the events which workers would have to fold again are still there; raises :class:`SettingsError`.

    Parameters
    ----------
    progress
        The table in the shadow that has the marks to go back to.
    """
    old = execute(connection, replay, _OLD, progress=progress).fetchone()
    if old is not None:
        raise SettingsError(
            f"the replay {replay.name!r} is too old for that: workers would have to fold events again from before"
            f" {old[0]:%Y-%m-%d %H:%M}Z, which were dropped because of their age"
        )
