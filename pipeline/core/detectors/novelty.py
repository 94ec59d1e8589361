"""Range novelty on one sensor: a reading is novel if something about it leaves the range that it has kept to.

Four numbers are watched: the value, its level in the last ten readings or so, its level in the last hundred, and how far
values are from those usual at their time of day. Each has a range (:mod:`pipeline.core.detectors.ranges`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record
from pipeline.core.detectors.ranges import outlyingness, take_in
from pipeline.core.detectors.refractory import STATE as TOLD
from pipeline.core.detectors.refractory import RefractoryRules, refractory
from pipeline.core.detectors.views import OneSensor

SLOTS = 96
"""Parts of a day whose means are kept."""

_WATCHED = 4

STATE = record(
    [
        ("seen", np.int64),
        ("quick", np.float64),
        ("slow", np.float64),
        ("deviation", np.float64),
        ("low", np.float64, (_WATCHED,)),
        ("high", np.float64, (_WATCHED,)),
        ("step", np.float64, (_WATCHED,)),
        ("left", np.int64, (_WATCHED,)),
        ("means", np.float64, (SLOTS,)),
        ("counts", np.uint8, (SLOTS,)),
    ]
)
"""Of one sensor: readings seen, running levels and deviation; ranges, usual steps out of them and the reading that last
left each; means and counts (255 at most) by time of day. Zeros: nothing seen."""

QUIET_STATE = record([("sensor", STATE), ("told", TOLD)])
"""The same, and what was told of it lately."""

_SLOT_MS = 86_400_000 // SLOTS
_SLOT_RATE = 0.2
_QUICK_RATE = 0.1
_SLOW_RATE = 0.008
_DEVIATION_RATE = 0.02


class NoveltyRules(NamedTuple):
    """How novelty is measured.

    Parameters
    ----------
    share
        Part of a range's width that the distance from it is measured by, ≥ 0; beside it counts the usual step out of it.
    step_rate
        Weight of the newest step out of a range in the usual one, in (0, 1).
    decay
        Part of its width by which a range shrinks with every reading, in [0, 1): 2e-6 forgets in about 500,000 readings.
    slow_decay
        The same for the slow level's range, which has to forget sooner: so slow a number seldom reaches its old bounds.
    deviation_gain
        Weight of the deviation from the time of day among the four numbers, ≥ 0; that of the others is 1.
    warm_up
        Readings that are learned before the first is scored; ≥ 1.
    quiet
        See :class:`pipeline.core.detectors.refractory.RefractoryRules`.

    The first two hardly matter: halved or doubled at random, both together, they move the score on the benchmark by less
    than a point. So do ``decay`` up to 4e-6 and ``quiet`` below 60. ``slow_decay`` is the one that matters.
    """

    share: float = 0.02
    step_rate: float = 0.2
    decay: float = 2e-6
    slow_decay: float = 2e-4
    deviation_gain: float = 2.0
    warm_up: int = 150
    quiet: int = RefractoryRules().quiet


class _Next(NamedTuple):
    """What is watched, as it is after a reading, in the value's unit; and what the reading was expected to be."""

    value: float
    quick: float
    slow: float
    deviation: float
    expected: float


