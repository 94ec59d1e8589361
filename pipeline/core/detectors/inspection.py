"""One pass over a batch's readings with all detectors, in numba.

Arrays in, arrays out; what each array means is said where it is made (:mod:`pipeline.core.detectors.bank`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit, record, uncounted
from pipeline.core.detectors.changes import change_observe
from pipeline.core.detectors.machine_state import WIDTH
from pipeline.core.detectors.mixture import mixture_observe
from pipeline.core.detectors.multivariate import multivariate_inspect
from pipeline.core.detectors.novelty import quiet_novelty_observe
from pipeline.core.detectors.policy import decide, goes_on
from pipeline.core.detectors.stuck import stuck_observe

Array = npt.NDArray[Any]

FOUND = record(
    [
        ("message", np.int64),
        ("slot", np.int32),
        ("detector", np.int32),
        ("version", np.int64),
        ("value", np.float64),
        ("expected", np.float64),
        ("score", np.float64),
        ("deviations", np.float64, (WIDTH,)),
    ]
)
"""One alarm: its message in the batch, the sensor, who found it, the value and the expectation, and the score, ≥ 0.

``deviations`` are those of the machine's sensors by column, in standard deviations, where a machine as a whole is odd.
"""


class Part(NamedTuple):
    """One detector's rows: which one is whose, with which variant, what they know, and the variants' parameters."""

    rows: Array
    variants: Array
    states: Array
    policies: Array
    rules: Array
    alarms: Array
    versions: Array


class Parts(NamedTuple):
    """All detectors, and what they share: the pool of each machine, and the place of sensors in machines.

    ``pools``, shape (machines,), are records of :data:`pipeline.core.detectors.pool.STATE`.
    ``columns`` has a sensor's place among those of its machine, ``sensors`` the other way round, shape (machines, width);
    ``values`` and ``present``, shape (width,), are room for one message; ``scores`` and ``odd``, shape (detectors,), for the
    newest score of each detector by its number, and whether it belongs to an anomaly.
    """

    change: Part
    stuck: Part
    novelty: Part
    mixture: Part
    multivariate: Part
    pools: Array
    columns: Array
    sensors: Array
    values: Array
    present: Array
    scores: Array
    odd: Array


@njit(cache=True, nogil=True)
def _is_alarm(parts: Any, part: Any, number: int, row: int, machine: int, time_ms: int, score: float) -> bool:
    """Let the policy of a row see its score, within what its machine may have of alarms."""
    policy, rules = part.policies[row], part.alarms[part.variants[row]]
    begins = decide(policy, parts.pools[machine], rules, time_ms, score)
    parts.scores[number], parts.odd[number] = abs(score), goes_on(policy, rules, score)
    return bool(begins)


@njit(cache=True, nogil=True)
def _report(hit: Any, part: Any, row: int, number: int, message: int, slot: int) -> None:
    hit.message, hit.slot = message, slot
    hit.detector, hit.version = number, part.versions[part.variants[row]]


@uncounted
def inspect_reading(
    parts: Any, machine: int, message: int, slot: int, time_ms: int, value: float, found: Any, flagged: int
) -> int:
    """Show a reading to the detectors of its sensor; fill ``scores`` and ``found``; return the number found."""
    row = parts.change.rows[slot]
    if row >= 0:
        part, hit = parts.change, found[flagged]
        score, expected = change_observe(part.states[row], part.rules[part.variants[row]], time_ms, value)
        if _is_alarm(parts, part, 0, row, machine, time_ms, score):
            _report(hit, part, row, 0, message, slot)
            hit.value, hit.expected, hit.score = value, expected, abs(score)
            flagged += 1
    row = parts.stuck.rows[slot]
    if row >= 0:
        part, hit = parts.stuck, found[flagged]
        score, expected = stuck_observe(part.states[row], part.rules[part.variants[row]], time_ms, value)
        if _is_alarm(parts, part, 1, row, machine, time_ms, score):
            _report(hit, part, row, 1, message, slot)
            hit.value, hit.expected, hit.score = value, expected, score
            flagged += 1
    row = parts.novelty.rows[slot]
    if row >= 0:
        part, hit = parts.novelty, found[flagged]
        score, expected = quiet_novelty_observe(part.states[row], part.rules[part.variants[row]], time_ms, value)
        if _is_alarm(parts, part, 2, row, machine, time_ms, score):
            _report(hit, part, row, 2, message, slot)
            hit.value, hit.expected, hit.score = value, expected, score
            flagged += 1
    row = parts.mixture.rows[slot]
    if row >= 0:
        part, hit = parts.mixture, found[flagged]
        score, expected = mixture_observe(part.states[row], part.rules[part.variants[row]], time_ms, value)
        parts.scores[3], parts.odd[3] = score, score > part.alarms[part.variants[row]].initial
        if parts.odd[3]:
            _report(hit, part, row, 3, message, slot)
            hit.value, hit.expected, hit.score = value, expected, score
            flagged += 1
    return flagged


@uncounted
def inspect_machine(parts: Any, machine: int, message: int, time_ms: int, found: Any, flagged: int) -> int:
    """Show the message that is in ``values`` to the detectors of its machine, likewise; return the number found."""
    row = parts.multivariate.rows[machine]
    if row >= 0:
        part, hit = parts.multivariate, found[flagged]
        score, column, expected, value = multivariate_inspect(
            part.states[row], part.rules[part.variants[row]], time_ms, parts.values, parts.present, hit.deviations
        )
        if _is_alarm(parts, part, 4, row, machine, time_ms, score) and column >= 0:
            _report(hit, part, row, 4, message, parts.sensors[machine, column])
            hit.value, hit.expected, hit.score = value, expected, score
            flagged += 1
    return flagged


@njit(cache=True, nogil=True)
def lay_out(values: Any, slots: Any, begin: int, end: int, parts: Any) -> None:
    """Put readings ``begin`` to ``end`` of one message into the columns of its machine; ``slots`` are those of the first on."""
    for column in range(WIDTH):
        parts.present[column] = False
    for r in range(begin, end):
        column = parts.columns[slots[r - begin]]
        if column < WIDTH:
            parts.values[column], parts.present[column] = values[r], True


@uncounted
def inspect(messages: Any, kept: Any, layouts: Any, parts: Any, found: Any) -> int:
    """Show a batch to all detectors; fill ``found``; return the number found.

    Parameters
    ----------
    kept
        Whether each message was no duplicate; shape (n,).
    found
        Out, of :data:`FOUND`; as long as all alarms that there can be.
    """
    flagged = first = 0
    for i in range(len(messages.offsets)):
        begin, first = first, messages.ends[i]
        if not kept[i]:
            continue
        layout, time_ms = messages.layouts[i], messages.times_ms[i]
        machine, slots = layouts.machines[layout], layouts.slots[layouts.starts[layout] :]
        for r in range(begin, messages.ends[i]):
            slot, value = slots[r - begin], messages.values[r]
            flagged = inspect_reading(parts, machine, i, slot, time_ms, value, found, flagged)
        lay_out(messages.values, slots, begin, messages.ends[i], parts)
        flagged = inspect_machine(parts, machine, i, time_ms, found, flagged)
    return flagged
