"""Predictions, judged by the control records that say which models were in force where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.store.connect import Connection
from pipeline.verifying import queries
from pipeline.verifying.figures import EXAMPLES


class Predictions(NamedTuple):
    """How many there are, how many are of a model that was not in force at their place, and the first few of these."""

    stored: int
    misplaced: int
    examples: tuple[str, ...]


def judged(connection: Connection, asked: Mapping[str, Any]) -> Predictions:
    """Judge predictions in the caller's snapshot of the database.

    Parameters
    ----------
    asked
        What the statements are given; see :attr:`pipeline.verifying.question.Question.parameters`.
    """
    (stored,) = connection.execute(queries.PREDICTIONS, asked).fetchone() or (0,)
    rows = connection.execute(queries.MISPLACED, {**asked, "examples": EXAMPLES}).fetchall()
    examples = tuple(f"misplaced prediction {place} {machine} {kind}" for place, machine, kind, _ in rows)
    return Predictions(int(stored), int(rows[0][3]) if rows else 0, examples)
