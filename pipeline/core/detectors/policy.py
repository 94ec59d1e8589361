"""From scores to alarms: a budget per machine and day, one alarm per episode, none again at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.core.compiling import njit, record
from pipeline.core.detectors.calibration import FIELDS, count, release, threshold

STATE = record([
    ("raised", np.int16),
    ("alarmed", np.int16),
    *FIELDS,
    ("calm", np.int32),
    ("alarm_ms", np.int64),
])  # fmt: skip
"""What the policy knows of one score (one detector of one sensor); zeros: nothing yet.

``raised``: an episode is going on; ``calm`` readings in a row were below the release. ``alarm_ms`` is the time of the last
alarm, of which there was one if ``alarmed``.
"""


class AlarmRules(NamedTuple):
    """When a score is an alarm.

    Parameters
    ----------
    budget
        False alarms per machine and day of operation; > 0.
    power
        The score to this power has an exponential tail or a heavier one: 1 for logarithms of probabilities, 2 for distances
        in standard deviations; > 0.
    initial
        Threshold until ``enough`` blocks were seen; a score, > 0.
    block
        Readings per block; ≥ 10.
    fading
        Weight of the newest block in what is learned, in (0, 1).
    enough
        Blocks; ≥ 10.
    trust
        Blocks after which the shape of the tail is believed half; ≥ 0.
    patience
        Blocks in a row with an alarm after which the score's new law is learned; ≥ 1.
    calm
        Readings in a row below the release that end an episode; ≥ 1.
    refractory_ms
        No new alarm so long after the last one, ms; ≥ 0.
    gap_ms
        Longer pauses do not count as operation, ms; > 0.
    """

    budget: float = 1.0
    power: float = 1.0
    initial: float = 20.0
    block: int = 60
    fading: float = 0.001
    enough: int = 30
    trust: float = 200.0
    patience: int = 24
    calm: int = 20
    refractory_ms: int = 600_000
    gap_ms: int = 600_000


_DEFAULTS = AlarmRules()


def fixed(threshold: float, rules: AlarmRules = _DEFAULTS) -> AlarmRules:
    """Return rules by which a threshold stays what it is, whatever the budget; the others are as given."""
    # So many blocks never come
    return rules._replace(initial=threshold, enough=2**31 - 1)


@njit(cache=True, nogil=True)
def _begins(state: Any, rules: Any, time_ms: int, score: float, limit: float) -> bool:
    """Move the episode on; return whether an alarm begins with this score."""
    if state.raised:
        state.calm = state.calm + 1 if score < release(state, rules) else 0
        if state.calm >= rules.calm:
            state.raised = 0
        return False
    if score <= limit or (state.alarmed and abs(time_ms - state.alarm_ms) < rules.refractory_ms):
        return False
    state.raised = 1
    state.alarmed = 1
    state.calm = 0
    state.alarm_ms = time_ms
    return True


@njit(cache=True, nogil=True)
def decide(state: Any, pool: Any, rules: Any, time_ms: int, score: float) -> bool:
    """Return whether an alarm begins with a score; call it for every reading, after scoring it.

    An episode begins above the threshold and ends when ``calm`` scores in a row were below the release, half-way down to
    the usual maximum of a block. An alarm that would begin within the refractory period begins at its end, if the score is
    still above the threshold then.

    Parameters
    ----------
    state
        A record of :data:`STATE`; changed in place.
    pool
        What is known of the machine's scores together, :data:`pipeline.core.detectors.pool.STATE`; changed in place.
    rules
        :class:`AlarmRules`.
    time_ms
        Event time, ms since the epoch, UTC; may stand still or step back.
    score
        Finite; its magnitude counts.
    """
    magnitude = abs(score)
    begins = _begins(state, rules, time_ms, magnitude, threshold(state, rules))
    count(state, pool, rules, time_ms, magnitude)
    return begins


@njit(cache=True, nogil=True)
def goes_on(state: Any, rules: Any, score: float) -> bool:
    """Return whether a reading is part of an episode: one began with it, or goes on and is not calm at the moment.

    To be called after :func:`decide`, with the same score.
    """
    return bool(state.raised and abs(score) >= release(state, rules))
