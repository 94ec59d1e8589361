"""Thresholds from a budget of false alarms: the tail of a score's block maxima, learned online.

The largest of many scores follows a generalised extreme value law, whatever the detector (Coles 2001, *An Introduction to
Statistical Modeling of Extreme Values*, 3.1). Its location, scale and shape are learned from L-moments of the maxima of
blocks of readings (Hosking 1990, *L-moments*; Hosking, Wallis and Wood 1985 for the law's parameters); budget and pace of
the readings then say how seldom a block may have an alarm, and so where the threshold lies.

It fails where most blocks hold a true anomaly, which is then usual, and where scores stay correlated for longer than a block.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

FIELDS: list[tuple[str, type[np.generic]]] = [
    ("peak", np.float64),
    ("before", np.float64),
    ("earlier", np.float64),
    ("mean", np.float64),
    ("spread", np.float64),
    ("skew", np.float64),
    ("moving", np.float64),
    ("threshold", np.float64),
    ("release", np.float64),
    ("pace_ms", np.float64),
    ("span_ms", np.int64),
    ("last_ms", np.int64),
    ("readings", np.int32),
    ("blocks", np.int32),
    ("flagged", np.int32),
    ("sharers", np.int32),
]
"""What is known of one score's tail; zeros: nothing yet.

``peak`` is the present block's maximum after ``readings`` readings and ``span_ms`` ms; all that follow are of ``blocks``
maxima raised to the detector's power: ``before`` and ``earlier`` the last two, ``mean``, ``spread`` and ``skew`` their first
three L-moments, ``moving`` the share of those above 0. ``pace_ms`` is the usual time between readings, 0 until known.
``threshold`` and ``release`` are scores. ``flagged`` counts blocks in a row with an alarm. ``sharers`` scores of the machine
share its budget, which :func:`pipeline.core.detectors.policy.share` writes; 0 is taken for 1.
"""

DAY_MS = 86_400_000
# Heavier tails than this have hardly a variance, and L-skewness tells them badly
_MOST_SHAPE = 0.4
# So near to 0 the law is Gumbel's, and its formulas divide by the shape
_NO_SHAPE = 1e-6
_SMALL = 1e-300
_LARGE = 1e300


@njit(cache=True, nogil=True)
def _power(value: float, power: float) -> float:
    """Return a score raised to a power, kept finite."""
    if power == 1.0:
        return float(min(value, _LARGE))
    return math.exp(min(power * math.log(max(value, _SMALL)), 690.0))


@njit(cache=True, nogil=True)
def chance(state: Any, rules: Any) -> float:
    """Return the probability with which a block may have an alarm: this score's part of the machine's budget.

    Parameters
    ----------
    state
        A record with :data:`FIELDS`.
    rules
        :class:`pipeline.core.detectors.policy.AlarmRules`.
    """
    blocks_per_day = DAY_MS / max(state.pace_ms * rules.block, 1.0)
    return float(min(rules.budget / (max(state.sharers, 1) * blocks_per_day), 0.5))


@njit(cache=True, nogil=True)
def _shape(state: Any, rules: Any, blocks: float) -> float:
    """Return the shape of the maxima's law, < 0, from their L-skewness, drawn to 0, the Gumbel law, while blocks are few.

    The tail may prove heavier than exponential but is never taken for lighter: maxima of scores that are clipped or whole
    numbers look lighter where they are seen than they are further out.
    """
    skewness = min(max(state.skew / state.spread, -0.5), 0.9)
    c = 2.0 / (3.0 + skewness) - math.log(2.0) / math.log(3.0)
    shape = (7.859 * c + 2.9554 * c * c) * blocks / (blocks + rules.trust)
    return float(min(max(shape, -_MOST_SHAPE), -_NO_SHAPE))


@njit(cache=True, nogil=True)
def _place(state: Any, rules: Any) -> None:
    """Place threshold and release by the extreme value law whose L-moments were learned.

    The threshold allows for its own error: alarms become exp(s²/2) times as many, on average, if it errs by a normal
    deviation of s e-folds. The first three terms of the variance are those of location and scale, the last is the shape's.
    """
    blocks = min(float(state.blocks), 2.0 / rules.fading)
    shape = _shape(state, rules, blocks)
    gamma = math.gamma(1.0 + shape)
    scale = state.spread * shape / ((1.0 - 2.0**-shape) * gamma)
    location = state.mean - scale * (1.0 - gamma) / shape
    depth = -math.log(-math.log1p(-chance(state, rules)))
    weight = blocks / (blocks + rules.trust)
    variance = (1.1 + 0.5 * depth + 0.8 * depth**2 + 0.1 * weight**2 * depth**4) / blocks
    top = location + scale * (1.0 - math.exp(-shape * (depth + 0.5 * variance))) / shape
    state.threshold = _power(max(top, _SMALL), 1.0 / rules.power)
    state.release = _power(max(0.5 * (top + location), _SMALL), 1.0 / rules.power)


@njit(cache=True, nogil=True)
def _learn_maximum(state: Any, rules: Any, maximum: float) -> None:
    """Learn the first three L-moments, from the last three maxima."""
    state.blocks = min(state.blocks + 1, 1 << 30)
    rate = max(rules.fading, 1.0 / state.blocks)
    state.mean += rate * (maximum - state.mean)
    state.moving += rate * ((1.0 if maximum > _SMALL else 0.0) - state.moving)
    if state.blocks > 1:
        rate = max(rules.fading, 1.0 / (state.blocks - 1))
        state.spread += rate * (0.5 * abs(maximum - state.before) - state.spread)
    if state.blocks > 2:
        rate = max(rules.fading, 1.0 / (state.blocks - 2))
        high = max(maximum, state.before, state.earlier)
        low = min(maximum, state.before, state.earlier)
        middle = maximum + state.before + state.earlier - high - low
        state.skew += rate * ((high - 2.0 * middle + low) / 3.0 - state.skew)
    state.earlier = state.before
    state.before = maximum


@njit(cache=True, nogil=True)
def _learn_pace(state: Any, rules: Any) -> None:
    pace_ms = state.span_ms / rules.block
    if pace_ms > 0.0:
        state.pace_ms = pace_ms if state.pace_ms == 0.0 else state.pace_ms + 0.1 * (pace_ms - state.pace_ms)


@njit(cache=True, nogil=True)
def threshold(state: Any, rules: Any) -> float:
    """Return the score beyond which a reading is an alarm; the rules' own until enough blocks were seen."""
    if state.blocks < rules.enough or state.pace_ms == 0.0 or state.spread <= 0.0:
        return float(rules.initial)
    return float(state.threshold)


