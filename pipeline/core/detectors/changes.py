"""Change points and slow drift of one sensor: four cumulative sums of clipped, standardised residuals.

Two look for steps and two for drift, one each way. What they add up is compared with a slow robust mean and deviation, so
single spikes neither raise an alarm nor widen what is normal.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record
from pipeline.core.detectors.views import OneSensor

STATE = record(
    [
        ("mean", np.float64),
        ("variance", np.float64),
        ("correlation", np.float64),
        ("last", np.float64),
        ("up", np.float64),
        ("down", np.float64),
        ("drift_up", np.float64),
        ("drift_down", np.float64),
        ("last_ms", np.int64),
        ("seen", np.int32),
        ("streak", np.int32),
        ("accepted", np.int32),
        ("direction", np.int32),
    ]
)
"""All that is known about one sensor; zeros: nothing seen yet.

``mean`` and ``variance`` are the baseline in the sensor's unit, ``correlation`` of neighbouring residuals, ``last`` the
clipped residual before. The sums are in standard deviations. ``accepted`` counts new levels that were taken for normal;
``direction`` tells where the last of them lay: 1 above, -1 below, 0 none yet.
"""

_RELATIVE_FLOOR = 1e-6
_ABSOLUTE_FLOOR = 1e-12
# Before so many readings no deviation is known that residuals could be clipped by
_PLAIN_UNTIL = 8
# The baseline learns residuals up to here; the variance of a standard normal that is clipped so
_HUBER = 2.0
_HUBER_VARIANCE = 0.9205
_MOST_CORRELATED = 0.95


class ChangeRules(NamedTuple):
    """How a sensor is watched for changes.

    Parameters
    ----------
    step
        Reference value of the sums for steps, standard deviations; > 0. Steps of twice that are found soonest.
    drift
        Reference value of the sums for drift, standard deviations; > 0. Drift that moves on by less than about
        ``2 * drift * fading`` standard deviations per reading is followed by the baseline and never found.
    clip
        Residuals count up to here, standard deviations; > ``step``.
    fading
        Weight of the newest reading in the baseline, in (0, 1).
    warm_up
        Readings learned before the first one is scored; > 8.
    gap_ms
        The sums begin anew after so long without a reading, ms; > 0.
    doubt
        What comes with a score beyond it is learned with weight ``fading`` even by a young baseline; > 0.
    accept
        Scores beyond it, ``patience`` times in a row, make the new level normal; > 0.
    patience
        Readings; ≥ 1.
    """

    step: float = 1.5
    drift: float = 0.75
    clip: float = 3.0
    fading: float = 0.001
    warm_up: int = 50
    gap_ms: int = 3_600_000
    doubt: float = 3.0
    accept: float = 25.0
    patience: int = 60


@njit(cache=True, nogil=True)
def _bounded(z: float, most: float) -> float:
    return min(max(z, -most), most)


@njit(cache=True, nogil=True)
def _residual(state: Any, value: float) -> float:
    """Return the distance of a value from the baseline, in standard deviations."""
    floor = _RELATIVE_FLOOR * abs(state.mean) + _ABSOLUTE_FLOOR
    return float((value - state.mean) / max(math.sqrt(state.variance), floor))


@njit(cache=True, nogil=True)
def _inflations(state: Any, rate: float) -> tuple[float, float]:
    """Return how many times wider (short, long) sums spread than those of independent readings with the same deviation.

    Long ones (1 + φ) / (1 - φ) times for autocorrelation φ, which is taken one standard error above its estimate; short
    ones, of about 1 / (1 - φ) readings, 1 / (1 - φ) times.
    """
    phi = min(max(state.correlation / _HUBER_VARIANCE, 0.0) + math.sqrt(0.5 * rate), _MOST_CORRELATED)
    return 1.0 / (1.0 - phi), (1.0 + phi) / (1.0 - phi)


@njit(cache=True, nogil=True)
def _sums(
    state: Any, rules: Any, time_ms: int, z: float, inflations: tuple[float, float], rate: float
) -> tuple[float, float, float, float]:
    """Return the four sums after a residual; the reference values allow for the error of the mean."""
    kept = 0.0 if time_ms - state.last_ms > rules.gap_ms else 1.0
    error = math.sqrt(inflations[1] * rate)
    z = _bounded(z, rules.clip)
    step, drift = rules.step + error, rules.drift + error
    return (
        max(kept * state.up + z - step, 0.0),
        max(kept * state.down - z - step, 0.0),
        max(kept * state.drift_up + z - drift, 0.0),
        max(kept * state.drift_down - z - drift, 0.0),
    )


@njit(cache=True, nogil=True)
def _worst(rules: Any, sums: Any, inflations: tuple[float, float]) -> float:
    step, drift = 2.0 * rules.step / inflations[0], 2.0 * rules.drift / inflations[1]
    up = max(step * sums[0], drift * sums[2])
    down = max(step * sums[1], drift * sums[3])
    return float(up if up >= down else -down)


@njit(cache=True, nogil=True)
def _learn_baseline(state: Any, z: float, value: float, rate: float) -> None:
    if state.seen < _PLAIN_UNTIL:
        step = value - state.mean
        state.mean += rate * step
        state.variance = (1.0 - rate) * (state.variance + rate * step * step)
        return
    z = _bounded(z, _HUBER)
    floor = _RELATIVE_FLOOR * abs(state.mean) + _ABSOLUTE_FLOOR
    deviation = max(math.sqrt(state.variance), floor)
    state.mean += rate * z * deviation
    # Twice as fast as the mean: a spike during warm-up is soon forgotten
    state.variance = deviation * deviation * (1.0 + min(2.0 * rate, 0.5) * (z * z / _HUBER_VARIANCE - 1.0))
    state.correlation += rate * (state.last * z - state.correlation)
    state.last = z


@njit(cache=True, nogil=True)
def _restart(state: Any, direction: int) -> None:
    """Forget the baseline: the next reading is the first."""
    state.accepted += 1
    state.direction = direction
    state.seen = 0
    state.streak = 0
    state.mean = 0.0
    state.variance = 0.0
    state.correlation = 0.0
    state.last = 0.0


@njit(cache=True, nogil=True)
def _take(state: Any, rules: Any, time_ms: int, value: float) -> float:
    """Score a value, then learn it; return the score."""
    z = _residual(state, value)
    rate = max(rules.fading, 1.0 / (state.seen + 1))
    inflations = _inflations(state, rate)
    score = 0.0
    if state.seen >= rules.warm_up:
        sums = _sums(state, rules, time_ms, z, inflations, rate)
        score = _worst(rules, sums, inflations)
        state.up, state.down, state.drift_up, state.drift_down = sums
    else:
        state.up = state.down = state.drift_up = state.drift_down = 0.0
    _learn_baseline(state, z, value, rules.fading if abs(score) > rules.doubt else rate)
    state.seen = min(state.seen + 1, 1 << 30)
    state.last_ms = time_ms
    state.streak = state.streak + 1 if abs(score) > rules.accept else 0
    if state.streak >= rules.patience:
        _restart(state, 1 if score > 0.0 else -1)
    return score


@njit(cache=True, nogil=True)
def change_score(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return (signed score, expected value) of an unseen value; score 0 while warming up.

    The sign tells the kind: above 0 the level went up, below 0 it went down. The magnitude is about minus the natural
    logarithm of the chance that a sensor whose level stays has a sum as large at a given reading.

    Parameters
    ----------
    state
        A record of :data:`STATE`; left as it is.
    rules
        :class:`ChangeRules`.
    time_ms
        Event time, ms since the epoch, UTC.
    value
        Reading in the sensor's unit; finite, magnitude at most 1e140.
    """
    if state.seen < rules.warm_up:
        return 0.0, state.mean
    rate = max(rules.fading, 1.0 / (state.seen + 1))
    inflations = _inflations(state, rate)
    sums = _sums(state, rules, time_ms, _residual(state, value), inflations, rate)
    return _worst(rules, sums, inflations), state.mean


