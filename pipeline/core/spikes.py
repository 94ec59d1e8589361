"""Spike and dip detection on one sensor: an exponentially weighted Gaussian that never learns from what it flags.

The recurrence is two small kernels over plain numbers. The fold runs them over a bank of all sensors of a partition;
:class:`SpikeDetector` is the same recurrence behind River's interface. One implementation, two doors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from river import base

from pipeline.core.compiling import njit

if TYPE_CHECKING:
    from collections.abc import Mapping

DETECTOR = "ew-gaussian"
DETECTOR_VERSION = 1

RELEARN_AFTER = 20
"""Flagged readings in a row after which the sensor is taken to have a new normal and warms up again."""

_RELATIVE_FLOOR = 1e-6
_ABSOLUTE_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class SpikeRules:
    """How a sensor is scored.

    Parameters
    ----------
    threshold
        Standard deviations from the expected value beyond which a reading is an anomaly; > 0.
    fading
        Weight of the newest reading in the running mean and variance, in (0, 1).
    warm_up
        Readings learned before the first one is scored; ≥ 2.
    """

    threshold: float = 4.5
    fading: float = 0.03
    warm_up: int = 30


@njit(cache=True, nogil=True, inline="always")
def spike_score(mean: float, variance: float, seen: int, value: float, warm_up: int) -> float:
    """Return the distance of an unseen value from the expectation, in standard deviations, signed; 0 while warming up.

    A sensor that never moved has no deviation; a floor relative to its level keeps the score finite.
    """
    if seen < warm_up:
        return 0.0
    floor = _RELATIVE_FLOOR * abs(mean) + _ABSOLUTE_FLOOR
    return (value - mean) / max(math.sqrt(variance), floor)


@njit(cache=True, nogil=True, inline="always")
def spike_learn(
    mean: float, variance: float, seen: int, streak: int, value: float, score: float, threshold: float, fading: float
) -> tuple[float, float, int, int]:
    """Return (mean, variance, seen, streak) after a value was scored.

    A flagged value is not learned, so a fault does not become normal; but a run of :data:`RELEARN_AFTER` flagged values is
    a new level, and the sensor warms up on it.
    """
    if abs(score) > threshold:
        streak += 1
        if streak < RELEARN_AFTER:
            return mean, variance, seen, streak
        return value, 0.0, 1, 0
    rate = max(fading, 1.0 / (seen + 1))
    step = value - mean
    mean += rate * step
    variance = (1.0 - rate) * (variance + rate * step * step)
    return mean, variance, seen + 1, 0


class SpikeDetector(base.AnomalyDetector):
    """Spike and dip detector for one sensor, as a River estimator.

    The score is |z| under a Gaussian whose mean and variance fade exponentially (Roberts 1959, *Control chart tests based
    on geometric moving averages*; variance after Finch 2009, *Incremental calculation of weighted mean and variance*).
    It fails on sensors whose readings are multimodal (a machine that cycles), and sees a slow drift as normal.

    Parameters
    ----------
    threshold, fading, warm_up
        See :class:`SpikeRules`.

    Examples
    --------
    >>> detector = SpikeDetector(warm_up=4)
    >>> for value in (10.0, 11.0, 9.0, 10.5, 9.5, 10.0):
    ...     detector.learn_one({"temperature": value})
    >>> detector.score_one({"temperature": 10.0}) < 1.0
    True
    >>> detector.score_one({"temperature": 18.0}) > 4.5
    True
    """

    def __init__(self, threshold: float = 4.5, fading: float = 0.03, warm_up: int = 30) -> None:
        self.threshold = threshold
        self.fading = fading
        self.warm_up = warm_up
        self._mean = 0.0
        self._variance = 0.0
        self._seen = 0
        self._streak = 0

    def _signed(self, x: Mapping[base.typing.FeatureName, float]) -> tuple[float, float]:
        (value,) = x.values()
        return float(value), float(spike_score(self._mean, self._variance, self._seen, float(value), self.warm_up))

    def score_one(self, x: Mapping[base.typing.FeatureName, float]) -> float:
        """Return |z| of a reading that was not learned yet; ``x`` holds exactly one sensor."""
        return abs(self._signed(x)[1])

    def learn_one(self, x: Mapping[base.typing.FeatureName, float]) -> None:
        """Learn a reading, unless it is flagged; ``x`` holds exactly one sensor."""
        value, score = self._signed(x)
        self._mean, self._variance, self._seen, self._streak = spike_learn(
            self._mean, self._variance, self._seen, self._streak, value, score, self.threshold, self.fading
        )
