"""How deep in their tails the scores of one machine may lie until it has an alarm: one budget for all of them, learned online.

Scores become comparable as *depths*: minus the logarithm of how often a block of readings has a larger maximum, by the
score's own law (:mod:`pipeline.core.detectors.calibration`). The deepest of a machine's scores, block by block, is what its
budget goes by: what exceeds a level that one block in :data:`RARE` exceeds does so exponentially (Pickands 1975, *Statistical
inference using extreme order statistics*; online, Siffer, Fouque, Termier and Largouet 2017, *Anomaly detection in streams
with extreme value theory*). So what one score does not use of the budget, since it is mostly 0, rests after it told something,
or moves with another one, goes to the others; and what is wrong with their laws is put right by what they led to.

No alarm lies much deeper than by an equal share of the budget for each score, lest faults that are no alarms raise all
thresholds. So it fails, by more alarms than the budget has, where the scores' own laws take their tails for too light: heavy
tails in the first days, scores that are mostly 0 beside others. By less alarms it fails where what is beyond the level are
few whole numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit, record

STATE = record(
    [
        ("level", np.float64),
        ("excess", np.float64),
        ("deepest", np.float64),
        ("block_ms", np.float64),
        ("width", np.float64),
        ("owed", np.float64),
        ("blocks", np.int32),
        ("turn", np.int32),
        ("scores", np.int32),
        ("is_alarmed", np.int16),
        ("was_alarmed", np.int16),
    ]
)
"""What is known of one machine; zeros: nothing yet.

``deepest`` is the largest depth in the present block, number ``turn``, of ``scores`` so far; ``is_alarmed`` tells whether one
of them was an alarm, ``was_alarmed`` whether there was one in the block before. One block in :data:`RARE` is deeper than
``level``, by ``excess`` on average; before :data:`FEW` of the ``blocks`` were learned, ``level`` is their mean. A block usually
lasts ``block_ms``, 0 until known, and has ``width`` scores. ``owed`` alarms will count as false ones.
"""

RARE = 12.0
"""Blocks, of which one exceeds the level: many enough to count soon, and deep enough that what is beyond is a tail."""

FEW = 10
"""Blocks that the level starts from, as that of Gumbel's law with their mean."""

DAY_MS = 86_400_000
_EULER = 0.5772156649
# No single depth counts more: an odd law of one score does not move the level of all far
_DEEPEST = 20.0
# Right laws make the excess 1. Where scores are whole numbers the level keeps to one of them, and what is beyond hides the
# next; scores that are mostly 0 (novelty) have laws that are too light a little beyond the level and too heavy further out,
# which makes it smaller than it is where alarms lie, by what other scores have there. Faults that are no alarm make it larger
_LEAST_EXCESS = 0.7
_MOST_EXCESS = 1.0
# Alarms that count as false, by the budget: somewhat more, so that too low a threshold rises; and how many may be saved up
_OWED = 1.5
_MOST_OWED = 3.0


def doubt(pools: npt.NDArray[Any], machines: npt.NDArray[np.integer[Any]]) -> None:
    """Learn as quickly as in the beginning again, where a machine's scores are others than before; the level is kept till then.

    Parameters
    ----------
    pools
        Records of :data:`STATE`, shape (all machines,); changed in place.
    machines
        Numbers of those machines, in any order, each as often as it happens.
    """
    pools["blocks"][machines] = np.minimum(pools["blocks"][machines], FEW)


@njit(cache=True, nogil=True)
def is_known(pool: Any) -> bool:
    """Return whether enough is known to say how deep an alarm lies."""
    return bool(pool.blocks >= FEW and pool.block_ms > 0.0)


@njit(cache=True, nogil=True)
def _chance(pool: Any, rules: Any) -> float:
    """Return the probability with which a block may have a false alarm."""
    return float(min(rules.budget * pool.block_ms / DAY_MS, 0.5))


