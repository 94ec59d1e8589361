"""Stuck sensors: how unlikely it is that a sensor repeats itself so often, given how often it does so normally."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record
from pipeline.core.detectors.views import OneSensor

STATE = record(
    [
        ("anchor", np.float64),
        ("repeats", np.float64),
        ("trials", np.float64),
        ("movement", np.float64),
        ("last_ms", np.int64),
        ("run", np.int32),
        ("seen", np.int32),
    ]
)
"""All that is known about one sensor; zeros: nothing seen yet.

``anchor`` is the reading that the present run of ``run`` repetitions began with, ``repeats`` the usual share of readings
that repeat the anchor, as learned from ``trials`` of them, ``movement`` the usual size of a step to another value, in the
sensor's unit.
"""


class StuckRules(NamedTuple):
    """How a sensor is watched for standing still.

    Parameters
    ----------
    tolerance
        A reading repeats the anchor if it is within this share of the usual step; in [0, 1).
    least
        The share of repetitions is taken for at least this, so that one repetition is worth at most -log10 of it; in (0, 1).
    fading
        Weight of the newest reading in what is usual, in (0, 1).
    warm_up
        Readings learned before the first one is scored; ≥ 2.
    doubt
        A run whose score is beyond it is not learned as usual; > 0.
    patience
        Repetitions after which a run is learned all the same; ≥ 1.
    gap_ms
        A run begins anew after so long without a reading, ms; > 0.
    """

    tolerance: float = 0.01
    least: float = 0.1
    fading: float = 0.002
    warm_up: int = 50
    doubt: float = 3.0
    patience: int = 720
    gap_ms: int = 3_600_000


@njit(cache=True, nogil=True)
def _run(state: Any, rules: Any, time_ms: int, value: float) -> int:
    """Return the number of repetitions up to a value, 0 if it is none."""
    if state.seen == 0 or time_ms - state.last_ms > rules.gap_ms:
        return 0
    return state.run + 1 if abs(value - state.anchor) <= rules.tolerance * state.movement else 0


@njit(cache=True, nogil=True)
def _surprise(state: Any, rules: Any, run: int) -> float:
    # Half a repetition in one trial before the first: a sensor that never moved is not certain never to move
    share = (state.repeats * state.trials + 0.5) / (state.trials + 1.0)
    return -run * math.log10(max(share, rules.least))


@njit(cache=True, nogil=True)
def stuck_score(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return (score, expected value) of an unseen value; score 0 while warming up.

    The score is minus the decimal logarithm of the probability that the sensor repeats itself as often in a row as it has,
    this value included; 0 for a value that repeats nothing.

    Parameters
    ----------
    state
        A record of :data:`STATE`; left as it is.
    rules
        :class:`StuckRules`.
    time_ms
        Event time, ms since the epoch, UTC.
    value
        Reading in the sensor's unit; finite, magnitude at most 1e140.
    """
    if state.seen < rules.warm_up:
        return 0.0, state.anchor
    return _surprise(state, rules, _run(state, rules, time_ms, value)), state.anchor


@njit(cache=True, nogil=True)
def _learn_trial(state: Any, rules: Any, repeated: float) -> None:
    state.trials += 1.0
    state.repeats += max(rules.fading, 1.0 / state.trials) * (repeated - state.repeats)


@njit(cache=True, nogil=True)
def stuck_observe(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return what :func:`stuck_score` returns, and learn the value in the same pass."""
    run, anchor = _run(state, rules, time_ms, value), state.anchor
    surprise = _surprise(state, rules, run)
    score = surprise if state.seen >= rules.warm_up else 0.0
    if run > 0:
        if score <= rules.doubt or run > rules.patience:
            _learn_trial(state, rules, 1.0)
    else:
        if state.seen > 0:
            _learn_trial(state, rules, 0.0)
            state.movement += max(rules.fading, 1.0 / state.trials) * (abs(value - anchor) - state.movement)
        state.anchor = value
    state.run = min(run, 1 << 30)
    state.seen = min(state.seen + 1, 1 << 30)
    state.last_ms = time_ms
    return score, anchor


@njit(cache=True, nogil=True)
def stuck_learn(state: Any, rules: Any, time_ms: int, value: float) -> None:
    """Learn a value; parameters as of :func:`stuck_score`."""
    stuck_observe(state, rules, time_ms, value)


_DEFAULTS = StuckRules()


class StuckDetector(OneSensor):
    """Detector of a sensor that stands still, as a River estimator.

    Runs of repeated values are geometric if each reading repeats the one before with a fixed probability (Feller 1968, *An
    Introduction to Probability Theory and Its Applications*, XIII.7); the probability is learned with a beta prior. A
    constant sensor teaches that it repeats itself, and so does one that switches seldom between two values. The score grows
    with the run, up to 2**30 repetitions, until the run is accepted.

    It fails on sensors whose runs are clustered (a machine that rests every night): the first long rest is an alarm, and
    what is learned from it fades with the next busy day. A sensor stuck with noise of its own is not stuck.

    Parameters
    ----------
    rules
        Parameters; their defaults if left out.

    Examples
    --------
    >>> detector = StuckDetector()
    >>> for n in range(200):
    ...     detector.learn_one({"pressure": n * 7 % 11})
    >>> detector.score_one({"pressure": 5.0})
    0.0
    >>> for _ in range(12):
    ...     detector.learn_one({"pressure": 5.0})
    >>> round(detector.score_one({"pressure": 5.0}))
    12
    """

    def __init__(self, rules: StuckRules = _DEFAULTS) -> None:
        super().__init__(STATE)
        self.rules = rules

    def _score(self, time_ms: int, value: float) -> float:
        return float(stuck_score(self._row[0], self.rules, time_ms, value)[0])

    def _learn(self, time_ms: int, value: float) -> None:
        stuck_learn(self._row[0], self.rules, time_ms, value)
