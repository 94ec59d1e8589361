"""The range that a number has kept to, and how unusual it is that a new one falls outside."""

from __future__ import annotations

import math

from pipeline.core.compiling import njit

# What the first move of a number is worth that never moved before
_FIRST_MOVE = 10.0
_HIGHEST = 1e290
_TINY = 1e-300


@njit(cache=True, nogil=True)
def outside(low: float, high: float, number: float) -> float:
    """Return how far a number is outside a range; 0 if it is inside."""
    return max(number - high, low - number, 0.0)


@njit(cache=True, nogil=True)
def outlyingness(low: float, high: float, step: float, age: int, number: float, share: float) -> float:
    """Return how unusual it is that a number leaves its range: ≥ 0, finite, 0 inside.

    It grows with how far, and with the root of how long the number had kept to the range. No time is set after which
    leaving counts in full, so that fast and slow numbers are measured alike.

    Parameters
    ----------
    low, high, step
        The range and the usual step out of it, in the number's unit.
    age
        Readings since the range was last left, ≥ 0.
    share
        Part of the range's width that the distance from it is measured by, ≥ 0; beside it counts the usual step.

    Examples
    --------
    >>> outlyingness(0.0, 10.0, 1.0, 1, 14.0, 0.1)
    2.0
    >>> outlyingness(0.0, 10.0, 1.0, 100, 14.0, 0.1)
    20.0
    """
    excess = outside(low, high, number)
    if excess == 0.0:
        return 0.0
    ratio = _FIRST_MOVE
    if high > low:
        ratio = min(excess / max(share * (high - low) + step, _TINY), _HIGHEST)
    return ratio * math.sqrt(age)


@njit(cache=True, nogil=True)
def take_in(
    low: float, high: float, step: float, number: float, decay: float, step_rate: float
) -> tuple[float, float, float]:
    """Return (low, high, step) after the range shrank about its middle and took a number in.

    Parameters
    ----------
    decay
        Part of its width by which the range shrinks, in [0, 1).
    step_rate
        Weight of the newest step out of the range in the usual one, in (0, 1). One step counts as half a width
        at most, so that a wild one does not hide the next.
    """
    excess = outside(low, high, number)
    half = 0.5 * (high - low)
    if excess > 0.0:
        step += step_rate * (min(excess, half) - step)
    middle = low + half
    half *= 1.0 - decay
    return min(middle - half, number), max(middle + half, number), step
