"""The list of replays: what was asked for, what is wanted of them now, how far they are."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row

from pipeline.core.errors import NotOwner, SettingsError
from pipeline.core.selection import Selection
from pipeline.replaying import shadow
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
        limits = (self.options.get("from_offset"), self.options.get("to_offset"))
        is_limited = self.options.get("cold") or any(each is not None for each in limits)
        return Selection.from_options(self.options).is_all and not is_limited


# Held by the session of whoever works on a replay: it ends with that, however it ends
_LOCK = "hashtextextended('pipeline replay ' || name, 0)"
_PROCESSES = "hashtextextended('pipeline replay processes ' || %(name)s, 0)"
_ORPHANS_S = 45.0
_COLUMNS = f"""
name, schema, cluster, consumer_group, state, wanted, options, config_version, fold_version, reason, created_by, created_at,
EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database AND datname = current_database()
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND (classid::bigint << 32) | objid::bigint = {_LOCK}
) AS is_alive
"""


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
            " half of each would be neither. Give it its settings again (`pipeline config` shows them), or start another replay"
        )


def claim(connection: Connection, name: str) -> None:
    """Become the one who works on a replay, for as long as the connection lasts; raises :class:`NotOwner` if another does."""
    query = f"SELECT pg_try_advisory_lock({_LOCK}) FROM {SCHEMA}.replay WHERE name = %s"
    if connection.execute(query, [name]).fetchone() != (True,):
        raise NotOwner(f"the replay {name!r} is being worked on; `pipeline replay list` shows how far it is")


def share(connection: Connection, name: str) -> None:
    """Be one of a replay's processes, for as long as the connection lasts; raises :class:`NotOwner` if none may be."""
    if connection.execute(f"SELECT pg_try_advisory_lock_shared({_PROCESSES})", {"name": name}).fetchone() != (True,):
        raise NotOwner(f"the replay {name!r} is being taken over or dropped")


def claim_alone(connection: Connection, name: str) -> None:
    """Become the one who works on a replay, when its processes have ended, which those of a killed one take a while for.

    Raises
    ------
    NotOwner
        If somebody else works on it, or its processes do not end.
    """
    claim(connection, name)
    deadline = time.monotonic() + _ORPHANS_S
    while connection.execute(f"SELECT pg_try_advisory_lock({_PROCESSES})", {"name": name}).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise NotOwner(f"processes of the replay {name!r} are still at work, though nobody watches them: try again")
        time.sleep(0.2)


def want(connection: Connection, name: str, wanted: Wanted) -> None:
    """Say what a replay's processes are to do."""
    connection.execute(f"UPDATE {SCHEMA}.replay SET wanted = %s WHERE name = %s", [wanted, name])


def note(connection: Connection, name: str, state: ReplayState, reason: str = "") -> None:
    """Note what became of a replay."""
    connection.execute(
        f"UPDATE {SCHEMA}.replay SET state = %s, reason = %s WHERE name = %s AND state <> 'promoted'",
        [state, reason, name],
    )


def drop(connection: Connection, replay: Replay) -> None:
    """Delete a replay and its shadow, in one transaction."""
    with connection.transaction():
        shadow.drop(connection, replay.schema)
        connection.execute(f"DELETE FROM {SCHEMA}.replay WHERE name = %s", [replay.name])
