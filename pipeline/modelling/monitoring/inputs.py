"""Inputs of models counted day by day, and held against what they were when the model was learned, or at first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.modelling.monitoring.input_drift import Floats, Reference, by_chance, counted, references, stability_index
from pipeline.store import model_drift, models
from pipeline.store.connect import Connection
from pipeline.store.model_drift import Kept
from pipeline.store.models import ModelVersion

FIRST_INPUTS = 500
"""Inputs of a day that is taken for the reference of a model of which training kept none."""


class Watched(NamedTuple):
    """A model whose inputs are watched, and their names in order."""

    version: ModelVersion
    features: tuple[str, ...]


def count(connection: Connection, watched: Sequence[Watched], last: dt.date) -> int:
    """Count the inputs of days up to ``last`` that nobody has counted yet; return how many days of models these were."""
    by_id = {each.version.model_id: each for each in watched}
    done = 0
    for day, missing in model_drift.uncounted(connection, list(by_id), last):
        for model_id, predictions in model_drift.counts(connection, day, missing):
            done += _count(connection, by_id[model_id], day, predictions)
    return done


def _count(connection: Connection, watched: Watched, day: dt.date, predictions: int) -> bool:
    """Count one model's day; false: there is nothing yet to hold it against."""
    model_id, features = watched.version.model_id, watched.features
    found = model_drift.inputs(connection, day, model_id, predictions, len(features))
    rows = np.array(found.rows, np.float64).reshape(-1, len(features))
    if not len(rows):
        return False
    machines = len(set(found.machine_ids))
    kept = model_drift.reference(connection, model_id)
    origin = ""
    if not kept:
        kept, origin = _first_reference(watched, rows, machines, day)
    if not kept:
        return False
    sums = {name: counted(np.array(each.edges), rows[:, features.index(name)]) for name, each in kept.items()}
    present = {name: counts.copy() for name, counts in sums.items()}
    for name, counts in model_drift.before(connection, model_id, day):
        present[name] += np.array(counts, np.int64)
    told = [
        (model_id, name, day, sums[name].tolist(), machines, len(rows), stability_index(kept[name].counts, each.tolist()),
         by_chance(kept[name].machines, machines))
        for name, each in present.items()
    ]  # fmt: skip
    with models.changing(connection) as cursor:
        if origin:
            model_drift.add_reference(cursor, model_id, kept, origin)
        model_drift.add(cursor, told)
    return True


def _first_reference(watched: Watched, rows: Floats, machines: int, day: dt.date) -> tuple[dict[str, Kept], str]:
    taught = _of_training(watched)
    if taught:
        many = watched.version.training.get("machines")
        return _kept(taught, many if isinstance(many, int) else 0), "training"
    if len(rows) < FIRST_INPUTS:
        return {}, ""
    return _kept(references(watched.features, rows), machines), f"predictions of {day.isoformat()}"


def _kept(found: Mapping[str, Reference], machines: int) -> dict[str, Kept]:
    return {name: Kept(each.edges.tolist(), each.counts.tolist(), machines) for name, each in found.items()}


def _of_training(watched: Watched) -> dict[str, Reference]:
    """Return what training kept; not of classes of maintenance: those are asked for when they change, and taught of records."""
    inputs = watched.version.training.get("inputs")
    if watched.version.kind == MaintenanceClassModel.kind or not isinstance(inputs, Mapping):
        return {}
    found = {name: Reference.read(inputs.get(name)) for name in watched.features}
    return {name: each for name, each in found.items() if each is not None}
