"""Faults and changes that show in a machine's sensors together: a guarded multivariate EWMA with Hotelling's T².

Lowry, Woodall, Champ and Rigdon 1992, *A multivariate exponentially weighted moving average control chart* (Technometrics
34); Hotelling 1947, *Multivariate quality control*.
"""

from __future__ import annotations

from typing import Any

from pipeline.core.compiling import njit, with_item
from pipeline.core.detectors.chi_square import chi_square_places
from pipeline.core.detectors.machine_state import (
    BLOCK,
    STATE,
    WIDTH,
    MultivariateRules,
    end_block,
    learn_moments,
    refresh,
    squashed,
)

__all__ = [
    "STATE",
    "WIDTH",
    "MultivariateRules",
    "multivariate_inspect",
    "multivariate_learn",
    "multivariate_observe",
    "multivariate_score",
    "shift_score",
]

_NONE = (0.0,) * WIDTH
"""No deviations."""


@njit(cache=True, nogil=True)
def _kept(state: Any, rules: MultivariateRules, time_ms: int) -> float:
    """Return the share of the recent past that still counts: all of it, or nothing after a long silence."""
    return 0.0 if time_ms - state.last_ms > rules.gap_ms else 1.0


@njit(cache=True, nogil=True)
def _moved(mean: float, rate: float, state: Any, rules: MultivariateRules, values: Any, present: Any, i: int) -> float:
    """Return a smoothed deviation after a message; a sensor that is not in it keeps its own."""
    if not present[i] or state.scale[i] == 0.0:
        return mean
    return mean + rate * (squashed((values[i] - state.mean[i]) * state.scale[i], rules.clip) - mean)


@njit(cache=True, nogil=True)
def _deviation(state: Any, rules: MultivariateRules, kept: float, values: Any, present: Any, i: int) -> float:
    """Return by how much a sensor is off, smoothed, with a message that is not learned yet; in standard deviations."""
    return _moved(kept * state.fast[i], rules.fading, state, rules, values, present, i)


@njit(cache=True, nogil=True)
def _shift(state: Any, rules: MultivariateRules, kept: float, values: Any, present: Any, i: int) -> float:
    """Return how far a sensor has moved from its recent past, likewise."""
    slow = _moved(kept * state.slow[i], rules.reference, state, rules, values, present, i)
    return _deviation(state, rules, kept, values, present, i) - slow


@njit(cache=True, nogil=True)
def _deviations(state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any) -> Any:
    """Return :func:`_deviation` of each sensor, as a tuple: a kernel makes no array."""
    kept = _kept(state, rules, time_ms)
    found = _NONE
    for i in range(WIDTH):
        found = with_item(found, i, _deviation(state, rules, kept, values, present, i))
    return found


@njit(cache=True, nogil=True)
def _shifts(state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any) -> Any:
    """Return :func:`_shift` of each sensor, likewise."""
    kept = _kept(state, rules, time_ms)
    found = _NONE
    for i in range(WIDTH):
        found = with_item(found, i, _shift(state, rules, kept, values, present, i))
    return found


@njit(cache=True, nogil=True)
def _tested(state: Any, off: Any, gain: float) -> tuple[float, int]:
    """Return the decimal places of T² of what sensors are off by, times ``gain``, and the sensor that is off most."""
    statistic, most, watched, widest = 0.0, 0.0, 0, -1
    for i in range(WIDTH):
        if state.scale[i] == 0.0:
            continue
        watched += 1
        row, total = i * (i + 1) // 2, 0.0
        for j in range(i + 1):
            total += state.factor[row + j] * off[j]
        statistic += total * total
        if abs(off[i]) >= most:
            most, widest = abs(off[i]), i
    return chi_square_places(gain * statistic, watched), widest


@njit(cache=True, nogil=True)
def _shift_gain(rules: MultivariateRules) -> float:
    """Return the variance of ``fast`` under noise over that of ``fast`` − ``slow``."""
    a, b = rules.fading, rules.reference
    of_fast = a / (2.0 - a)
    return of_fast / (of_fast + b / (2.0 - b) - 2.0 * a * b / (a + b - a * b))


@njit(cache=True, nogil=True)
def _is_warm(state: Any, rules: MultivariateRules) -> bool:
    return bool(state.seen >= rules.warm_up)


@njit(cache=True, nogil=True)
def multivariate_score(
    state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any
) -> tuple[float, int]:
    """Return how improbable the machine's deviation from normal is, and the sensor that is most off; changes nothing.

    T² of the smoothed, standardised readings, this message among them, as decimal places of its χ² tail: comparable between
    machines with different numbers of sensors, ≥ 0, without an upper limit, 0 while warming up. Readings of one sensor
    depend on those before, so a quiet machine scores above what independent noise would.

    Parameters
    ----------
    state
        The machine's record of :data:`STATE`.
    rules
        :class:`MultivariateRules`.
    time_ms
        Event time, ms since the epoch, UTC; may run backwards.
    values, present
        Readings in the sensors' units, and whether each is in the message; shape (:data:`WIDTH`,). Finite where present,
        at most 1e140 in size. A missing one keeps its smoothed deviation, and after ``stale_after`` messages is left out.

    Returns
    -------
    tuple of float and int
        Decimal places, and the column of the sensor with the largest smoothed deviation; −1 while nothing is scored.
    """
    if not _is_warm(state, rules):
        return 0.0, -1
    return _tested(state, _deviations(state, rules, time_ms, values, present), 1.0)


