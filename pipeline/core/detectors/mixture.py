"""Spikes and dips: the odds that a reading belongs to a sensor's usual outliers or to none of its kinds, learned online."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record
from pipeline.core.detectors.views import OneSensor

FIRST = 16
"""Readings from whose median and median deviation a sensor, or its new level, begins."""

_SIDE = record([("ratio", np.float64), ("share", np.float64), ("known", np.float64)])

STATE = record(
    [
        ("mean", np.float64),
        ("variance", np.float64),
        ("high", _SIDE),
        ("low", _SIDE),
        ("last", np.float64),
        ("step", np.float64),
        ("first", np.float64, (FIRST,)),
        ("held", np.int32),
        ("level_seen", np.int32),
        ("seen", np.int32),
        ("streak", np.int32),
    ]
)
"""All that is known about one sensor; zeros: nothing seen yet.

``mean`` and ``variance`` of its normal readings in its unit. Of outliers further from zero (``high``) and nearer to it
(``low``): their usual ``ratio`` to the mean, their ``share`` of all readings, and how many are ``known``. The ``last``
reading, and the smallest ``step`` between two. The ``held`` first readings of a level, sorted. ``streak``: by how many the odd
ones outnumber the others lately.
"""


class MixtureRules(NamedTuple):
    """How a sensor's readings are told apart.

    Parameters
    ----------
    fading
        Weight of the newest reading in mean and variance, in (0, 1).
    share_fading
        The same in the shares of outliers, in (0, 1).
    ratio_fading
        Weight of the newest outlier in the usual ratio of its side, in (0, 1).
    prior_ratio
        Ratio to the mean of outliers away from zero before one was seen, > 1; of those towards zero its inverse.
    prior_share
        Share of outliers of each side before one was seen, in (0, 0.5).
    wild
        Share of a side's outliers that keep to no ratio, in (0, 1).
    nearest
        Standard deviations from the mean within which usual outliers cannot be told from normal readings, and are not
        reckoned with; > 0.
    warm_up
        Readings of a level learned before the first one is scored; more than :data:`FIRST`.
    patience
        By how many odd readings are to outnumber the others, lately, until the sensor has a new level; ≥ 2.
    """

    fading: float = 0.01
    share_fading: float = 0.001
    ratio_fading: float = 0.02
    prior_ratio: float = 2.0
    prior_share: float = 0.01
    wild: float = 0.02
    nearest: float = 2.0
    warm_up: int = 32
    patience: int = 20


_RELATIVE_FLOOR, _ABSOLUTE_FLOOR = 1e-6, 1e-12
_FURTHEST = 1e140
_LN10 = math.log(10.0)

_WIDE = 10.0
"""Half of the wild outliers are within so many deviations."""

_WILD = 2.0 * _WIDE * math.sqrt(2.0 / math.pi)
_LARGE = 600.0
_NEGLIGIBLE = 0.001
_MOST = 1 << 30

_PRIOR_READINGS, _PRIOR_OUTLIERS = 500.0, 5.0
"""How many readings the first shares, and how many outliers the first ratios, are worth."""

_LEAST_SHARE = 1e-4
_LONGEST_STEP = 0.25
_RATIOS_HIGH, _RATIOS_LOW = (1.001, 100.0), (0.05, 0.999)


@njit(cache=True, nogil=True)
def _judge_side(side: Any, rules: Any, away: float, score: float) -> tuple[float, float]:
    """Return what :func:`_judge` does, for a score on a side whose usual outliers are ``away`` from the mean."""
    square = 0.5 * score * score
    # Half a Cauchy distribution, ten deviations wide: a reading far from everything is odd, whatever was learned
    odds = rules.wild * _WILD / (_WIDE * _WIDE + score * score)
    if square > _LARGE:
        # Beyond the range of exp; the usual outliers' share of this is less than the next digit
        log_odds = math.log(side.share / (1.0 - side.share) * odds) + square
        return log_odds / _LN10, 1.0
    odds *= math.exp(square)
    if abs(away) >= rules.nearest:
        from_usual = (score - away) / side.ratio
        odds += (1.0 - rules.wild) / side.ratio * math.exp(square - 0.5 * from_usual * from_usual)
    odds *= side.share / (1.0 - side.share)
    return math.log(1.0 + odds) / _LN10, odds / (1.0 + odds)


@njit(cache=True, nogil=True)
def _judge(state: Any, rules: Any, value: float) -> tuple[float, float]:
    """Return (decimal logarithm of 1 + odds, probability) that a value is odd; 0 as long as there is no mean."""
    if state.level_seen < FIRST:
        return 0.0, 0.0
    # A sensor that reads whole numbers, and mostly the same, is not odd when it reads the next one
    floor = _RELATIVE_FLOOR * abs(state.mean) + _ABSOLUTE_FLOOR + 0.5 * state.step
    deviation = max(math.sqrt(state.variance), floor)
    score = min(max((value - state.mean) / deviation, -_FURTHEST), _FURTHEST)
    level = state.mean / deviation
    if (score > 0.0) == (level > 0.0):
        return _judge_side(state.high, rules, (state.high.ratio - 1.0) * level, score)
    return _judge_side(state.low, rules, (state.low.ratio - 1.0) * level, score)


@njit(cache=True, nogil=True)
def mixture_score(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return (score, expected value) of an unseen value; score 0 while warming up.

    The score is the decimal logarithm of 1 + the odds that the value is a spike or a dip: above 0.301 it is rather odd than
    not, above 2 it is odd in 99 of 100 cases. It grows without bound.

    Parameters
    ----------
    state
        A record of :data:`STATE`; left as it is.
    rules
        :class:`MixtureRules`.
    time_ms
        Event time; means nothing here.
    value
        Reading in the sensor's unit; finite, magnitude at most 1e140.
    """
    if state.level_seen < rules.warm_up:
        return 0.0, state.mean
    return _judge(state, rules, value)[0], state.mean


