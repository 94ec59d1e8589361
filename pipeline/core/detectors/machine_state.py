"""What is known about one machine's sensors together: how they vary, how far each drifts, and how they move as one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record

WIDTH = 8
"""Sensors of one machine that are watched together: the first eight by order of first sight; others are left out."""

PAIRS = WIDTH * (WIDTH + 1) // 2
"""Entries of a symmetric or triangular matrix, row by row: (row, column ≤ row) is at ``row * (row + 1) // 2 + column``."""

BLOCK = 50
"""Learned messages whose means are compared with one another, to tell drift from noise."""

STATE = record(
    [
        ("last_ms", np.int64),
        ("seen", np.int32),
        ("loud", np.int32),
        ("in_block", np.int32),
        ("readings", np.int32, (WIDTH,)),
        ("absent", np.int16, (WIDTH,)),
        ("blocks", np.int16, (WIDTH,)),
        ("block_readings", np.int16, (WIDTH,)),
        ("mean", np.float64, (WIDTH,)),
        ("scale", np.float64, (WIDTH,)),
        ("block", np.float64, (WIDTH,)),
        ("level", np.float64, (WIDTH,)),
        ("drift", np.float64, (WIDTH,)),
        ("fast", np.float64, (WIDTH,)),
        ("slow", np.float64, (WIDTH,)),
        ("covariance", np.float64, (PAIRS,)),
        ("factor", np.float64, (PAIRS,)),
    ]
)
"""All that is known about one machine; zeros: nothing seen yet.

``last_ms``: newest event time, ms since the epoch, UTC. ``seen``: messages learned. ``loud``: messages that were not quiet,
less those that were, ≥ 0. ``in_block``: messages learned since the last block ended. Per sensor: ``readings`` learned;
``absent``: messages since its last reading; ``blocks`` and ``block_readings``: blocks learned, and readings in the running
one; ``mean``, ``block`` (mean of the running one) and ``level`` (mean of the blocks' means), in the sensor's unit; ``drift``:
variance of the blocks' means, unit squared; ``scale``: one over its standard deviation, 0 while it is not watched; ``fast``
and ``slow``: exponentially weighted means of the standardised readings, in standard deviations. ``covariance`` of the
readings, unit times unit; ``factor``: the inverse Cholesky factor of what ``fast`` varies by, in standard deviations.
"""


class MultivariateRules(NamedTuple):
    """How the sensors of a machine are watched together.

    Parameters
    ----------
    warm_up
        Messages learned before the first one is scored; in [2, 30,000].
    fading
        Weight of the newest message in the mean that is tested, in (0, 1).
    reference
        The same of the recent past that a shift is measured against, in (0, ``fading``).
    adapting
        Least weight of the newest quiet message in what is known as normal, in [0, 1); below that, all messages count alike.
    quiet
        Decimal places of the score up to which a message is learned; > 0.
    accept_after
        Surplus of messages that were not quiet after which the machine's state is a new normal and it warms up again; > 0.
    shrinkage
        Share by which correlations are drawn towards 0, in (0, 1]: keeps sensors that repeat one another apart.
    drifting
        How many times the variance between blocks that noise does not explain counts as normal, ≥ 0: what drifts weighs less.
    steady
        Share of a sensor's variance that may lie between blocks, in (0, 1]: one that carries mostly drift, such as a slow
        temperature, is left out. For noise it is 1 / :data:`BLOCK`, for a straight slope nearly 1.
    clip
        Standard deviations from which a reading counts by the logarithm of its distance only; > 0.
    stale_after
        Messages without a sensor after which it is no longer part of the whole; in [1, 32,767].
    gap_ms
        Silence after which the recent past is forgotten, ms; > 0.
    """

    warm_up: int = 400
    fading: float = 0.1
    reference: float = 0.03
    adapting: float = 0.001
    quiet: float = 2.0
    accept_after: int = 1000
    shrinkage: float = 0.1
    drifting: float = 0.1
    steady: float = 0.2
    clip: float = 8.0
    stale_after: int = 30
    gap_ms: int = 600_000


_ROBUST_FROM = 30
_LEAST_PIVOT = 1e-9
_RELATIVE_FLOOR = 1e-9
_MOST_COUNTED = 30_000


@njit(cache=True, nogil=True)
def squashed(deviation: float, clip: float) -> float:
    """Return a deviation as it is up to ``clip``, and growing by its logarithm beyond: no single reading outweighs all."""
    size = abs(deviation)
    if size <= clip:
        return deviation
    return math.copysign(clip * (1.0 + math.log(size / clip)), deviation)


