"""After an alarm, quiet: lets a score through only if it tells more than the last one that was let through."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record

STATE = record([("bar", np.float64), ("age", np.int64)])
"""Of one sensor: the score that was let through last, and the readings since."""


class RefractoryRules(NamedTuple):
    """How long an alarm quietens the next ones.

    Parameters
    ----------
    quiet
        Readings after a score was let through in which only a higher one is; ≥ 0.
    """

    quiet: int = 60


@njit(cache=True, nogil=True)
def refractory(state: Any, rules: Any, score: float) -> float:
    """Return a reading's score if it is higher than the last one let through, or long after it; otherwise 0. Learn it.

    One fault raises the score many times: the first alarm tells of it, the next ones tell nothing new. It is to be called
    for every reading, in order. Which scores are alarms need not be known, so one pass serves every threshold: a reading
    that is let through at one threshold is at every lower one. It fails where a second fault follows the first within
    ``quiet`` readings and scores less.

    Parameters
    ----------
    state
        One record of :data:`STATE`; zeros at first.
    rules
        :class:`RefractoryRules`.
    score
        A detector's score, ≥ 0 and finite.
    """
    state.age += 1
    if score <= 0.0 or (state.age <= rules.quiet and score <= state.bar):
        return 0.0
    state.bar = score
    state.age = 0
    return score