@njit(cache=True, nogil=True)
def _hold(state: Any, rules: Any, value: float) -> None:
    """Keep one of the first readings of a level, sorted; from the last of them on there is a mean and a deviation."""
    first, at = state.first, state.held
    while at > 0 and first[at - 1] > value:
        first[at] = first[at - 1]
        at -= 1
    first[at] = value
    state.held += 1
    state.level_seen = state.held
    if state.held < FIRST:
        return
    middle = 0.5 * (first[FIRST // 2 - 1] + first[FIRST // 2])
    # The interquartile range of a normal distribution is 1.349 deviations
    deviation = (first[FIRST - 1 - FIRST // 4] - first[FIRST // 4]) / 1.349
    state.mean, state.variance = middle, deviation * deviation
    if state.high.share == 0.0:
        state.high.ratio, state.low.ratio = rules.prior_ratio, 1.0 / rules.prior_ratio
        state.high.share = state.low.share = rules.prior_share


@njit(cache=True, nogil=True)
def _learn_step(state: Any, value: float) -> None:
    step = abs(value - state.last)
    if state.seen > 0 and step > 0.0 and (step < state.step or state.step == 0.0):
        state.step = step
    state.last = value


@njit(cache=True, nogil=True)
def _learn_normal(state: Any, rules: Any, value: float, weight: float) -> None:
    rate = rules.fading if state.level_seen * rules.fading > 1.0 else 1.0 / (state.level_seen + 1)
    rate *= weight
    step = value - state.mean
    state.mean += rate * step
    state.variance = (1.0 - rate) * (state.variance + rate * step * step)


@njit(cache=True, nogil=True)
def _learn_ratio(side: Any, rules: Any, ratio: float, weight: float, between: tuple[float, float]) -> None:
    side.known = min(side.known + weight, 1.0 / rules.ratio_fading)
    step = min(max(ratio - side.ratio, -_LONGEST_STEP), _LONGEST_STEP)
    side.ratio += weight * step / (side.known + _PRIOR_OUTLIERS)
    side.ratio = min(max(side.ratio, between[0]), between[1])


@njit(cache=True, nogil=True)
def _learn_outlier(state: Any, rules: Any, value: float, odd: float) -> None:
    """Learn the shares of both sides, and from what is odd its ratio to the mean."""
    high, low = state.high, state.low
    rate = rules.share_fading if state.seen * rules.share_fading > 1.0 else 1.0 / (state.seen + _PRIOR_READINGS)
    is_high = (value > state.mean) == (state.mean > 0.0)
    # However rare outliers were, one that is far enough is odd
    high.share = max(high.share + rate * ((odd if is_high else 0.0) - high.share), _LEAST_SHARE)
    low.share = max(low.share + rate * ((0.0 if is_high else odd) - low.share), _LEAST_SHARE)
    if odd > _NEGLIGIBLE and state.mean != 0.0:
        if is_high:
            _learn_ratio(high, rules, value / state.mean, odd, _RATIOS_HIGH)
        else:
            _learn_ratio(low, rules, value / state.mean, odd, _RATIOS_LOW)


@njit(cache=True, nogil=True)
def mixture_observe(state: Any, rules: Any, time_ms: int, value: float) -> tuple[float, float]:
    """Return what :func:`mixture_score` returns, and learn the value in the same pass."""
    (surprise, odd), expected = _judge(state, rules, value), state.mean
    score = surprise if state.level_seen >= rules.warm_up else 0.0
    _learn_step(state, value)
    state.seen = min(state.seen + 1, _MOST)
    if state.level_seen < FIRST:
        _hold(state, rules, value)
        return score, expected
    _learn_outlier(state, rules, value, odd)
    _learn_normal(state, rules, value, 1.0 - odd)
    state.level_seen = min(state.level_seen + 1, _MOST)
    state.streak = state.streak + 1 if odd > 0.5 else max(state.streak - 1, 0)
    if state.streak >= rules.patience:
        state.streak = state.held = state.level_seen = 0
    return score, expected


@njit(cache=True, nogil=True)
def mixture_learn(state: Any, rules: Any, time_ms: int, value: float) -> None:
    """Learn a value; parameters as of :func:`mixture_score`."""
    mixture_observe(state, rules, time_ms, value)


_DEFAULTS = MixtureRules()


class MixtureDetector(OneSensor):
    """Detector of spikes and dips of one sensor, as a River estimator.

    Readings are taken for a mixture: normal ones, N(m, s²); outliers further from zero and outliers nearer to it,
    N(r·m, (r·s)²) each with its own ratio r, as a gain that jumps makes them; and wild ones, half a Cauchy distribution on
    either side. All is learned by recursive expectation maximisation with forgetting (Titterington 1984, *Recursive
    parameter estimation using incomplete data*; Cappé and Moulines 2009, *On-line expectation-maximization algorithm for
    latent data models*): each reading teaches each kind as much as it is likely to be of it, so that outliers do not widen
    what is normal. A level begins with median and quartiles of 16 readings, three of which may be anything.

    It fails where outliers that overlap the normal readings are rare: then they stay part of what is normal. Where they are
    not, it takes hours to tell them apart. It knows one normal level: on a sensor that cycles between several, each change
    is odd until the deviation spans them all. What drifts by more than ``fading`` deviations per reading is odd after a
    while, and then a new level. What differs by one step of the sensor's resolution is never odd: a constant sensor's
    second spike is part of it, until it has shown smaller steps.

    Parameters
    ----------
    rules
        Parameters; their defaults if left out.

    Examples
    --------
    >>> detector = MixtureDetector()
    >>> for n in range(60):
    ...     detector.learn_one({"temperature": 55.0 + n * 7 % 11 - 5})
    >>> detector.score_one({"temperature": 57.0}) < 0.01
    True
    >>> detector.score_one({"temperature": 99.0}) > 10.0
    True
    """

    def __init__(self, rules: MixtureRules = _DEFAULTS) -> None:
        super().__init__(STATE)
        self.rules = rules

    def _score(self, time_ms: int, value: float) -> float:
        return float(mixture_score(self._row[0], self.rules, time_ms, value)[0])

    def _learn(self, time_ms: int, value: float) -> None:
        mixture_learn(self._row[0], self.rules, time_ms, value)
