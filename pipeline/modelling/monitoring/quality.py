"""Labels joined when they arrive: a machine with new maintenance records has its lives judged anew, from these on."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.core.facts import FAILURE, ends_life
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.failure_type import FailureType
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.modelling.monitoring.labels import EndedLife, Said, Sums, judged
from pipeline.store import model_quality, models
from pipeline.store.connect import Connection
from pipeline.store.model_quality import Cursor, Ending, Word

ModelOf = Callable[[int], Model | None]
"""Returns the model of a number; ``None``: it cannot be read, or this program does not know it."""

Row = tuple[int, dt.datetime, Sums]

_KINDS = (RemainingLife.kind, FailureType.kind)


class Life(NamedTuple):
    """A life by its records: event times ``(began, ended]``; ``began`` is ``None`` of the first one that is known."""

    began: dt.datetime | None
    ended: dt.datetime
    failed: str | None


def join(connection: Connection, model_of: ModelOf) -> int:
    """Hold what models said against all maintenance records that nothing was held against yet; return of how many machines.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may change models.

    Raises
    ------
    SettingsError
        If it may not.
    """
    with models.changing(connection) as cursor:
        found = model_quality.unlabelled(cursor)
    for machine_id, since in found:
        with models.changing(connection) as cursor:
            _judge(cursor, machine_id, since, model_of)
    return len(found)


def lives_of(records: Sequence[Ending]) -> list[Life]:
    """Return the lives that records ended, whatever was done, unless they say that nothing was.

    Parameters
    ----------
    records
        Of one machine, by event time; of those of one time, failures first.
    """
    lives: list[Life] = []
    for each in records:
        began = lives[-1].ended if lives else None
        if ends_life(each.kind, each.requirement) and each.ended != began:
            lives.append(Life(began, each.ended, each.component if each.kind == FAILURE else None))
    return lives


def _judge(cursor: Cursor, machine_id: str, since: dt.datetime, model_of: ModelOf) -> None:
    """Write anew what is known of a machine's lives from a record on: it may have cut one in two."""
    records = model_quality.records(cursor, machine_id)
    rows: list[Row] = []
    for life in lives_of(records):
        if life.ended >= since:
            rows += _of_life(cursor, machine_id, life, model_of)
    classed = {(each.ended, each.requirement) for each in records if each.ended >= since and each.requirement >= 0}
    for at, requirement in sorted(classed):
        rows += _of_class(cursor, machine_id, at, requirement, model_of)
    model_quality.forget(cursor, machine_id, since)
    model_quality.add(cursor, machine_id, rows)
    model_quality.mark(cursor, machine_id, [each for each in records if each.ended >= since])


def _of_life(cursor: Cursor, machine_id: str, life: Life, model_of: ModelOf) -> list[Row]:
    by_model: dict[int, list[Word]] = defaultdict(list)
    for word in model_quality.words(cursor, machine_id, _KINDS, life.began, life.ended):
        by_model[word.model_id].append(word)
    if not by_model:
        return []
    cycles = model_quality.cycles(cursor, machine_id, life.began, life.ended)
    ends, durations = np.array(cycles, np.int64).reshape(-1, 2).T
    ended = EndedLife(life.failed, ends, durations)
    return [
        (model_id, life.ended, sums)
        for model_id, words in sorted(by_model.items())
        if (model := model_of(model_id)) is not None
        for sums in judged(model, _said(words), ended)
    ]


def _said(words: Sequence[Word]) -> Said:
    values, lower, upper = np.array([(each.value, each.lower, each.upper) for each in words]).T
    times_ms = np.array([each.at_ms for each in words], np.int64)
    return Said(times_ms, values, lower, upper, [each.label for each in words])


def _of_class(cursor: Cursor, machine_id: str, at: dt.datetime, requirement: int, model_of: ModelOf) -> list[Row]:
    return [
        (word.model_id, at, Sums(str(requirement), word.label, word.by_rules, 1))
        for word in model_quality.last_words(cursor, machine_id, at)
        if word.label and isinstance(model_of(word.model_id), MaintenanceClassModel)
    ]
