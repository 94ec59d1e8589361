"""The partitions of replays: what of each is read, from which state, and how far it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipeline.core.controls import TICK
from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.replaying import replays, shadow
from pipeline.replaying.replays import Replay
from pipeline.store.connect import SCHEMA, Connection
from pipeline.store.progress import KEY, Progress


@dataclass(frozen=True, slots=True)
class Stretch:
    """What of one partition a replay reads.

    Parameters
    ----------
    first, end
        It has effects of the offsets ``[first, end)``.
    counted_from
        From where its windows count; at most ``first``.
    state_at
        Offset of the state that it begins with; 0: none.
    stored_to
        What comes before is read from what is stored, the rest from the log.
    """

    first: int
    end: int
    counted_from: int = 0
    state_at: int = 0
    stored_to: int = 0


@dataclass(frozen=True, slots=True)
class RangeProgress:
    """How far a replay is in one partition: its range, and the next offset whose events and windows are stored.

    Parameters
    ----------
    controls_left
        Control records up to the end that were not applied yet.
    """

    source: SourcePartition
    start: int
    end: int
    stored_to: int
    effects: int
    windows: int
    controls_left: int = 0

    @property
    def is_done(self) -> bool:
        """Whether everything is stored."""
        return self.left == 0 and self.controls_left <= 0

    @property
    def left(self) -> int:
        """Offsets that are not stored yet, events or windows; may stay above 0 if the log ends in markers."""
        return max(0, self.end - min(self.effects, self.windows))


_INSERT = f"""
INSERT INTO {SCHEMA}.replay (name, schema, cluster, consumer_group, state, wanted, options, config_version, fold_version,
                             created_by)
VALUES (%(name)s, %(schema)s, %(cluster)s, %(group)s, 'running', 'run', %(options)s, %(config_version)s, %(fold_version)s,
        %(worker)s)
"""
_RANGE = f"""
INSERT INTO {SCHEMA}.replay_range (replay, topic, partition, from_offset, to_offset, counted_from, stored_to)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
_LATER = f"""
UPDATE {SCHEMA}.replay_range SET to_offset = greatest(to_offset, %s), stored_to = greatest(stored_to, %s)
WHERE replay = %s AND topic = %s AND partition = %s
"""

_PROGRESS = """
SELECT r.topic, r.partition, r.counted_from, r.to_offset, r.stored_to, p.effects_next, p.windows_next, (
    SELECT count(*) - least(p.controls_next, p.windows_controls) FROM {shadow}.control_effect AS e
    WHERE (e.topic, e.partition) = (r.topic, r.partition) AND e.ordinal IS NOT NULL AND e."offset" <= r.to_offset)
FROM {live}.replay_range AS r
JOIN {shadow}.source_progress AS p USING (topic, partition)
WHERE r.replay = %s
ORDER BY r.topic, r.partition
"""
_STORED = f"""
SELECT topic, partition, effects_next FROM {SCHEMA}.source_progress
WHERE cluster = %(cluster)s AND consumer_group = %(group)s
"""
_CONTROLS = f"""
SELECT FROM {SCHEMA}.control_record
WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND (topic IS NULL OR kind = '{TICK}') LIMIT 1
"""
_NEAREST = f"""
SELECT snapshot_offset FROM {SCHEMA}.snapshot_history
WHERE {KEY} AND fold_version = %(fold_version)s
  AND snapshot_offset <= coalesce(%(offset)s, snapshot_offset) AND taken_at <= coalesce(%(before)s, taken_at)
  AND taken_at >= coalesce((SELECT log_since FROM {SCHEMA}.source_progress WHERE {KEY}), '-infinity')
ORDER BY snapshot_offset DESC LIMIT 1
"""