@njit(cache=True, nogil=True)
def change_learn(state: Any, rules: Any, time_ms: int, value: float) -> None:
    """Learn a value; parameters as of :func:`change_score`."""
    _take(state, rules, time_ms, value)


@njit(cache=True, nogil=True)
def change_observe(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return what :func:`change_score` returns, and learn the value in the same pass."""
    expected = state.mean
    return _take(state, rules, time_ms, value), expected


_DEFAULTS = ChangeRules()


class ChangeDetector(OneSensor):
    """Detector of changed levels and drift on one sensor, as a River estimator.

    Cumulative sums (Page 1954, *Continuous inspection schemes*) of residuals that are clipped and standardised by a robust
    mean and deviation (Huber 1981, *Robust statistics*, proposal 2). A sum S with reference value k exceeds h at a given
    reading with a chance of about exp(-2 k h / J), where J = (1 + φ) / (1 - φ) widens it for autocorrelation φ; 2 k S / J is
    the score, so one scale serves steps and drift, white and autocorrelated sensors. Sums for steps last too short for all
    of that: they are widened by 1 / (1 - φ). 15 is a threshold for everybody; one by a budget of alarms is better
    (:mod:`pipeline.core.detectors.policy`).

    It fails on sensors that switch between levels by nature (each switch is a change), on those with long memory (the score
    is then too large), and takes a drift of less than about ``2 * drift * fading`` deviations per reading for normal.

    Parameters
    ----------
    rules
        Parameters; their defaults if left out.

    Examples
    --------
    >>> detector = ChangeDetector()
    >>> for n in range(200):
    ...     detector.learn_one({"temperature": 55.0 + n * 7 % 5})
    >>> detector.score_one({"temperature": 70.0}) < 6.0
    True
    >>> for _ in range(10):
    ...     detector.learn_one({"temperature": 70.0})
    >>> detector.score_one({"temperature": 70.0}) > 30.0
    True
    """

    def __init__(self, rules: ChangeRules = _DEFAULTS) -> None:
        super().__init__(STATE)
        self.rules = rules

    def _score(self, time_ms: int, value: float) -> float:
        return float(change_score(self._row[0], self.rules, time_ms, value)[0])

    def _learn(self, time_ms: int, value: float) -> None:
        change_learn(self._row[0], self.rules, time_ms, value)