@njit(cache=True, nogil=True)
def _step(state: Any, rules: MultivariateRules, value: float, i: int) -> float:
    """Return how far a reading lies from the sensor's mean; an outlier only as far as ``clip`` deviations.

    A start-up spike among the first messages would otherwise hide all faults that are smaller than it.
    """
    step: float = value - state.mean[i]
    variance = state.covariance[i * (i + 1) // 2 + i]
    if state.readings[i] < _ROBUST_FROM or variance <= 0.0:
        return step
    furthest = rules.clip * math.sqrt(variance)
    return min(max(step, -furthest), furthest)


@njit(cache=True, nogil=True)
def learn_moments(state: Any, rules: MultivariateRules, values: Any, present: Any) -> None:
    """Take a normal message into means, covariances and the running block.

    Downwards, so that every product is of steps from the means and deviations before this message.
    """
    state.seen = min(state.seen + 1, _MOST_COUNTED)
    state.in_block += 1
    for i in range(WIDTH - 1, -1, -1):
        if not present[i]:
            continue
        step = _step(state, rules, values[i], i)
        row = i * (i + 1) // 2
        for j in range(i + 1):
            if present[j]:
                rate = max(rules.adapting, 1.0 / (min(state.readings[i], state.readings[j]) + 1.0))
                product = (1.0 - rate) * step * _step(state, rules, values[j], j)
                state.covariance[row + j] += rate * (product - state.covariance[row + j])
        state.block_readings[i] += 1
        state.block[i] += (state.mean[i] + step - state.block[i]) / state.block_readings[i]
        state.mean[i] += max(rules.adapting, 1.0 / (state.readings[i] + 1.0)) * step
        state.readings[i] = min(state.readings[i] + 1, _MOST_COUNTED)


@njit(cache=True, nogil=True)
def end_block(state: Any, rules: MultivariateRules) -> None:
    """Take the means of the block that ends here into what blocks vary by, and begin another."""
    state.in_block = 0
    for i in range(WIDTH):
        if state.block_readings[i] == 0:
            continue
        step = state.block[i] - state.level[i]
        rate = max(min(1.0, BLOCK * rules.adapting), 1.0 / (state.blocks[i] + 1.0))
        state.level[i] += rate * step
        state.drift[i] = (1.0 - rate) * (state.drift[i] + rate * step * step)
        state.blocks[i] = min(state.blocks[i] + 1, _MOST_COUNTED)
        state.block_readings[i] = 0
        state.block[i] = 0.0


@njit(cache=True, nogil=True)
def _watch(state: Any, rules: MultivariateRules) -> None:
    """Set the scale of every sensor that is watched: known for long enough, there lately, that moves, but does not drift."""
    for i in range(WIDTH):
        variance = max(state.covariance[i * (i + 1) // 2 + i], 0.0)
        deviation = math.sqrt(variance)
        known = state.readings[i] >= rules.warm_up // 2 and state.absent[i] < rules.stale_after
        moves = deviation > _RELATIVE_FLOOR * abs(state.mean[i]) + 1e-150
        watched = known and moves and state.drift[i] <= rules.steady * variance
        if not watched or state.scale[i] == 0.0:
            state.fast[i] = 0.0
            state.slow[i] = 0.0
        state.scale[i] = 1.0 / deviation if watched else 0.0


@njit(cache=True, nogil=True)
def _expected_product(state: Any, rules: MultivariateRules, i: int, j: int) -> float:
    """Return what the smoothed deviations of two sensors vary by together, in squared standard deviations."""
    of_noise = rules.fading / (2.0 - rules.fading)
    if i == j:
        drift: float = state.drift[i] * state.scale[i] * state.scale[i] - 1.0 / BLOCK
        return of_noise + rules.drifting * max(drift, 0.0)
    if state.scale[i] == 0.0 or state.scale[j] == 0.0:
        return 0.0
    correlation: float = state.covariance[i * (i + 1) // 2 + j] * state.scale[i] * state.scale[j]
    return of_noise * (1.0 - rules.shrinkage) * min(max(correlation, -1.0), 1.0)


@njit(cache=True, nogil=True)
def _invert(factor: Any) -> None:
    """Invert a lower triangular matrix in its own place, column by column from the left."""
    for j in range(WIDTH):
        factor[j * (j + 1) // 2 + j] = 1.0 / factor[j * (j + 1) // 2 + j]
    for i in range(1, WIDTH):
        row = i * (i + 1) // 2
        for j in range(i):
            total = 0.0
            for k in range(j, i):
                total += factor[row + k] * factor[k * (k + 1) // 2 + j]
            factor[row + j] = -total * factor[row + i]


@njit(cache=True, nogil=True)
def refresh(state: Any, rules: MultivariateRules) -> None:
    """Choose the sensors that are watched and factor what they vary by (Cholesky); others stand apart and count nothing."""
    _watch(state, rules)
    factor = state.factor
    for i in range(WIDTH):
        row = i * (i + 1) // 2
        for j in range(i + 1):
            total = _expected_product(state, rules, i, j)
            column = j * (j + 1) // 2
            for k in range(j):
                total -= factor[row + k] * factor[column + k]
            factor[row + j] = math.sqrt(max(total, _LEAST_PIVOT)) if i == j else total / factor[column + j]
    _invert(factor)