@njit(cache=True, nogil=True)
def _slot(time_ms: int) -> int:
    return (time_ms // _SLOT_MS) % SLOTS


@njit(cache=True, nogil=True)
def _expected(state: Any, time_ms: int, value: float) -> float:
    """Return the nearest to a value of the means of its time of day and the slots beside it; the value if none is known.

    What happens at a time of day happens a little earlier on one day and a little later on another.
    """
    slot, nearest, found = _slot(time_ms), value, False
    for other in range(slot + SLOTS - 1, slot + SLOTS + 2):
        at = other % SLOTS
        if state.counts[at] > 0 and (not found or abs(value - state.means[at]) < abs(value - nearest)):
            nearest, found = state.means[at], True
    return nearest


@njit(cache=True, nogil=True)
def _next(state: Any, time_ms: int, value: float) -> Any:
    expected = _expected(state, time_ms, value)
    deviation = state.deviation + _DEVIATION_RATE * (abs(value - expected) - state.deviation)
    if state.seen == 0:
        return _Next(value, value, value, deviation, expected)
    quick = state.quick + _QUICK_RATE * (value - state.quick)
    slow = state.slow + _SLOW_RATE * (value - state.slow)
    return _Next(value, quick, slow, deviation, expected)


@njit(cache=True, nogil=True)
def _novelty(state: Any, rules: Any, new: Any) -> float:
    if state.seen < rules.warm_up:
        return 0.0
    numbers, score = (new.value, new.quick, new.slow, new.deviation), 0.0
    for n in range(_WATCHED):
        age = state.seen - state.left[n]
        outlying = outlyingness(state.low[n], state.high[n], state.step[n], age, numbers[n], rules.share)
        if outlying > 0.0:
            score += (rules.deviation_gain if n == 3 else 1.0) * math.log10(1.0 + outlying)
    return score


@njit(cache=True, nogil=True)
def _learn(state: Any, rules: Any, time_ms: int, new: Any) -> None:
    numbers = (new.value, new.quick, new.slow, new.deviation)
    for n in range(_WATCHED):
        low, high, number = state.low[n], state.high[n], numbers[n]
        if state.seen == 0:
            low = high = number
        elif number < low or number > high:
            state.left[n] = state.seen
        decay = rules.slow_decay if n == 2 else rules.decay
        state.low[n], state.high[n], state.step[n] = take_in(low, high, state.step[n], number, decay, rules.step_rate)
    state.quick, state.slow, state.deviation = new.quick, new.slow, new.deviation
    slot = _slot(time_ms)
    count = min(int(state.counts[slot]) + 1, 255)
    state.counts[slot] = count
    state.means[slot] += max(_SLOT_RATE, 1.0 / count) * (new.value - state.means[slot])
    state.seen += 1


@njit(cache=True, nogil=True)
def novelty_score(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return (score, expectation) of an unseen reading; the state is left as it is.

    The score is ≥ 0 and finite: 0 while warming up and while no range is left, else the logarithm (base 10) of how far,
    summed over the four numbers; it has no upper bound at which readings would tie. The expectation is that of the time
    of day, in the value's unit; the value itself where none is known.

    Parameters
    ----------
    state
        One record of :data:`STATE`; zeros at first.
    rules
        :class:`NoveltyRules`.
    time_ms
        When it was measured, ms since the epoch, UTC; only the time of day counts, so it may stand still or run back.
    value
        Finite, of size 1e140 at most.
    """
    new = _next(state, time_ms, value)
    return _novelty(state, rules, new), new.expected


@njit(cache=True, nogil=True)
def novelty_learn(state: Any, rules: Any, time_ms: int, value: float) -> None:
    """Learn a reading: what was seen once is novel no more, until the ranges have forgotten it."""
    _learn(state, rules, time_ms, _next(state, time_ms, value))


@njit(cache=True, nogil=True)
def novelty_observe(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return what :func:`novelty_score` does, and learn the reading as :func:`novelty_learn` does, in one pass."""
    new = _next(state, time_ms, value)
    score = _novelty(state, rules, new)
    _learn(state, rules, time_ms, new)
    return score, new.expected


@njit(cache=True, nogil=True)
def quiet_novelty_observe(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return what :func:`novelty_observe` does, with a score of 0 where it tells nothing new.

    ``state`` is a record of :data:`QUIET_STATE`.
    """
    score, expected = novelty_observe(state.sensor, rules, time_ms, value)
    return refractory(state.told, rules, score), expected


@njit(cache=True, nogil=True)
def _score_row(rows: Any, rules: Any, time_ms: int, value: float) -> float:
    return float(novelty_score(rows[0], rules, time_ms, value)[0])


@njit(cache=True, nogil=True)
def _learn_row(rows: Any, rules: Any, time_ms: int, value: float) -> None:
    novelty_learn(rows[0], rules, time_ms, value)


_DEFAULTS = NoveltyRules()


class NoveltyDetector(OneSensor):
    """Novelty detector for one sensor, as a River estimator.

    A reading is scored by how far it leaves what the sensor has done so far: in value, in level, and in distance from
    what is usual at its time of day, ``time_ms``. Records are rare in a series that does not change (Chandler 1952, *The
    distribution and frequency of record values*); each range keeps them, and the score tells by how much they were
    broken. It is measured on the Numenta Anomaly Benchmark (Lavin and Ahmad 2015).

    It is no spike detector: the second spike of a size is hardly novel. It does not see what stays within all ranges,
    such as another frequency, or a sensor that is stuck at a value that is usual at any time of day; without a time of
    day it knows no season. A lasting new level is accepted as soon as it was told.

    Parameters
    ----------
    rules
        Parameters; their defaults if left out.

    Examples
    --------
    >>> detector = NoveltyDetector()
    >>> for n in range(400):
    ...     detector.learn_one({"temperature": 20.0 + n % 7, "time_ms": 60_000 * n})
    >>> detector.score_one({"temperature": 24.0, "time_ms": 24_000_000})
    0.0
    >>> detector.score_one({"temperature": 60.0, "time_ms": 24_000_000}) > 3.0
    True
    """

    def __init__(self, rules: NoveltyRules = _DEFAULTS) -> None:
        super().__init__(STATE)
        self.rules = rules

    def _score(self, time_ms: int, value: float) -> float:
        return float(_score_row(self._row, self.rules, time_ms, value))

    def _learn(self, time_ms: int, value: float) -> None:
        _learn_row(self._row, self.rules, time_ms, value)
