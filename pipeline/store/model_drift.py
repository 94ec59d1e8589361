"""What went into models, by day; which of them were to be learned anew, and what became of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from pipeline.store.connect import Connection

MOST_ROWS = 20_000
"""Inputs of a model and day that are looked at; of more, those that a hash of their offset chooses: machines take turns."""

DAYS = 7
"""Days whose inputs are one distribution, and how far back days are counted that nobody has counted."""


class Inputs(NamedTuple):
    """What went into a model on a day: machines and inputs, one of each for each row."""

    machine_ids: list[str]
    rows: list[list[float]]


class Drift(NamedTuple):
    """A feature's distribution in the days up to one, against the reference.

    Parameters
    ----------
    psi
        Population stability index.
    by_chance
        What it hardly exceeds without any drift, for that many machines.
    inputs, machines
        How many were looked at on the last day, and of how many machines these were.
    """

    model_id: int
    feature: str
    day: dt.date
    psi: float
    by_chance: float
    inputs: int
    machines: int


# A day may be counted when it has been over for an hour
_LAST_DAY = "SELECT ((now() - interval '1 hour') AT TIME ZONE 'UTC')::date - 1"
_COUNTED = "SELECT model_id, day FROM model_drift WHERE day > %s AND model_id = ANY(%s) GROUP BY model_id, day"
_OF_DAY = """
FROM maintenance_prediction
WHERE event_time >= %(day)s::timestamp AT TIME ZONE 'UTC' AND event_time < (%(day)s + 1)::timestamp AT TIME ZONE 'UTC'
"""
_COUNT = f"SELECT model_id, count(*) {_OF_DAY} AND model_id = ANY(%(models)s) GROUP BY model_id ORDER BY model_id"
_INPUTS = f"""
SELECT machine_id, inputs {_OF_DAY} AND model_id = %(model_id)s AND (hashint8(source_offset) & 2147483647) %% %(every)s = 0
AND cardinality(inputs) = %(features)s LIMIT {2 * MOST_ROWS}
"""
_REFERENCE = "SELECT feature, edges, counts, machines FROM model_reference WHERE model_id = %s"
_ADD_REFERENCE = """
INSERT INTO model_reference (model_id, feature, edges, counts, machines, origin) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_BEFORE = "SELECT feature, counts FROM model_drift WHERE model_id = %s AND day > %s AND day < %s"
_ADD = """
INSERT INTO model_drift (model_id, feature, day, counts, machines, inputs, psi, by_chance)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_NEWEST = """
SELECT model_id, feature, day, psi, by_chance, inputs, machines FROM model_drift
WHERE model_id = ANY(%(models)s) AND (model_id, day) IN (
    SELECT model_id, max(day) FROM model_drift WHERE day > %(after)s GROUP BY model_id
)
ORDER BY psi DESC, feature
"""
_CLAIM = """
INSERT INTO model_trigger (model_id, day, reason, outcome) VALUES (%s, (now() AT TIME ZONE 'UTC')::date, %s, 'begun')
ON CONFLICT DO NOTHING RETURNING day
"""
_OUTCOME = "UPDATE model_trigger SET candidate_id = %s, outcome = %s WHERE model_id = %s AND day = %s"


def last_day(connection: Connection) -> dt.date:
    """Return the newest UTC day that may be counted."""
    (day,) = connection.execute(_LAST_DAY).fetchone() or (dt.date.min,)
    assert isinstance(day, dt.date)  # noqa: S101  # for the type checker: without FROM there is always a row
    return day


def uncounted(connection: Connection, models: Sequence[int], last: dt.date) -> list[tuple[dt.date, list[int]]]:
    """Return the last days, oldest first, with the models whose inputs of that day nobody has counted."""
    first = last - dt.timedelta(days=DAYS - 1)
    counted = set(connection.execute(_COUNTED, [first - dt.timedelta(days=1), list(models)]).fetchall())
    days = [first + dt.timedelta(days=n) for n in range(DAYS)]
    missing = [(day, [each for each in models if (each, day) not in counted]) for day in days]
    return [(day, some) for day, some in missing if some]


def counts(connection: Connection, day: dt.date, models: Sequence[int]) -> list[tuple[int, int]]:
    """Return how many predictions of which models there are of a UTC day; none: no row."""
    return connection.execute(_COUNT, {"day": day, "models": list(models)}).fetchall()


def inputs(connection: Connection, day: dt.date, model_id: int, count: int, features: int) -> Inputs:
    """Return inputs of a day's predictions, at most about :data:`MOST_ROWS` of the ``count`` that there are."""
    about = {"day": day, "model_id": model_id, "every": -(-count // MOST_ROWS), "features": features}
    with connection.cursor(binary=True) as cursor:
        found = cursor.execute(_INPUTS, about).fetchall()
    return Inputs([str(machine_id) for machine_id, _ in found], [row for _, row in found])


class Kept(NamedTuple):
    """How a feature was distributed in the reference, and among how many machines; 0: nobody knows."""

    edges: list[float]
    counts: list[int]
    machines: int


def reference(connection: Connection, model_id: int) -> dict[str, Kept]:
    """Return the reference by feature; nothing: there is none yet."""
    rows = connection.execute(_REFERENCE, [model_id]).fetchall()
    return {str(feature): Kept(*kept) for feature, *kept in rows}


def add_reference(cursor: psycopg.Cursor[Any], model_id: int, found: Mapping[str, Kept], origin: str) -> None:
    """Keep a model's reference; the first one stays."""
    rows = [(model_id, feature, *kept, origin) for feature, kept in found.items()]
    cursor.executemany(_ADD_REFERENCE, rows)


def before(connection: Connection, model_id: int, day: dt.date) -> list[tuple[str, list[int]]]:
    """Return features and counts of the days that are one distribution with a day, without that day."""
    return connection.execute(_BEFORE, [model_id, day - dt.timedelta(days=DAYS), day]).fetchall()


def add(
    cursor: psycopg.Cursor[Any], rows: Sequence[tuple[int, str, dt.date, list[int], int, int, float, float]]
) -> None:
    """Keep counts and indices: model, feature, day, counts, machines, inputs, index, and what that comes to by chance."""
    cursor.executemany(_ADD, rows)


def newest(connection: Connection, models: Sequence[int], last: dt.date) -> list[Drift]:
    """Return the last day's figures of each model of which one of the last two days was counted, worst first."""
    about = {"models": list(models), "after": last - dt.timedelta(days=2)}
    return [Drift(*row) for row in connection.execute(_NEWEST, about).fetchall()]


def claim(cursor: psycopg.Cursor[Any], model_id: int, reason: str) -> dt.date | None:
    """Note that a model is to be learned anew; ``None``: that was noted today already."""
    row = cursor.execute(_CLAIM, [model_id, reason]).fetchone()
    return row[0] if row is not None else None


def close(cursor: psycopg.Cursor[Any], model_id: int, day: dt.date, candidate_id: int | None, outcome: str) -> None:
    """Note what became of it."""
    cursor.execute(_OUTCOME, [candidate_id, outcome, model_id, day])