@njit(cache=True, nogil=True)
def _close(state: Any, rules: Any) -> None:
    """Learn a block that is full.

    The first block with an alarm counts as what is expected beyond the threshold, those that follow count nothing: a fault
    does not raise the threshold for good. After ``patience`` of them the score's new law is learned, and the old one is
    soon forgotten.
    """
    _learn_pace(state, rules)
    limit = threshold(state, rules)
    maximum, most = _power(state.peak, rules.power), _power(limit, rules.power)
    state.flagged = state.flagged + 1 if state.peak > limit else 0
    if state.flagged > rules.patience:
        state.blocks = min(state.blocks, rules.enough)
        _learn_maximum(state, rules, maximum)
    elif state.flagged <= 1 and (state.blocks > 0 or maximum > _SMALL):
        _learn_maximum(state, rules, min(maximum, most + max(state.spread, 0.0) / math.log(2.0)))
    if state.blocks >= rules.enough and state.spread > 0.0:
        _place(state, rules)


@njit(cache=True, nogil=True)
def count(state: Any, rules: Any, time_ms: int, score: float) -> None:
    """Count a score in its block; close the block when it is full.

    Parameters
    ----------
    state
        A record with :data:`FIELDS`; changed in place.
    rules
        :class:`pipeline.core.detectors.policy.AlarmRules`.
    time_ms
        Event time, ms since the epoch, UTC. Steps longer than ``rules.gap_ms``, either way, do not count as time.
    score
        Finite, ≥ 0.
    """
    elapsed_ms = time_ms - state.last_ms
    if abs(elapsed_ms) <= rules.gap_ms:
        state.span_ms += elapsed_ms
    state.last_ms = time_ms
    state.peak = max(state.peak, score)
    state.readings += 1
    if state.readings >= rules.block:
        _close(state, rules)
        state.peak = 0.0
        state.readings = 0
        state.span_ms = 0
