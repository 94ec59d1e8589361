"""Remaining life, learned from one file of whole lives and told for another of lives that go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import SettingsError
from pipeline.core.prognosis.features import MACHINE_FEATURES, feature_names
from pipeline.core.prognosis.remaining_life import Estimates
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.modelling import cmapss_files
from pipeline.modelling.cmapss_files import RunFile
from pipeline.modelling.fleets import Judged, Life, features_of, starts, teach

HORIZON = 125.0
"""Longest remaining life that is told, cycles: as is usual for C-MAPSS, whose engines show no wear before."""

CANDIDATES = (("fast", "fast-slow"), ("fast", "fast-slow", "fast-base"))
"""Features of each sensor, of which those are taken that tell the lives before they are learned best."""

SEED = 0

Tell = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is."""


class Figures(NamedTuple):
    """How far estimates were off.

    Parameters
    ----------
    rmse, rmse_capped
        Root mean squared error, cycles; and with truth and estimate capped at the horizon.
    score
        NASA's score per estimate: exp(late / 10) − 1, exp(early / 13) − 1.
    coverage
        Share of truths within the interval, in [0, 1].
    """

    rmse: float
    rmse_capped: float
    score: float
    coverage: float


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What is to be done: learn from ``train``, tell of ``test``, write to ``out``."""

    train: Path
    test: Path
    out: Path
    horizon: float = HORIZON


@dataclass(frozen=True, slots=True)
class EvaluateOutcome:
    """What became of it.

    Parameters
    ----------
    lives, units
        Machines in the one file and the other.
    unanswered
        Units of which nothing could be said.
    features
        Of each sensor, those that were chosen.
    rmse_capped, coverage
        On the lives of ``train``, each before it was learned; see :class:`Figures`.
    """

    lives: int
    units: int
    unanswered: int
    features: tuple[str, ...]
    rmse_capped: float
    coverage: float


class Learned(NamedTuple):
    """A learner that has seen a whole fleet, what it takes of each sensor, and how it did on the way."""

    learner: RemainingLifeLearner
    of_sensor: tuple[str, ...]
    judged: list[Judged]


def figures(estimates: Estimates, truths: npt.NDArray[np.float64], horizon: float) -> Figures:
    """Return how far estimates were off; those without an answer do not count.

    Examples
    --------
    >>> made = Estimates(np.array([10.0, 120.0]), np.array([5.0, 90.0]), np.array([12.0, 140.0]))
    >>> found = figures(made, np.array([7.0, 150.0]), horizon=125.0)
    >>> round(found.rmse_capped, 3), round(found.score, 3), found.coverage
    (4.123, 4.701, 0.5)
    """
    known = np.isfinite(estimates.points)
    points, lower, upper = (each[known] for each in estimates)
    truths = truths[known]
    off = points - truths
    capped = np.minimum(points, horizon) - np.minimum(truths, horizon)
    score = np.where(off < 0.0, np.expm1(np.minimum(-off / 13.0, 500.0)), np.expm1(np.minimum(off / 10.0, 500.0)))
    return Figures(
        float(np.sqrt(np.mean(off**2))),
        float(np.sqrt(np.mean(capped**2))),
        float(np.mean(score)),
        float(np.mean((lower <= truths) & (truths <= upper))),
    )


def on_the_way(judged: Sequence[Judged], horizon: float) -> Figures:
    """Return how far off lives were told before they were learned."""
    parts = Estimates(
        *(np.concatenate([getattr(each.estimates, name) for each in judged]) for name in Estimates._fields)
    )
    return figures(parts, np.concatenate([each.remaining for each in judged]), horizon)


def learned(
    fleet: RunFile, horizon: float, of_sensor: Sequence[str], seed: int, tell: Callable[[int], None] = lambda _: None
) -> Learned:
    """Return a learner that has seen a fleet, whose machines began at times that the seed says."""
    features = feature_names(fleet.sensors, of_sensor, MACHINE_FEATURES)
    learner = RemainingLifeLearner(features, horizon, seed=seed)
    rows = [features_of(life, fleet.sensors, features) for life in fleet.lives]
    judged = teach(learner, fleet.lives, rows, starts(fleet.lives, seed), tell)
    return Learned(learner, tuple(of_sensor), judged)


def chosen(fleet: RunFile, horizon: float, seed: int, tell: Callable[[int, int], None] = lambda _, __: None) -> Learned:
    """Return the learner among the candidates that told the fleet's lives best before it learned them."""
    lives = len(fleet.lives)
    candidates: list[Learned] = []
    for each in CANDIDATES:
        before, total = lives * len(candidates), lives * len(CANDIDATES)
        candidates.append(learned(fleet, horizon, each, seed, partial(_tell_more, tell, before, total)))
    return min(candidates, key=lambda each: on_the_way(each.judged, horizon).rmse_capped)


def _tell_more(tell: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    tell(before + done, total)


def last_estimates(model: Learned, lives: Sequence[Life], sensors: Sequence[str]) -> Estimates:
    """Return the remaining life of each machine after its last cycle."""
    features = model.learner.features
    return model.learner.model().predict(np.array([features_of(life, sensors, features)[-1] for life in lives]))


def evaluate(options: EvaluateOptions, tell: Tell = lambda _, __, ___: None) -> EvaluateOutcome:
    """Learn from a file of whole lives, and write what remains of each life of another; the same files, the same answer.

    Only sensors that both files have are used.

    Raises
    ------
    SettingsError, PipelineError
        If a file cannot be read or written, or a row is wrong.
    """
    for path in (options.train, options.test):
        if options.out.exists() and path.exists() and options.out.samefile(path):
            raise SettingsError(f"--out {options.out} is a file that is to be read; choose another name")
    train = cmapss_files.read(options.train, lambda done, of: tell(str(options.train), done, of))
    test = cmapss_files.read(options.test, lambda done, of: tell(str(options.test), done, of))
    sensors = [each for each in train.sensors if each in test.sensors]
    if not sensors:
        raise SettingsError(f"{options.train} and {options.test} have no sensor in common; name the columns alike")
    if len(train.lives) < 2:
        raise SettingsError(f"{options.train} has one unit; there must be two that failed, so that errors are known")
    train, test = train.with_sensors(sensors), test.with_sensors(sensors)
    best = chosen(train, options.horizon, SEED, lambda done, of: tell("lives", done, of))
    estimates = last_estimates(best, test.lives, sensors)
    cmapss_files.write(options.out, [life.unit for life in test.lives], estimates)
    found = on_the_way(best.judged, options.horizon)
    unanswered = int(np.count_nonzero(np.isnan(estimates.points)))
    return EvaluateOutcome(
        len(train.lives), len(test.lives), unanswered, best.of_sensor, found.rmse_capped, found.coverage
    )
