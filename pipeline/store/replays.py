"""The list of replays: what was asked for, what is wanted of them now, how far they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipeline.core.errors import NotOwner, SettingsError
from pipeline.core.records import SourcePartition
from pipeline.core.selection import Selection
from pipeline.store import shadow
from pipeline.store.connect import SCHEMA
from pipeline.store.progress import Progress

Connection = psycopg.Connection[Any]


class ReplayState(StrEnum):
    """What became of a replay."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    COMPLETE = "complete"
    FAILED = "failed"
    PROMOTED = "promoted"


class Wanted(StrEnum):
    """What a replay's processes are to do."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay as the list has it.

    Parameters
    ----------
    schema
        Its shadow.
    options
        What it was asked to do, for its processes.
    config_version, fold_version
        By which rules it folds.
    reason
        Why it failed; empty else.
    is_alive
        Whether somebody is at work on it.
    """

    name: str
    schema: str
    cluster: str
    consumer_group: str
    state: ReplayState
    wanted: Wanted
    options: dict[str, Any]
    config_version: str
    fold_version: int
    reason: str
    created_by: str
    created_at: dt.datetime
    is_alive: bool

    @property
    def is_whole(self) -> bool:
        """Whether it has all results of all that ever came."""
        limits = ("cold", "from_offset", "to_offset")
        return Selection.from_options(self.options).is_all and not any(self.options.get(each) for each in limits)


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
    """How far a replay is in one partition: its range, and the next offset whose events and windows are stored."""

    source: SourcePartition
    start: int
    end: int
    stored_to: int
    effects: int
    windows: int

    @property
    def left(self) -> int:
        """Offsets that are not stored yet, events or windows; may stay above 0 if the log ends in markers."""
        return max(0, self.end - min(self.effects, self.windows))


# Held by the session of whoever works on a replay: it ends with that, however it ends
_LOCK = "hashtextextended('pipeline replay ' || name, 0)"
_COLUMNS = f"""
name, schema, cluster, consumer_group, state, wanted, options, config_version, fold_version, reason, created_by, created_at,
EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database AND datname = current_database()
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND (classid::bigint << 32) | objid::bigint = {_LOCK}
) AS is_alive
"""
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
SELECT r.topic, r.partition, r.counted_from, r.to_offset, r.stored_to, p.effects_next, p.windows_next
FROM {live}.replay_range AS r
JOIN {shadow}.source_progress AS p USING (topic, partition)
WHERE r.replay = %s
ORDER BY r.topic, r.partition
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
    except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateSchema) as error:
        raise SettingsError(
            f"there is a replay {name!r} already: `pipeline replay resume {name}` goes on with it,"
            f" `pipeline replay drop {name}` deletes it"
        ) from error
    return find(connection, name)


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


def find(connection: Connection, name: str) -> Replay:
    """Return a replay; raises :class:`SettingsError` if there is none of that name."""
    with connection.cursor(row_factory=_replay) as cursor:
        found = cursor.execute(f"SELECT {_COLUMNS} FROM {SCHEMA}.replay WHERE name = %s", [name]).fetchone()
    if found is None:
        raise SettingsError(f"there is no replay {name!r}: `pipeline replay list` shows those there are")
    return found


def all_of(connection: Connection, cluster: str, group: str) -> list[Replay]:
    """Return all replays of a consumer group, oldest first."""
    query = f"SELECT {_COLUMNS} FROM {SCHEMA}.replay WHERE cluster = %s AND consumer_group = %s ORDER BY created_at"
    with connection.cursor(row_factory=_replay) as cursor:
        return cursor.execute(query, [cluster, group]).fetchall()


def _replay(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Replay]:
    make = class_row(Replay)(cursor)

    def typed(values: Sequence[Any]) -> Replay:
        row = make(values)
        return replace(row, state=ReplayState(row.state), wanted=Wanted(row.wanted))

    return typed


def progress_of(connection: Connection, replay: Replay) -> list[RangeProgress]:
    """Return how far a replay is in each of its partitions."""
    query = sql.SQL(_PROGRESS).format(live=sql.Identifier(SCHEMA), shadow=sql.Identifier(replay.schema))
    return [RangeProgress(SourcePartition(*row[:2]), *row[2:]) for row in connection.execute(query, [replay.name])]


def require_same(replay: Replay, progress: Progress) -> None:
    """Check that a replay would go on as it began; raises :class:`SettingsError`."""
    subscriber = progress.subscriber
    if (replay.cluster, replay.consumer_group) != (subscriber.cluster, subscriber.group):
        raise SettingsError(
            f"the replay {replay.name!r} is one of the group {replay.consumer_group} in {replay.cluster}, not of"
            f" {subscriber.group} in {subscriber.cluster}: say --factory, or give it its settings"
        )
    if (replay.fold_version, replay.config_version) != (progress.fold_version, progress.config_version):
        raise SettingsError(
            f"the replay {replay.name!r} was begun with other rules than the settings have now, or by another version:"
            " half of each would be neither. Give it its settings again, or start another replay"
        )


def gaps(connection: Connection, replay: Replay) -> list[str]:
    """Return what a replay could not read, because its log had lost it, as ``topic[partition] [from, to)``."""
    query = sql.SQL("SELECT topic, partition, from_offset, to_offset FROM {}.source_gap ORDER BY 1, 2, 3")
    rows = connection.execute(query.format(sql.Identifier(replay.schema)))
    return [f"{SourcePartition(topic, partition)} [{first}, {end})" for topic, partition, first, end in rows]


def claim(connection: Connection, name: str) -> None:
    """Become the one who works on a replay, for as long as the connection lasts; raises :class:`NotOwner` if another does."""
    query = f"SELECT pg_try_advisory_lock({_LOCK}) FROM {SCHEMA}.replay WHERE name = %s"
    if connection.execute(query, [name]).fetchone() != (True,):
        raise NotOwner(f"the replay {name!r} is being worked on; `pipeline replay list` shows how far it is")


def want(connection: Connection, name: str, wanted: Wanted) -> None:
    """Say what a replay's processes are to do."""
    connection.execute(f"UPDATE {SCHEMA}.replay SET wanted = %s WHERE name = %s", [wanted, name])


def note(connection: Connection, name: str, state: ReplayState, reason: str = "") -> None:
    """Note what became of a replay."""
    connection.execute(
        f"UPDATE {SCHEMA}.replay SET state = %s, reason = %s WHERE name = %s",
        [state, reason, name],
    )


def drop(connection: Connection, replay: Replay) -> None:
    """Delete a replay and its shadow, in one transaction."""
    with connection.transaction():
        shadow.drop(connection, replay.schema)
        connection.execute(f"DELETE FROM {SCHEMA}.replay WHERE name = %s", [replay.name])
