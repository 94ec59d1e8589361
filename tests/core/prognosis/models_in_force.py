"""Small models, the control records that bring them into force, and partitions that hear of these somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from pipeline.core.controls import MAINTAINED, MODEL, Control
from pipeline.core.fold import FoldRules, Marks
from pipeline.core.predictions import Prediction
from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.core.prognosis.trees import tree_of
from pipeline.core.records import Record, RecordBatch
from pipeline.core.state import PartitionState
from tables import snapshots
from tables.partition import OwnedPartition
from tests.core.sinks import SOURCE

FEATURES = ("temperature.fast", "temperature.fast-slow", "temperature.last_max", "age", "log_age")


@cache
def remaining_life(seed: int = 0, features: tuple[str, ...] = FEATURES) -> RemainingLife:
    """Return a model of machines that grow hotter by 1 °C per hour and fail at 100 °C."""
    learner = RemainingLifeLearner(features, 50.0, seed=seed, cosines=20)
    for life in range(6):
        left = np.arange(40.0 + life)[::-1]
        rows = np.column_stack([100 - left, np.full(len(left), 0.5), 101 - left, 50 - left, np.log1p(50 - left)])
        learner.see(rows[:, : len(features)])
        learner.learn(rows[:, : len(features)], left)
    return learner.model()


def maintenance_class(limit: float) -> MaintenanceClassModel:
    """Return a model that says class 2 of a pressure from ``limit`` on, and 0 below."""
    return MaintenanceClassModel(
        ["pressure"],
        tree_of(
            np.array([0, -1, -1]),
            np.array([limit, 0.0, 0.0]),
            np.array([1, 0, 0]),
            np.array([[0.5, 0.0, 0.5], [0.9, 0.1, 0.0], [0.0, 0.25, 0.75]]),
        ),
    )


def spoken_of(
    number: int, action: str, model: Model, model_id: int = 1, machine_type: str = "stamping_press", **changed: object
) -> Control:
    """Return the control record of a decision about a model, as whoever reads it gets it."""
    stored = artefacts.encode(model, FEATURE_VERSION)
    body: dict[str, object] = {
        "action": action,
        "kind": model.kind,
        "machine_type": machine_type,
        "model_id": model_id,
        "version": model_id,
        "sha256": artefacts.digest(stored),
        "artefact": stored,
    }
    return Control(number, MODEL, body | changed)


def maintained(number: int, machine_id: str, time_ms: int) -> Control:
    """Return the control record that a maintenance record makes."""
    body = {"machine_id": machine_id, "time_ms": time_ms, "kind": "failure", "component": "bearing"}
    return Control(number, MAINTAINED, body)


def partition(state: PartitionState | None = None, position: int = 0, marks: Marks | None = None) -> OwnedPartition:
    """Return a partition that begins somewhere."""
    marks = marks or Marks()
    return OwnedPartition(SOURCE, "owner", state or PartitionState(), position, marks, marks.effects, marks.windows)


def folded(
    owned: OwnedPartition,
    records: Sequence[Record],
    cuts: Sequence[int],
    rules: FoldRules,
    told: Mapping[int, Sequence[Control]] | None = None,
) -> list[Prediction]:
    """Fold records from a partition's position on, cut into batches; return all predictions that are wanted.

    Parameters
    ----------
    told
        By position, what the partition hears of there: batches are cut at it.
    """
    told = told or {}
    bounds = sorted({len(records), *(each for each in (*cuts, *told) if owned.position < each < len(records))})
    owned.tell(told.get(owned.position, ()))
    for end in bounds:
        owned.fold(RecordBatch(SOURCE, "owner", owned.position, end, list(records[owned.position : end])), rules)
        owned.tell(told.get(end, ()))
    return [each for effects in owned.pending for each in effects.predictions]


def restored(owned: OwnedPartition) -> PartitionState:
    """Return a partition's state as its snapshot has it."""
    return snapshots.decode(snapshots.encode(owned.state.to_arrays())[0])
