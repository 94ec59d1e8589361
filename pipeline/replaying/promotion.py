"""Taking a replay's rows over as the live ones, and turning that back: one transaction each, while workers run.

A replay holds everything before its *cut*, one offset per partition. Promoted, its windows, machine states, anomalies, facts
and dead letters replace the live ones of the same partitions, and its state becomes the snapshot. The live effects mark stays,
so what workers found from the cut on stays too; the windows mark goes back to the cut, so that they count what came after it
once more, on the replay's windows. The owners are renewed: whoever holds a partition misses its next flush, acquires it anew
and folds from there. Undo is the same with the rows, marks and snapshots that were live before.

Events are only added to: one that the replay has otherwise, or not, is superseded, which is a row elsewhere.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, LiteralString, NamedTuple

import psycopg

from pipeline.core.errors import NotOwner, SettingsError
from pipeline.replaying import promotion_checks as checks
from pipeline.replaying import promotion_marks as marks
from pipeline.replaying.compared import TABLES, Compared
from pipeline.replaying.exchange import (
    Exchanged,
    Room,
    exchange,
    remember,
    require_same_columns,
    stage,
    stage_changed,
)
from pipeline.replaying.replays import Replay, ReplayState
from pipeline.store.fact_rows import IS_INGESTED

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


class Projection(StrEnum):
    """What can be promoted by itself."""

    WINDOWS = "windows"
    """Windows, operating cycles and machine states, which share a mark."""

    ANOMALIES = "anomalies"
    """Anomalies and the events that tell of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a promotion, or its undoing, did.

    Parameters
    ----------
    number
        Of the promotion.
    tables
        Rows that were replaced and that came.
    events_added, events_superseded
        Rows of ``event``.
    again
        Records that workers fold once more.
    held_ms
        For how long workers may have waited, ms; 0: they did not.
    """

    number: int
    tables: tuple[Exchanged, ...]
    events_added: int
    events_superseded: int
    again: int
    held_ms: float


class _Plan(NamedTuple):
    """Which tables are exchanged: those that stand still before the cut, and those that workers change."""

    still: Sequence[Compared]
    moving: Sequence[Compared]
    with_events: bool


_BY_NAME = {table.name: table for table in TABLES}
_EVENT = _BY_NAME["event"]
_WINDOWS = (_BY_NAME["reading_window"], _BY_NAME["factory_window"], _BY_NAME["maintenance_aggregate"])
# Of cycles that grew together rows are gone, which nothing tells: these tables are compared while workers stand still
_OTHERS = (_BY_NAME["operating_cycle"], _BY_NAME["cycle_reading"], _BY_NAME["machine_state"])
_MOVING = (*_WINDOWS, *_OTHERS)
_DERIVED_TABLES = tuple(_BY_NAME[each] for each in ("anomaly", "maintenance_requirement", "maintenance_prediction"))
_LETTER = _BY_NAME["dead_letter"]
_FACTS = (_BY_NAME["quality_report"], _BY_NAME["maintenance_record"], _BY_NAME["metadata_command"])
_PLANS = {
    None: _Plan((*_DERIVED_TABLES, *_FACTS, _LETTER), _MOVING, True),
    Projection.WINDOWS: _Plan((), _MOVING, False),
    Projection.ANOMALIES: _Plan(_DERIVED_TABLES, (), True),
}
_EVERY_ROW: LiteralString = "true"
_DERIVED: LiteralString = f" AND NOT r.{IS_INGESTED}"
_PROMOTE = ("", "staged_", "replaced_")
_UNDO = ("before_", "unstaged_", "undone_")

_ADD_EVENTS = """
INSERT INTO {live}.event (event_id, event_type, entity_type, entity_id, machine_id, factory_id, event_time, ingest_time,
                          stored_time, source_topic, source_partition, source_offset, source_index, body)
SELECT event_id, event_type, entity_type, entity_id, machine_id, factory_id, event_time, ingest_time,
       now(), source_topic, source_partition, source_offset, source_index, body