@njit(cache=True, nogil=True)
def shift_score(state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any) -> tuple[float, int]:
    """Return how improbable the machine's move away from its recent past is, and the sensor that moved most.

    As :func:`multivariate_score`, but of the difference between two smoothed means: both the onset of a fault and the return
    from it are changes, a lasting fault is none. It changes nothing.
    """
    if not _is_warm(state, rules):
        return 0.0, -1
    return _tested(state, _shifts(state, rules, time_ms, values, present), _shift_gain(rules))


@njit(cache=True, nogil=True)
def _smooth(state: Any, rules: MultivariateRules, kept: float, values: Any, present: Any) -> None:
    for i in range(WIDTH):
        state.slow[i] = _moved(kept * state.slow[i], rules.reference, state, rules, values, present, i)
        state.fast[i] = _deviation(state, rules, kept, values, present, i)


@njit(cache=True, nogil=True)
def _miss(state: Any, rules: MultivariateRules, present: Any) -> bool:
    """Count for how long each sensor is missing; return whether one has come back or has been missing for too long."""
    changed = False
    for i in range(WIDTH):
        before = int(state.absent[i])
        state.absent[i] = 0 if present[i] else min(before + 1, rules.stale_after)
        changed |= state.readings[i] > 0 and (before >= rules.stale_after) != (state.absent[i] >= rules.stale_after)
    return changed


@njit(cache=True, nogil=True)
def _forget(state: Any) -> None:
    """Make the state that of a machine of which nothing was seen."""
    state.seen = 0
    state.loud = 0
    state.in_block = 0
    for i in range(WIDTH):
        state.readings[i] = 0
        state.blocks[i] = 0
        state.block_readings[i] = 0
        state.mean[i] = 0.0
        state.scale[i] = 0.0
        state.block[i] = 0.0
        state.level[i] = 0.0
        state.drift[i] = 0.0
        state.fast[i] = 0.0
        state.slow[i] = 0.0
        for j in range(i + 1):
            state.covariance[i * (i + 1) // 2 + j] = 0.0


@njit(cache=True, nogil=True)
def _take(state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any, score: float) -> None:
    """Learn a message of which the score is known."""
    warm, quiet = _is_warm(state, rules), score <= rules.quiet
    if warm:
        _smooth(state, rules, _kept(state, rules, time_ms), values, present)
        state.loud = max(state.loud - 1, 0) if quiet else state.loud + 1
        if state.loud >= rules.accept_after:
            _forget(state)
            warm, quiet = False, True
    state.last_ms = max(state.last_ms, time_ms)
    stale = _miss(state, rules, present)
    if quiet:
        learn_moments(state, rules, values, present)
    ended = state.in_block >= BLOCK
    if ended:
        end_block(state, rules)
    if _is_warm(state, rules) and (ended or stale or not warm):
        refresh(state, rules)


@njit(cache=True, nogil=True)
def multivariate_learn(state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any) -> None:
    """Learn a message: always while warming up, then only while the machine is quiet, so that no fault becomes normal.

    A machine that is loud for so long that ``accept_after`` more messages were loud than quiet has a new normal: all is
    forgotten and it warms up again. Parameters as in :func:`multivariate_score`.
    """
    score, _ = multivariate_score(state, rules, time_ms, values, present)
    _take(state, rules, time_ms, values, present, score)


@njit(cache=True, nogil=True)
def multivariate_observe(
    state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any
) -> tuple[float, float, int]:
    """Score a message, then learn it; return (score, score of the shift, sensor that is most off)."""
    score, widest = multivariate_score(state, rules, time_ms, values, present)
    shift, _ = shift_score(state, rules, time_ms, values, present)
    _take(state, rules, time_ms, values, present, score)
    return score, shift, widest


@njit(cache=True, nogil=True)
def multivariate_inspect(
    state: Any, rules: MultivariateRules, time_ms: int, values: Any, present: Any, deviations: Any
) -> tuple[float, int, float, float]:
    """Score a message, then learn it; return (score, sensor that is most off, its expected value, its value).

    All as it was before the message was learned. The value of a sensor that is not in the message is what it was lately.

    Parameters
    ----------
    deviations
        Out, shape (:data:`WIDTH`,): the sensors' smoothed deviations, this message among them, in standard deviations.
    """
    score, widest = 0.0, -1
    expected = value = 0.0
    if _is_warm(state, rules):
        off = _deviations(state, rules, time_ms, values, present)
        score, widest = _tested(state, off, 1.0)
        for i in range(WIDTH):
            deviations[i] = off[i]
    if widest >= 0:
        expected = state.mean[widest]
        value = values[widest] if present[widest] else expected + deviations[widest] / state.scale[widest]
    _take(state, rules, time_ms, values, present, score)
    return score, widest, expected, value
