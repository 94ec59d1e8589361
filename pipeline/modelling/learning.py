"""Learning of lives in the order in which they ended, and judging by machines that taught nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import PipelineError
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.failure_type import HORIZON, NONE, UNKNOWN, Classes, FailureType, default_features, labels
from pipeline.core.prognosis.failure_type_learner import FailureTypeLearner
from pipeline.core.prognosis.features import MACHINE_FEATURES, feature_names
from pipeline.core.prognosis.life_rows import LifeRows
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.maintenance_class_learner import FIRST, MaintenanceClassLearner
from pipeline.core.prognosis.remaining_life import Estimates, RemainingLife
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.modelling.classed import Classed
from pipeline.modelling.labelled import Floats, LabelledLife
from pipeline.modelling.remaining_life import CANDIDATES

LEAST_FAILURES = 2
"""Lives that ended in failure, below which nothing is learned of failures."""

Metrics = dict[str, Any]


class Learned(NamedTuple):
    """A model, and how it was come to.

    Parameters
    ----------
    parameters
        What it was learned with.
    prequential
        How what was learned so far did on each life, or message, right before that was learned.
    """

    model: Model
    parameters: Mapping[str, Any]
    prequential: Metrics


def wanted_features(kind: str, sensors: Sequence[str]) -> tuple[str, ...]:
    """Return what has to be gathered of cycles to learn a kind of model; nothing if it looks at messages."""
    if kind == RemainingLife.kind:
        of_sensor = dict.fromkeys(each for candidate in CANDIDATES for each in candidate)
        return feature_names(sensors, list(of_sensor), MACHINE_FEATURES)
    return default_features(sensors) if kind == FailureType.kind else ()


def remaining_life(
    lives: Sequence[LabelledLife], sensors: Sequence[str], horizon_h: float | None, seed: int
) -> Learned:
    """Learn how many operating hours machines have left.

    Of the candidates' features those are taken that told the lives before they were learned best.

    Parameters
    ----------
    lives
        In the order in which they ended; rows of :func:`wanted_features`.
    horizon_h
        Longest remaining life that is told, h; ``None``: the median length of lives that ended in failure.

    Raises
    ------
    PipelineError
        If fewer than two ended in failure, or no row of them has half of its features.
    """
    lengths = [float(life.operated_h[-1]) for life in lives if life.failed is not None]
    _require_failures(len(lengths))
    horizon = horizon_h if horizon_h is not None else float(np.median(lengths))
    if horizon <= 0.0:
        raise PipelineError("machines failed in their first operating cycles: say --horizon, in hours of operation")
    gathered = wanted_features(RemainingLife.kind, sensors)
    found = []
    for of_sensor in CANDIDATES:
        features = feature_names(sensors, of_sensor, MACHINE_FEATURES)
        columns = [gathered.index(each) for each in features]
        found.append(_taught(RemainingLifeLearner(features, horizon, seed=seed), lives, columns))
    learner, metrics = min(found, key=lambda each: each[1].get("rmse", np.inf))
    try:
        model = learner.model()
    except ValueError as error:
        raise PipelineError(str(error)) from error
    parameters = {"horizon_h": horizon, "seed": seed, "features": list(model.features)}
    return Learned(model, parameters, metrics)


def _require_failures(failures: int) -> None:
    if failures < LEAST_FAILURES:
        raise PipelineError(
            f"{failures} lives of the machines that teach ended in failure, {LEAST_FAILURES} are needed: maintenance records"
            " of kind failure say so"
        )


def _taught(
    learner: RemainingLifeLearner, lives: Sequence[LabelledLife], columns: Sequence[int]
) -> tuple[RemainingLifeLearner, Metrics]:
    first_ms = min(life.ended_ms for life in lives if life.failed is not None)
    for life in lives:
        learner.see(life.rows[life.ends_ms <= first_ms][:, columns])
    told: list[tuple[Estimates, Floats]] = []
    for life in lives:
        rows, remaining = LifeRows.of_life(life.rows[:, columns], life.operated_h)
        if life.failed is None:
            learner.learn_censored(rows, remaining)
        else:
            told.append((learner.learn(rows, remaining), remaining))
    return learner, _off(told, learner.horizon)


def _off(told: Sequence[tuple[Estimates, Floats]], horizon: float) -> Metrics:
    """Return how far estimates were off, up to the horizon, h; ``coverage`` is the share of truths within the interval."""
    points, lower, upper = (np.concatenate([getattr(each, name) for each, _ in told]) for name in Estimates._fields)
    truths = np.concatenate([remaining for _, remaining in told])
    known = np.isfinite(points)
    if not known.any():
        return {"rows": 0}
    within = (lower[known] <= truths[known]) & (truths[known] <= upper[known])
    off = np.minimum(points[known], horizon) - np.minimum(truths[known], horizon)
    return {
        "rows": int(known.sum()),
        "unanswered": int((~known).sum()),
        "rmse": float(np.sqrt(np.mean(off**2))),
        "mae": float(np.mean(np.abs(off))),
        "coverage": float(np.mean(within)),
    }


def failure_type(lives: Sequence[LabelledLife], sensors: Sequence[str], horizon: int | None) -> Learned:
    """Learn in which mode machines fail within their next operating cycles; modes are the components that failed.

    Parameters
    ----------
    lives
        In the order in which they ended; rows of :func:`wanted_features`.
    horizon
        Operating cycles to look ahead; ``None``: as many as usual.

    Raises
    ------
    PipelineError
        If fewer than two lives ended in failure, or no row before a failure has all features.
    """
    failed = [life.failed for life in lives if life.failed is not None]
    _require_failures(len(failed))
    modes, horizon = sorted(set(failed)), horizon or HORIZON
    learner = FailureTypeLearner(default_features(sensors), modes, horizon=horizon)
    told, true = [], []
    model: FailureType | None = None
    for life in lives:
        classes = _classes(life, modes, horizon)
        before = learner.learn(life.rows, classes)
        if model is not None:
            told.append(model.choose(before))
            true.append(classes)
        model = _so_far(learner)
    if model is None:
        raise PipelineError("no operating cycle before a failure has all features: name the sensors, with --sensors")
    parameters = {"horizon_cycles": horizon, "modes": modes, "features": list(learner.features)}
    return Learned(model, parameters, _told(told, true, modes))


def _so_far(learner: FailureTypeLearner) -> FailureType | None:
    try:
        return learner.model()
    except ValueError:
        return None


def _classes(life: LabelledLife, modes: Sequence[str], horizon: int) -> Classes:
    if life.failed is None:
        return labels(len(life.rows), NONE, horizon)
    return labels(len(life.rows), 1 + modes.index(life.failed) if life.failed in modes else UNKNOWN, horizon)


def _told(told: Sequence[Classes], true: Sequence[Classes], modes: Sequence[str]) -> Metrics:
    """Return how well classes were told, among rows of which the class is known and something was told."""
    if not told:
        return {"rows": 0}
    said, was = np.concatenate(told), np.concatenate(true)
    known = (was >= NONE) & (said >= NONE)
    said, was = said[known], was[known]
    metrics: Metrics = {"rows": len(said), "unanswered": int((np.concatenate(true) >= NONE).sum()) - len(said)}
    if not len(said):
        return metrics
    return metrics | {
        "accuracy": float(np.mean(said == was)),
        "accuracy_of_none": float(np.mean(was == NONE)),
        "modes": {mode: _hits(said == number, was == number) for number, mode in enumerate(modes, 1)},
    }


def _hits(said: npt.NDArray[np.bool_], was: npt.NDArray[np.bool_]) -> Metrics:
    hits, told, true = (int(np.count_nonzero(each)) for each in (said & was, said, was))
    return {
        "precision": hits / max(1, told),
        "recall": hits / max(1, true),
        "f1": 2 * hits / max(1, told + true),
        "rows": true,
    }


def maintenance_class(messages: Classed, sensors: Sequence[str]) -> Learned:
    """Learn the class of maintenance of messages that have all sensors, in the order of the records that say it.

    Raises
    ------
    PipelineError
        If they are too few.
    """
    whole = messages.where(np.asarray(np.isfinite(messages.rows).all(axis=1)))
    if len(whole.classes) < FIRST:
        raise PipelineError(
            f"{len(whole.classes)} messages with all of {', '.join(sensors)} have a class, {FIRST} are needed:"
            " maintenance records with a class say it"
        )
    try:
        learner = MaintenanceClassLearner(sensors)
    except ValueError as error:
        raise PipelineError(f"{error}: name the sensors, with --sensors") from error
    told = learner.learn(whole.rows, whole.classes)
    return Learned(learner.model(), {"features": list(learner.features)}, _classified(told, whole.classes))


def _classified(told: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> Metrics:
    known = told >= 0
    if not known.any():
        return {"rows": 0}
    often = np.bincount(true[known])
    return {
        "rows": int(known.sum()),
        "unanswered": int((~known).sum()),
        "accuracy": float(np.mean(told[known] == true[known])),
        "accuracy_of_commonest": float(often.max() / known.sum()),
    }


def judged(model: Model, lives: Sequence[LabelledLife], columns: Sequence[int], messages: Classed) -> Metrics:
    """Return how well a model does on lives, or messages, that it was not taught.

    Parameters
    ----------
    columns
        Where the model's features are in the rows of the lives.
    """
    if isinstance(model, RemainingLife):
        failed = [life for life in lives if life.failed is not None]
        told = [(model.predict(life.rows[:, columns]), life.remaining_h) for life in failed]
        metrics: Metrics = _off(told, model.horizon) if told else {"rows": 0}
        if metrics["rows"]:
            truths = np.minimum(np.concatenate([remaining for _, remaining in told]), model.horizon)
            # What whoever always says the same would come to at best, knowing the truth
            metrics["rmse_of_constant"] = float(np.std(truths))
        return metrics
    if isinstance(model, FailureType):
        true = [_classes(life, model.modes, model.horizon) for life in lives]
        return _told([model.choose(model.predict(life.rows[:, columns])) for life in lives], true, model.modes)
    if isinstance(model, MaintenanceClassModel):
        return _classified(model.predict(messages.rows).classes, messages.classes)
    raise PipelineError(f"models of the kind {model.kind} cannot be judged by what is stored")