FROM {shadow}.event JOIN {shadow}.staged_event USING (event_id, event_time) WHERE is_wanted
"""
_SUPERSEDE = """
INSERT INTO {live}.superseded_event (event_id, event_time, stored_from, stored_to, promotion)
SELECT event_id, event_time, '-infinity', now(), %(number)s FROM {shadow}.staged_event WHERE is_live
"""
_UNSUPERSEDE = "DELETE FROM {live}.superseded_event WHERE promotion = %(number)s"
_SUPERSEDE_ADDED = """
INSERT INTO {live}.superseded_event (event_id, event_time, stored_from, stored_to, promotion)
SELECT event_id, event_time, promoted_at, now(), number
FROM {shadow}.staged_event, {live}.promotion WHERE is_wanted AND number = %(number)s
"""
_BEGIN = """
INSERT INTO {live}.promotion (replay, cluster, consumer_group, tables, promoted_by)
VALUES (%(replay)s, %(cluster)s, %(group)s, %(tables)s, session_user) RETURNING number
"""
_LAST = """
SELECT number, replay, tables FROM {live}.promotion
WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND undone_at IS NULL ORDER BY number DESC LIMIT 1
"""
_UNDONE = "UPDATE {live}.promotion SET undone_at = now() WHERE number = %(number)s"
_STATE = "UPDATE {live}.replay SET state = %(state)s WHERE name = %(replay)s"


def promote(connection: Connection, replay: Replay, only: Projection | None = None) -> Outcome:
    """Make what a replay found the live rows, up to its cut.

    Parameters
    ----------
    connection
        In autocommit mode, of the tables' owner, who has claimed the replay.
    only
        A part of it.

    Raises
    ------
    SettingsError
        If that would be wrong: the text says why and what to do.
    """
    if replay.state is ReplayState.PROMOTED:
        raise SettingsError(f"the replay {replay.name!r} is promoted already")
    with _patient(connection):
        marks.freeze(connection, replay)
        checks.require_promotable(connection, replay)
        plan, room = _PLANS[only], Room(replay.schema, *_PROMOTE)
        if plan.moving:
            checks.require_young(connection, replay, "source_progress")
        for table in (*plan.still, *plan.moving):
            require_same_columns(connection, room, table)
        marks.cut(connection, replay)
        room = replace(room, is_inexact=marks.is_inexact(connection, replay))
        since = _stage(connection, replay, room, plan)
        if plan.with_events:
            stage(connection, room, _EVENT, _EVENT.scope + (_DERIVED if only else ""))
        with connection.transaction(), connection.cursor() as cursor:
            number = int(marks.value(connection, replay, _BEGIN, {"tables": [] if only is None else [only.value]}))
            about = {"number": number}
            added = marks.execute(connection, replay, _ADD_EVENTS).rowcount if plan.with_events else 0
            gone = marks.execute(connection, replay, _SUPERSEDE, about).rowcount if plan.with_events else 0
            tables, again, began = _take(cursor, replay, room, plan, since)
            for table in (*plan.still, *plan.moving):
                remember(cursor, room, table, "before_")
            marks.execute(connection, replay, _STATE, {"state": ReplayState.PROMOTED})
        return Outcome(number, tables, added, gone, again, _since_ms(began))


def undo(connection: Connection, replay: Replay) -> Outcome:
    """Make the rows that were live before a promotion live again; what workers found since then stays or is counted again.

    Parameters
    ----------
    connection
        In autocommit mode, of the tables' owner, who has claimed the replay.

    Raises
    ------
    SettingsError
        If it was not the last promotion, or cannot be turned back.
    """
    with _patient(connection):
        number, only = _last_promotion(connection, replay)
        plan, room = _PLANS[only], Room(replay.schema, *_UNDO)
        checks.require_undoable(connection, replay)
        if plan.moving:
            checks.require_young(connection, replay, f"{_PROMOTE[2]}source_progress")
        for table in (*plan.still, *plan.moving):
            require_same_columns(connection, room, table)
        marks.extend_cut(connection, replay)
        since = _stage(connection, replay, room, plan)
        about = {"number": number}
        with connection.transaction(), connection.cursor() as cursor:
            marks.execute(connection, replay, _UNSUPERSEDE, about)
            gone = marks.execute(connection, replay, _SUPERSEDE_ADDED, about).rowcount if plan.with_events else 0
            tables, again, began = _take(cursor, replay, room, plan, since)
            marks.execute(connection, replay, _UNDONE, about)
            marks.execute(connection, replay, _STATE, {"state": ReplayState.COMPLETE})
        return Outcome(number, tables, 0, gone, again, _since_ms(began))


def _stage(connection: Connection, replay: Replay, room: Room, plan: _Plan) -> dt.datetime:
    """Note what differs, while workers go on; return since when live rows may have changed that were compared."""
    since = marks.fence(connection, replay)
    for table in plan.still:
        stage(connection, room, table)
    for table in _WINDOWS:
        if table in plan.moving:
            stage(connection, room, table, _EVERY_ROW)
    return since


def _take(
    cursor: Cursor, replay: Replay, room: Room, plan: _Plan, since: dt.datetime
) -> tuple[tuple[Exchanged, ...], int, float]:
    """Exchange all tables; return what became of them, records to fold again, and when the marks were locked."""
    tables = [exchange(cursor, room, table) for table in plan.still]
    if not plan.moving:
        marks.require_unchanged(cursor, replay, room.target)
        return tuple(tables), 0, 0.0
    began = time.monotonic()
    marks.hold(cursor, replay)
    marks.require_unchanged(cursor, replay, room.target)
    for table in _WINDOWS:
        stage_changed(cursor, room, table, since)
    for table in _OTHERS:
        stage(cursor.connection, room, table, _EVERY_ROW)
    tables += [exchange(cursor, room, table) for table in plan.moving]
    again = marks.take(cursor, replay, room.target, room.aside)
    marks.require_unchanged(cursor, replay, room.target)
    return tuple(tables), again, began


def _last_promotion(connection: Connection, replay: Replay) -> tuple[int, Projection | None]:
    row = marks.execute(connection, replay, _LAST).fetchone()
    if row is None or replay.state is not ReplayState.PROMOTED:
        raise SettingsError(f"the replay {replay.name!r} is not promoted: there is nothing to undo")
    if row[1] != replay.name:
        raise SettingsError(
            f"the replay {row[1]!r} was promoted after {replay.name!r}: undo that first, pipeline replay undo {row[1]}; if"
            " it was dropped, neither can be undone"
        )
    return row[0], Projection(row[2][0]) if row[2] else None


def _since_ms(began: float) -> float:
    return (time.monotonic() - began) * 1000 if began else 0.0


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Bound how long anybody waits for whom: a process that was stopped in the middle must not hold the workers up."""
    connection.execute("SET idle_in_transaction_session_timeout TO '30s'")
    connection.execute("SET lock_timeout TO '30s'")
    connection.execute("SET work_mem TO '64MB'")
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise NotOwner("nothing was changed: a worker held what is needed for 30 s; try again") from error