def create(
    connection: Connection,
    name: str,
    progress: Progress,
    stretches: Mapping[SourcePartition, Stretch],
    options: Mapping[str, Any],
) -> Replay:
    """Note a replay and make its shadow, in one transaction.

    Parameters
    ----------
    connection
        In autocommit mode, of a user who may create schemas.

    Raises
    ------
    SettingsError
        If there is one of that name.
    """
    schema = f"replay_{name}"
    row = progress.of_all() | {
        "name": name,
        "schema": schema,
        "options": Jsonb(dict(options)),
        "config_version": progress.config_version,
        "fold_version": progress.fold_version,
        "worker": progress.subscriber.worker,
    }
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(_INSERT, row)
            shadow.create(connection, schema, progress)
            _begin(cursor, name, schema, progress, stretches)
            shadow.place_controls(connection, schema, progress)
    except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateSchema) as error:
        raise SettingsError(
            f"there is a replay {name!r} already: `pipeline replay resume {name}` goes on with it,"
            f" `pipeline replay drop {name}` deletes it"
        ) from error
    return replays.find(connection, name)


def _begin(
    cursor: psycopg.Cursor[Any],
    name: str,
    schema: str,
    progress: Progress,
    stretches: Mapping[SourcePartition, Stretch],
) -> None:
    for source, each in sorted(stretches.items()):
        cursor.execute(_RANGE, (name, *source, each.first, each.end, each.counted_from, each.stored_to))
        shadow.begin(cursor, schema, progress, source, asdict(each))


def extend(
    connection: Connection, replay: Replay, progress: Progress, stretches: Mapping[SourcePartition, Stretch]
) -> None:
    """Let a replay go on to later ends, and take partitions in that have come since it was begun.

    Parameters
    ----------
    connection
        In autocommit mode, of the shadow's owner.
    """
    with connection.transaction(), connection.cursor() as cursor:
        rows = cursor.execute(f"SELECT topic, partition FROM {SCHEMA}.replay_range WHERE replay = %s", [replay.name])
        known = {SourcePartition(*row) for row in rows}
        new = {source: each for source, each in stretches.items() if source not in known}
        _begin(cursor, replay.name, replay.schema, progress, new)
        for source, each in stretches.items():
            cursor.execute(_LATER, [each.end, each.stored_to, replay.name, *source])
        shadow.place_controls(connection, replay.schema, progress)


def progress_of(connection: Connection, replay: Replay) -> list[RangeProgress]:
    """Return how far a replay is in each of its partitions."""
    query = sql.SQL(_PROGRESS).format(live=sql.Identifier(SCHEMA), shadow=sql.Identifier(replay.schema))
    return [RangeProgress(SourcePartition(*row[:2]), *row[2:]) for row in connection.execute(query, [replay.name])]


def gaps(connection: Connection, replay: Replay) -> list[str]:
    """Return what a replay could not read, because its log had lost it, as ``topic[partition] [from, to)``."""
    query = sql.SQL("SELECT topic, partition, from_offset, to_offset FROM {}.source_gap ORDER BY 1, 2, 3")
    rows = connection.execute(query.format(sql.Identifier(replay.schema)))
    return [f"{SourcePartition(topic, partition)} [{first}, {end})" for topic, partition, first, end in rows]


def stored_to(connection: Connection, progress: Progress) -> dict[SourcePartition, int]:
    """Return for each partition that the live run knows the offset before which everything is stored."""
    rows = connection.execute(_STORED, progress.of_all())
    return {SourcePartition(topic, partition): effects for topic, partition, effects in rows}


def has_controls(connection: Connection, progress: Progress) -> bool:
    """Return whether there are control records that take effect between two records."""
    return connection.execute(_CONTROLS, progress.of_all()).fetchone() is not None


def nearest_state(
    connection: Connection,
    progress: Progress,
    source: SourcePartition,
    offset: int | None,
    before: dt.datetime | None,
) -> int | None:
    """Return the offset of the latest state that was kept at or before an offset and a moment; ``None`` if there is none."""
    parameters = {"fold_version": progress.fold_version, "offset": offset, "before": before}
    row = connection.execute(_NEAREST, progress.key(source) | parameters).fetchone()
    return int(row[0]) if row is not None else None
