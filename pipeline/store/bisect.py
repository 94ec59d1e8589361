"""Finding the one record that can never be stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.records import SourcePartition

WriteEffects = Callable[[psycopg.Cursor[Any], Sequence[UnitOfWork]], None]


def find_unstorable(
    connection: psycopg.Connection[Any], units: Sequence[UnitOfWork], write_effects: WriteEffects
) -> tuple[SourcePartition, int, str] | None:
    """Return partition, offset and the database's words of the first record whose effects are refused.

    Halves the effects again and again and tries each half in a transaction that is rolled back, so it takes some
    2 · log2(records) tries and leaves nothing behind. ``None`` if every record can be stored by itself.

    Parameters
    ----------
    write_effects
        Writes the effects of units with a cursor.
    """
    for unit in units:
        found = _search(connection, unit, _offsets(unit.effects), write_effects)
        if found is not None:
            return unit.source, *found
    return None


def _offsets(effects: Sequence[Effects]) -> list[int]:
    offsets: set[int] = set()
    for part in effects:
        offsets.update(part.events.offsets.tolist())
        offsets.update(fact.offset for fact in part.facts)
        offsets.update(anomaly.offset for anomaly in part.anomalies)
        offsets.update(prediction.offset for prediction in part.predictions)
        offsets.update(letter.offset for letter in part.dead_letters)
    return sorted(offsets)


def _search(
    connection: psycopg.Connection[Any], unit: UnitOfWork, offsets: list[int], write_effects: WriteEffects
) -> tuple[int, str] | None:
    if not offsets:
        return None
    refused = _try(connection, _only(unit, offsets[0], offsets[-1]), write_effects)
    if refused is None:
        return None
    if len(offsets) == 1:
        return offsets[0], refused
    middle = len(offsets) // 2
    first = _search(connection, unit, offsets[:middle], write_effects)
    return first if first is not None else _search(connection, unit, offsets[middle:], write_effects)


def _only(unit: UnitOfWork, first: int, last: int) -> UnitOfWork:
    return replace(unit, effects=[part.between(first, last) for part in unit.effects], projections=None)


def _try(connection: psycopg.Connection[Any], unit: UnitOfWork, write_effects: WriteEffects) -> str | None:
    """Return why the database refuses a unit's effects, or ``None``."""
    try:
        with connection.cursor() as cursor:
            write_effects(cursor, [unit])
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        return str(error).partition("\n")[0]
    finally:
        connection.rollback()
    return None
