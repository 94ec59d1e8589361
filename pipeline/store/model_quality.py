"""What models said and what came of it, as it is kept: by model and life, written anew when a record comes late."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple, TypeVar

import psycopg
from psycopg.rows import class_row

from pipeline.store.connect import Connection

Cursor = psycopg.Cursor[Any]
Row = TypeVar("Row")


class Ending(NamedTuple):
    """A maintenance record of a machine.

    Parameters
    ----------
    requirement
        Class of maintenance, 0 to 5; -1: nobody has said.
    """

    event_id: Any
    ended: dt.datetime
    kind: str
    component: str
    requirement: int


class Word(NamedTuple):
    """What a model said of a machine.

    Parameters
    ----------
    at_ms
        Event time, ms since the epoch, UTC.
    """

    model_id: int
    at_ms: int
    value: float
    lower: float
    upper: float
    label: str
    by_rules: str


class CycleEnd(NamedTuple):
    """An operating cycle: when it ended, ms since the epoch, UTC, and how long it was, ms."""

    ended_ms: int
    duration_ms: int


class Quality(NamedTuple):
    """What the view ``dashboard.model_quality`` has of a model, over any time."""

    model_id: int
    kind: str
    machine_type: str
    version: int
    labels: int
    predictions: int
    rmse: float | None
    mae: float | None
    bias: float | None
    coverage: float | None
    censored: int
    contradicted: int
    accuracy: float | None
    f1: float | None
    rules_accuracy: float | None
    newest: dt.datetime


_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('pipeline models monitor', 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('pipeline models monitor', 0))"

# All that a machine did by then has been folded: its predictions are stored, and its cycles grow no more
_SETTLED = """
FROM machine_state AS s JOIN source_reached AS w USING (source_id)
WHERE s.machine_id = r.machine_id AND r.event_time < coalesce(w.cycles_to, w.watermark)
"""
_UNLABELLED = f"""
SELECT r.machine_id, min(r.event_time) FROM maintenance_record AS r
WHERE NOT EXISTS (SELECT FROM labelled_record AS l WHERE l.event_id = r.event_id) AND EXISTS (SELECT {_SETTLED})
GROUP BY r.machine_id ORDER BY r.machine_id
"""
_RECORDS = f"""
SELECT r.event_id, r.event_time AS ended, r.kind, r.component, r.class AS requirement FROM maintenance_record AS r
WHERE r.machine_id = %s AND EXISTS (SELECT {_SETTLED}) ORDER BY r.event_time, r.kind <> 'failure', r.event_id
"""
_WORDS = """
SELECT model_id, (extract(epoch FROM event_time) * 1000)::bigint AS at_ms, value, lower, upper, label, by_rules
FROM maintenance_prediction
WHERE machine_id = %(machine_id)s AND kind = ANY(%(kinds)s) AND event_time > coalesce(%(began)s, '-infinity'::timestamptz)
  AND event_time <= %(ended)s
"""
# A model that was retired by then has nothing to say, whatever its last word was
_LAST_WORDS = """
SELECT DISTINCT ON (p.model_id) p.model_id, (extract(epoch FROM p.event_time) * 1000)::bigint AS at_ms, p.value, p.lower,
       p.upper, p.label, p.by_rules
FROM maintenance_prediction AS p
WHERE p.machine_id = %(machine_id)s AND p.kind = 'maintenance_class' AND p.event_time <= %(ended)s AND NOT EXISTS (
    SELECT FROM model_stage AS s WHERE s.model_id = p.model_id AND s.stage = 'retired' AND s.since <= %(ended)s
    AND (s.until IS NULL OR s.until > %(ended)s)
)
ORDER BY p.model_id, p.event_time DESC, p.source_offset DESC, p.source_index DESC
"""
_CYCLES = """
SELECT (extract(epoch FROM ended) * 1000)::bigint AS ended_ms, (extract(epoch FROM duration) * 1000)::bigint AS duration_ms
FROM dashboard.operating_cycle
WHERE machine_id = %(machine_id)s AND ended > coalesce(%(began)s, '-infinity'::timestamptz) AND ended <= %(ended)s
ORDER BY ended
"""
_FORGET = "DELETE FROM model_quality WHERE machine_id = %s AND ended >= %s"
_ADD = """
INSERT INTO model_quality (model_id, machine_id, ended, truth, said, by_rules, predictions, off, off_absolute,
                           off_squares, covered)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_LABELLED = """
INSERT INTO labelled_record (event_id, machine_id, event_time) VALUES (%s, %s, %s) ON CONFLICT (event_id) DO NOTHING
"""
_QUALITY = "SELECT * FROM model_quality_since(now() - make_interval(secs => %s)) ORDER BY kind, machine_type, version"


