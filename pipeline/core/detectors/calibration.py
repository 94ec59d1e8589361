"""Thresholds from a budget of false alarms: the tail of a score's block maxima, learned online.

The largest of many scores follows a generalised extreme value law, whatever the detector (Coles 2001, *An Introduction to
Statistical Modeling of Extreme Values*, 3.1). Its location, scale and shape are learned from L-moments of the maxima of
blocks of readings (Hosking 1990, *L-moments*; Hosking, Wallis and Wood 1985 for the law's parameters). How deep in that law an
alarm lies is one number for all scores of a machine (:mod:`pipeline.core.detectors.pool`).

It fails where most blocks hold a true anomaly, which is then usual, and where scores stay correlated for longer than a block.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pipeline.core.compiling import njit
from pipeline.core.detectors import pool as pools

FIELDS: list[tuple[str, type[np.generic]]] = [
    ("readings", np.int32),
    ("peak", np.float64),
    ("threshold", np.float64),
    ("span_ms", np.int64),
    ("last_ms", np.int64),
    ("before", np.float64),
    ("earlier", np.float64),
    ("mean", np.float64),
    ("spread", np.float64),
    ("skew", np.float64),
    ("location", np.float64),
    ("scale", np.float64),
    ("shape", np.float64),
    ("blocks", np.int32),
    ("flagged", np.int32),
    ("turn", np.int32),
]
"""What is known of one score's tail; zeros: nothing yet. What every reading touches comes first.

``peak`` is the present block's maximum after ``readings`` readings and ``span_ms`` ms, the last at ``last_ms``. ``threshold``
is a score, 0 until known. All that follow are of ``blocks`` maxima raised to the detector's power: ``before`` and ``earlier``
the last two, ``mean``, ``spread`` and ``skew`` their first three L-moments, ``location``, ``scale`` and ``shape`` their law.
``flagged`` counts blocks in a row with an alarm, ``turn`` is the machine's block that the last one was part of, 0 none.
"""

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
def _is_known(state: Any, rules: Any) -> bool:
    return bool(state.blocks >= rules.enough and state.spread > 0.0)


@njit(cache=True, nogil=True)
def _shape(state: Any, rules: Any) -> float:
    """Return the shape of the maxima's law, < 0, from their L-skewness, drawn to 0, the Gumbel law, while blocks are few.

    The tail may prove heavier than exponential but is never taken for lighter: maxima of scores that are clipped or whole
    numbers look lighter where they are seen than they are further out.
    """
    blocks = min(float(state.blocks), 2.0 / rules.fading)
    skewness = min(max(state.skew / state.spread, -0.5), 0.9)
    c = 2.0 / (3.0 + skewness) - math.log(2.0) / math.log(3.0)
    shape = (7.859 * c + 2.9554 * c * c) * blocks / (blocks + rules.trust)
    return float(min(max(shape, -_MOST_SHAPE), -_NO_SHAPE))


@njit(cache=True, nogil=True)
def _fit(state: Any, rules: Any) -> None:
    """Find the law that has the L-moments that were learned."""
    shape = _shape(state, rules)
    gamma = math.gamma(1.0 + shape)
    state.shape = shape
    state.scale = max(state.spread * shape / ((1.0 - 2.0**-shape) * gamma), _SMALL)
    state.location = state.mean - state.scale * (1.0 - gamma) / shape


@njit(cache=True, nogil=True)
def _depth(state: Any, maximum: float) -> float:
    """Return how deep in the law's tail a maximum lies: minus the logarithm of how often there is a larger one, nearly."""
    beyond = min((maximum - state.location) / state.scale, _LARGE)
    return float(-math.log(max(1.0 - state.shape * beyond, _SMALL)) / state.shape)


@njit(cache=True, nogil=True)
def _place(state: Any, pool: Any, rules: Any) -> None:
    """Place the threshold where the law is as deep as the machine's alarms."""
    if not (_is_known(state, rules) and pools.is_known(pool)):
        state.threshold = 0.0
        return
    depth = pools.depth_of_alarms(pool, rules)
    top = state.location + state.scale * (1.0 - math.exp(-state.shape * depth)) / state.shape
    state.threshold = _power(max(top, _SMALL), 1.0 / rules.power)


@njit(cache=True, nogil=True)
def release(state: Any, rules: Any) -> float:
    """Return the score half-way down from the threshold to a block's usual maximum; half the threshold until that is known."""
    limit = threshold(state, rules)
    if state.threshold == 0.0:
        return 0.5 * limit
    return _power(max(0.5 * (_power(limit, rules.power) + state.location), _SMALL), 1.0 / rules.power)


@njit(cache=True, nogil=True)
def _learn_maximum(state: Any, rules: Any, maximum: float) -> None:
    """Learn the first three L-moments, from the last three maxima, and their law."""
    state.blocks = min(state.blocks + 1, 1 << 30)
    rate = max(rules.fading, 1.0 / state.blocks)
    state.mean += rate * (maximum - state.mean)
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
    if _is_known(state, rules):
        _fit(state, rules)


@njit(cache=True, nogil=True)
def threshold(state: Any, rules: Any) -> float:
    """Return the score beyond which a reading is an alarm; the rules' own until enough blocks were seen."""
    return float(state.threshold if state.threshold > 0.0 else rules.initial)


@njit(cache=True, nogil=True)
def _close(state: Any, pool: Any, rules: Any) -> None:
    """Learn a block that is full.

    The first block with an alarm counts as what is expected beyond the threshold, those that follow count nothing: a fault
    does not raise the threshold for good. After ``patience`` of them the score's new law is learned, and the old one is
    soon forgotten.
    """
    limit = threshold(state, rules)
    maximum = _power(state.peak, rules.power)
    state.flagged = state.flagged + 1 if state.peak > limit else 0
    if _is_known(state, rules):
        depth, is_alarmed = _depth(state, maximum), state.flagged > 0
        state.turn = pools.contribute(pool, rules, state.turn, depth, is_alarmed, state.span_ms)
    if state.flagged > rules.patience:
        state.blocks = min(state.blocks, rules.enough)
        _learn_maximum(state, rules, maximum)
    elif state.flagged <= 1 and (state.blocks > 0 or maximum > _SMALL):
        most = _power(limit, rules.power) + max(state.spread, 0.0) / math.log(2.0)
        _learn_maximum(state, rules, min(maximum, most))
    _place(state, pool, rules)


@njit(cache=True, nogil=True)
def count(state: Any, pool: Any, rules: Any, time_ms: int, score: float) -> None:
    """Count a score in its block; close the block when it is full.

    Parameters
    ----------
    state
        A record with :data:`FIELDS`; changed in place.
    pool
        That of the machine, a record of :data:`pipeline.core.detectors.pool.STATE`; changed in place.
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
        _close(state, pool, rules)
        state.peak = 0.0
        state.readings = 0
        state.span_ms = 0