@njit(cache=True, nogil=True)
def depth_of_alarms(pool: Any, rules: Any) -> float:
    """Return the depth beyond which a score is an alarm, such that the machine keeps its budget.

    It allows for its own error: alarms become exp(s²/2) times as many, on average, if it errs by a normal deviation of s
    e-folds, of which those of level and excess count.

    Parameters
    ----------
    pool
        A record of :data:`STATE` that is known.
    rules
        :class:`pipeline.core.detectors.policy.AlarmRules`.
    """
    folds = -math.log(RARE * _chance(pool, rules))
    peaks = min(float(pool.blocks), 2.0 / rules.fading) / RARE
    return float(pool.level + pool.excess * (folds + 0.5 * (1.0 + folds**2) / peaks))


@njit(cache=True, nogil=True)
def usual(known: float, newest: float) -> float:
    """Return what is usual after one more number; one that is not above 0 tells nothing."""
    if newest <= 0.0:
        return known
    return newest if known == 0.0 else known + 0.1 * (newest - known)


@njit(cache=True, nogil=True)
def _learn(pool: Any, rules: Any, deepest: float) -> None:
    """Learn a block: the level by stochastic approximation (Robbins and Monro 1951).

    The newest count twice while blocks are few: the scores' own laws were worse in the first ones. Faults do not make level
    and excess larger than right laws would.
    """
    pool.blocks = min(pool.blocks + 1, 1 << 30)
    if pool.blocks <= FEW:
        pool.level += (deepest - pool.level) / pool.blocks
        if pool.blocks == FEW:
            pool.level += math.log(RARE) - _EULER
            pool.excess = 1.0
        return
    rate = max(rules.fading, 2.0 / (pool.blocks + 2.0 * RARE))
    beyond = deepest - pool.level
    pool.level += rate * pool.excess * ((RARE if beyond > 0.0 else 0.0) - 1.0)
    if beyond > 0.0:
        pool.excess += min(RARE * rate, 0.5) * (beyond - pool.excess)
    pool.excess = min(max(pool.excess, _LEAST_EXCESS), _MOST_EXCESS)
    # Scores of right laws exceed this level no more often, whatever they have in common (Bonferroni)
    pool.level = min(pool.level, math.log(RARE * pool.width))


@njit(cache=True, nogil=True)
def _end(pool: Any, rules: Any) -> None:
    """Learn the block that is over, unless there is a fault.

    A block with an alarm counts as what is expected beyond the threshold, if the budget has such an alarm; more of them are
    taken for true ones. Those that follow in a row count nothing, nor does the first one after them.
    """
    pool.owed = min(pool.owed + _OWED * _chance(pool, rules), _MOST_OWED)
    if not is_known(pool) or not (pool.is_alarmed or pool.was_alarmed):
        _learn(pool, rules, pool.deepest)
    elif not pool.was_alarmed and pool.owed >= 1.0:
        pool.owed -= 1.0
        _learn(pool, rules, depth_of_alarms(pool, rules) + pool.excess)
    pool.was_alarmed = pool.is_alarmed


@njit(cache=True, nogil=True)
def contribute(pool: Any, rules: Any, turn: int, depth: float, is_alarmed: bool, span_ms: int) -> int:
    """Take in how deep a score was in its block; return the machine's block that it is part of.

    A machine's block is over when a score that is part of it comes with another one: the quickest score sets the pace.

    Parameters
    ----------
    pool
        A record of :data:`STATE`; changed in place.
    rules
        As of :func:`depth_of_alarms`.
    turn
        What was returned for the score's last block; 0: it had none.
    depth
        Any finite number.
    is_alarmed
        Whether the score was beyond its threshold.
    span_ms
        How long the score's block lasted, ms.
    """
    if turn == pool.turn:
        if pool.turn > 0:
            pool.block_ms = usual(pool.block_ms, float(span_ms))
            pool.width = usual(pool.width, float(pool.scores))
            _end(pool, rules)
        pool.turn = pool.turn % (1 << 30) + 1
        pool.deepest = -_DEEPEST
        pool.is_alarmed = 0
        pool.scores = 0
    pool.scores += 1
    pool.deepest = max(pool.deepest, min(depth, _DEEPEST))
    if is_alarmed:
        pool.is_alarmed = 1
    return int(pool.turn)
