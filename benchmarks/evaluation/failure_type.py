"""Failure type within the next seven operating cycles, on simulated fleets: learned online, judged on other machines.

A fleet's machines are split: lives of some are learned when their end is recorded, in the order in which that happens; all
cycles of the others are judged by the model of that moment. The physics, the noise and the shares of modes are in
``simulator/wear.py``. The oracle knows how many seconds of operation each mode has left, and the law of the cycles' lengths,
but not how long the next ones will be; its thresholds are chosen on the machines that are learned. The last cycle of a life
that ended in failure is not judged: the machine has failed when it is closed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.fleets import Lived, lived
from pipeline.core.prognosis.failure_type import HORIZON, NONE, UNKNOWN, Classes, default_features, labels
from pipeline.core.prognosis.failure_type_learner import FailureTypeLearner, best_threshold
from simulator.options import PlantOptions
from simulator.wear import COMPONENTS, CYCLE_MINUTES, SENSORS

REFERENCE = (0.899, 0.863)
"""F1 of the modes that others report."""

SETTLED = 30
"""Failures after which the learner is no beginner any more."""

Floats = npt.NDArray[np.float64]


class Figures(NamedTuple):
    """How well a mode was told."""

    precision: float
    recall: float
    f1: float


def classes(one: Lived) -> Classes:
    """Return the true class of each cycle of a life."""
    ended_by = NONE if one.life.is_censored else 1 + COMPONENTS.index(one.life.component)
    return labels(len(one.rows), ended_by)


def figures(told: Classes, true: Classes, mode: int) -> Figures:
    """Return how well a mode was told, among rows whose class is known; 0 where nothing was told or true."""
    known = true != UNKNOWN
    said, was = told[known] == mode, true[known] == mode
    hits = np.count_nonzero(said & was)
    precision, recall = hits / max(1, np.count_nonzero(said)), hits / max(1, np.count_nonzero(was))
    return Figures(precision, recall, 2 * hits / max(1, np.count_nonzero(said) + np.count_nonzero(was)))


def chance_of_failure(left_s: Floats) -> Floats:
    """Return the probability that the next seven cycles take at least so many seconds.

    Parameters
    ----------
    left_s
        Until the failure; shape (n,), ≥ 0.
    """
    least, most = CYCLE_MINUTES
    one = np.zeros(most + 1)
    one[least:] = 1.0 / (most + 1 - least)
    minutes = np.array([1.0])
    for _ in range(HORIZON):
        minutes = np.convolve(minutes, one)
    at_least = np.append(np.cumsum(minutes[::-1])[::-1], 0.0)
    return at_least[np.minimum(np.ceil(left_s / 60.0).astype(int), len(minutes))]


class Oracle:
    """Tells the mode that fails first, if that is likely enough within the next cycles."""

    def __init__(self, learned: Sequence[Lived]) -> None:
        chances, first = self._chances(learned)
        true = np.concatenate([classes(one) for one in learned])
        known = true != UNKNOWN
        self._thresholds = np.array([
            best_threshold(np.where(first == mode, chances, 0.0)[known], true[known] == mode)
            for mode in range(1, 1 + len(COMPONENTS))
        ])  # fmt: skip

    @staticmethod
    def _chances(some: Sequence[Lived]) -> tuple[Floats, Classes]:
        left_s = np.maximum(np.concatenate([one.left_s for one in some]), 0)
        return chance_of_failure(left_s.min(axis=1)), 1 + left_s.argmin(axis=1)

    def tell(self, some: Sequence[Lived]) -> Classes:
        """Return what it tells after each cycle."""
        chances, first = self._chances(some)
        return np.where(chances >= self._thresholds[first - 1], first, NONE)


def online(learned: Sequence[Lived], judged: Sequence[Lived]) -> tuple[Classes, Classes, Classes]:
    """Return what is told of each judged cycle, online and by the last model, and how many failures were learned by then.

    Before the first failure nothing is told.
    """
    learner = FailureTypeLearner(default_features(SENSORS), COMPONENTS)
    rows = np.concatenate([one.rows for one in judged])
    ends_ms = np.concatenate([one.ends_ms for one in judged])
    told, failures = np.full(len(rows), NONE), np.zeros(len(rows), np.int64)
    since_ms = np.iinfo(np.int64).min
    seen = 0
    for one in [*sorted(learned, key=lambda one: one.life.repaired_ms), None]:
        until_ms = np.iinfo(np.int64).max if one is None else one.life.repaired_ms
        now = (ends_ms > since_ms) & (ends_ms <= until_ms)
        failures[now] = seen
        if seen and now.any():
            model = learner.model()
            told[now] = model.choose(model.predict(rows[now]))
        if one is not None:
            learner.learn(one.rows, classes(one))
            seen += not one.life.is_censored
            since_ms = until_ms
    last = learner.model()
    return told, last.choose(last.predict(rows)), failures


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation failure_type", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--machines", type=int, default=90, help="a third of them is judged, the others are learned")
    parser.add_argument("--lives", type=int, default=8)
    parser.add_argument("--planned-hours", type=float, default=0.0, help="planned maintenance after so much of a life")
    options = parser.parse_args(arguments)
    print(f"{options.machines} compressors, {options.lives} lives each; a third is judged; next {HORIZON} cycles")
    print(f"{'fleet':>5} {'model':32}" + "".join(f" {name + ': precision recall F1':>34}" for name in COMPONENTS))
    print(f"{'':5} {'reference':32}" + "".join(f" {f1:34.3f}" for f1 in REFERENCE))
    for seed in options.seeds:
        fleet = PlantOptions(seed=seed, wear_planned_ms=options.planned_hours * 3_600_000)
        for name, found in _evaluated(fleet, options.machines, options.lives):
            cells = [f"{each.precision:17.3f} {each.recall:7.3f} {each.f1:8.3f}" for each in found]
            print(f"{seed:5} {name:32} {' '.join(cells)}", flush=True)


def _evaluated(fleet: PlantOptions, machines: int, lives: int) -> Iterator[tuple[str, list[Figures]]]:
    names = default_features(SENSORS)
    found = [list(lived(fleet, number, lives, names)) for number in range(machines)]
    learned = [one for number, some in enumerate(found) for one in some if number % 3]
    judged = [one for some in found[::3] for one in some]
    true = np.concatenate([classes(one) for one in judged])
    told, last, failures = online(learned, judged)
    late = failures >= SETTLED
    modes = range(1, 1 + len(COMPONENTS))
    yield "online, from the beginning", [figures(told, true, mode) for mode in modes]
    yield f"online, after {SETTLED} failures", [figures(told[late], true[late], mode) for mode in modes]
    yield "last model", [figures(last, true, mode) for mode in modes]
    yield "oracle", [figures(Oracle(learned).tell(judged), true, mode) for mode in modes]
