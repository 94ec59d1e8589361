"""Fleets of machines whose whole lives are known: features cycle by cycle, and learning in the order of their failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit
from pipeline.core.prognosis.features import HOUR_MS, LIFE, WEAR, gather, plan, take_cycle, take_sensor
from pipeline.core.prognosis.life_rows import LifeRows
from pipeline.core.prognosis.remaining_life import Estimates
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Life:
    """What was measured of one machine, cycle by cycle.

    Parameters
    ----------
    unit
        Its name.
    cycles
        Numbers of the cycles, rising, ≥ 0; each is taken for an hour of operation. Shape (n,).
    readings
        Of each sensor in each cycle, shape (n, sensors); NaN: none.
    """

    unit: str
    cycles: Rows
    readings: Rows


@dataclass(frozen=True, slots=True)
class Judged:
    """A life that ended, and what was said of it before: of some of its cycles."""

    estimates: Estimates
    remaining: Rows


@njit(cache=True, nogil=True)
def _features(life: Any, wears: Any, cycles: Any, readings: Any, slots: Any, kinds: Any, out: Any) -> None:
    before_ms = 0
    for i in range(len(cycles)):
        ended_ms = int(cycles[i] * HOUR_MS)
        take_cycle(life[0], before_ms, ended_ms)
        for j in range(len(wears)):
            take_sensor(wears[j], readings[i, j], readings[i, j])
        gather(life[0], wears, slots, kinds, out[i])
        before_ms = ended_ms


def features_of(life: Life, sensors: Sequence[str], features: Sequence[str]) -> Rows:
    """Return the features after each cycle of a life, shape (n, features).

    Parameters
    ----------
    sensors
        Names of the columns of readings.
    features
        Which are wanted.
    """
    found = plan(features, {name: i for i, name in enumerate(sensors)})
    out = np.empty((len(life.cycles), len(features)))
    _features(
        np.zeros(1, LIFE), np.zeros(len(sensors), WEAR), life.cycles, life.readings, found.slots, found.kinds, out
    )
    return out


def starts(lives: Sequence[Life], seed: int) -> Rows:
    """Return when each machine of a fleet began to work, in cycles: at random within twice the median life.

    A fleet that began as one would fail in the order of its lives' lengths, and teach for a long time that all are short.
    """
    longest = 2.0 * float(np.median([life.cycles[-1] for life in lives]))
    return np.random.default_rng(seed).uniform(0.0, longest, len(lives))


def teach(
    learner: RemainingLifeLearner,
    lives: Sequence[Life],
    rows: Sequence[Rows],
    began: Rows,
    tell: Callable[[int], None] = lambda _: None,
) -> list[Judged]:
    """Let a fleet work side by side, once; each life is learned when it has failed, and judged right before.

    Parameters
    ----------
    lives, rows
        Lives and their features, each as long as its life.
    began
        When each began, cycles; shape (lives,).
    tell
        Called with the number of lives that have ended.

    Returns
    -------
    list of Judged
        In the order of the failures; the first has no estimates.
    """
    ends = began + np.array([life.cycles[-1] for life in lives])
    first_end = float(ends.min())
    for life, start, row in zip(lives, began.tolist(), rows, strict=True):
        learner.see(row[start + life.cycles <= first_end])
    judged = []
    for number, i in enumerate(np.argsort(ends, kind="stable").tolist()):
        kept, remaining = LifeRows.of_life(rows[i], lives[i].cycles)
        judged.append(Judged(learner.learn(kept, remaining), remaining))
        tell(number + 1)
    return judged