@contextmanager
def alone(connection: Connection) -> Iterator[bool]:
    """Keep other monitors out as long as this lasts; false: another one is at work.

    Parameters
    ----------
    connection
        In autocommit mode. What it holds ends with it.
    """
    (mine,) = connection.execute(_LOCK).fetchone() or (False,)
    try:
        yield bool(mine)
    finally:
        if mine and not connection.closed:
            connection.execute(_UNLOCK)


def unlabelled(cursor: Cursor) -> list[tuple[str, dt.datetime]]:
    """Return machines of which there are records that nothing was held against yet, with the oldest of these's event time.

    Records wait until the machine's partition has folded all up to their event time.
    """
    return [(str(machine_id), since) for machine_id, since in cursor.execute(_UNLABELLED).fetchall()]


def records(cursor: Cursor, machine_id: str) -> list[Ending]:
    """Return the maintenance records of a machine that its partition has come past, by event time; failures before others."""
    return _rows(cursor, Ending, _RECORDS, [machine_id])


def words(
    cursor: Cursor, machine_id: str, kinds: Sequence[str], began: dt.datetime | None, ended: dt.datetime
) -> list[Word]:
    """Return what models of some kinds said of a machine, event times ``(began, ended]``; ``None``: ever since."""
    about = {"machine_id": machine_id, "kinds": list(kinds), "began": began, "ended": ended}
    return _rows(cursor, Word, _WORDS, about)


def last_words(cursor: Cursor, machine_id: str, at: dt.datetime) -> list[Word]:
    """Return the class of maintenance that each model said last, at or before an event time."""
    return _rows(cursor, Word, _LAST_WORDS, {"machine_id": machine_id, "ended": at})


def cycles(cursor: Cursor, machine_id: str, began: dt.datetime | None, ended: dt.datetime) -> list[CycleEnd]:
    """Return the machine's operating cycles that ended in ``(began, ended]``, in order; ``None``: ever since."""
    return _rows(cursor, CycleEnd, _CYCLES, {"machine_id": machine_id, "began": began, "ended": ended})


def forget(cursor: Cursor, machine_id: str, since: dt.datetime) -> None:
    """Drop what is known of a machine's lives that ended at or after an event time, to be written anew."""
    cursor.execute(_FORGET, [machine_id, since])


def add(cursor: Cursor, machine_id: str, rows: Sequence[tuple[int, dt.datetime, Sequence[Any]]]) -> None:
    """Add sums: model, end of the life, and the other columns in the table's order."""
    cursor.executemany(_ADD, [(model_id, machine_id, ended, *sums) for model_id, ended, sums in rows])


def mark(cursor: Cursor, machine_id: str, done: Sequence[Ending]) -> None:
    """Note that what models said was held against these records."""
    cursor.executemany(_LABELLED, [(each.event_id, machine_id, each.ended) for each in done])


def quality(connection: Connection, window_s: float) -> list[Quality]:
    """Return how well models did on what became known of the last while, by the event time of what ended lives."""
    with connection.cursor() as cursor:
        return _rows(cursor, Quality, _QUALITY, [window_s])


def _rows(cursor: Cursor, made: type[Row], query: LiteralString, about: Any) -> list[Row]:
    """Return rows that bear the names of a tuple's places; in the cursor's transaction."""
    with cursor.connection.cursor(row_factory=class_row(made), binary=True) as reading:
        return reading.execute(query, about).fetchall()
