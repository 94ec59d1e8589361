"""The fold's inner loop: one pass over a batch's messages and readings, in numba.

Arrays in, arrays out; what each array means is said where it is made (:mod:`pipeline.core.state`, :mod:`pipeline.core.fold`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.banks import MEMORY
from pipeline.core.compiling import njit, record, uncounted
from pipeline.core.sequences import take_number
from pipeline.core.silence import SilenceMemory, hear, look
from pipeline.core.spikes import spike_learn, spike_score
from pipeline.core.windowing.cycles import CycleMemory, sweep, take_message, take_reading
from pipeline.core.windowing.watermark import advance
from pipeline.core.windowing.windows import add_reading, place

Array = npt.NDArray[Any]

FOUND = record(
    [("message", np.int64), ("reading", np.int64), ("slot", np.int32), ("expected", np.float64), ("score", np.float64)]
)
"""One flagged reading: its message and place in the batch, the expectation and the signed score."""


class Messages(NamedTuple):
    """The messages of a batch; all of shape (n,) but ``values``, which holds the readings one after the other."""

    layouts: Array
    offsets: Array
    indexes: Array
    times_ms: Array
    ingest_ms: Array
    seqs: Array
    ends: Array
    values: Array


class Layouts(NamedTuple):
    """Which machine and which sensor slots a message's shape stands for: slots ``[starts[i], starts[i + 1])``.

    ``factories`` is what is added to the numbers of its windows, so that those of a machine that moves are kept apart.
    """

    machines: Array
    factories: Array
    starts: Array
    slots: Array


class Memory(NamedTuple):
    """The banks a batch is folded into."""

    machines: Array
    counts: Array
    sent: Array
    sequences: Array
    sensors: Array
    slot_entries: Array
    merged_ms: Array
    entries: Array
    places: Array
    cycles: CycleMemory
    silence: SilenceMemory
    machines_used: int


class Rules(NamedTuple):
    """Plain numbers of the fold's settings."""

    window_ms: int
    delay_ms: int
    allowed_lateness_ms: int
    cycle_gap_ms: int
    silence_ms: int
    threshold: float
    fading: float
    warm_up: float


@njit(cache=True, nogil=True, inline="always")
def _is_duplicate(machine: Any, sent: Array, seq: int, time_ms: int) -> tuple[bool, bool]:
    """Return (sent before, older than the memory can tell)."""
    held = min(machine.remembered, MEMORY)
    if seq < 0 or held == 0 or time_ms > machine.last_seen_ms:
        return False, False
    oldest = time_ms
    for i in range(held):
        if sent[i].seq == seq and sent[i].time_ms == time_ms:
            return True, False
        oldest = min(oldest, sent[i].time_ms)
    return False, held == MEMORY and oldest == time_ms


@njit(cache=True, nogil=True, inline="always")
def _remember(machine: Any, sent: Array, seq: int, time_ms: int, offset: int) -> None:
    if seq >= 0:
        at = machine.remembered % MEMORY
        sent[at].seq = seq
        sent[at].time_ms = time_ms
        machine.remembered += 1
    if machine.last_offset < 0 or time_ms >= machine.last_seen_ms:
        machine.last_seen_ms = time_ms
        machine.last_offset = offset


@njit(cache=True, nogil=True, inline="always")
def _count(counts: Any, late: bool, very_late: bool, unverified: bool, missing: int) -> None:
    counts.messages += 1
    counts.late += late
    counts.very_late += very_late
    counts.unverified += unverified
    counts.missing += missing


@njit(cache=True, nogil=True, inline="always")
def _keep_last(sensor: Any, value: float, time_ms: int, offset: int, index: int) -> None:
    if sensor.known == 0 or (time_ms, offset, index) >= (sensor.last_time_ms, sensor.last_offset, sensor.last_index):
        sensor.known = 1
        sensor.last = value
        sensor.last_time_ms = time_ms
        sensor.last_offset = offset
        sensor.last_index = index


@njit(cache=True, nogil=True, inline="always")
def _score_then_learn(sensor: Any, value: float, rules: Any) -> tuple[float, float]:
    """Return (expectation, signed score) of a reading that the sensor's model has not seen; then learn it."""
    expected = sensor.mean
    score = spike_score(expected, sensor.variance, sensor.seen, value, rules.warm_up)
    sensor.mean, sensor.variance, sensor.seen, sensor.streak = spike_learn(
        expected, sensor.variance, sensor.seen, sensor.streak, value, score, rules.threshold, rules.fading
    )
    return expected, score


@njit(cache=True, nogil=True, inline="always")
def _entry_of(memory: Any, used: int, slot: int, window: int) -> tuple[int, int]:
    """Return (entry, used) for a slot's window; neighbouring readings mostly fall into the window used last."""
    entries = memory.entries
    entry = memory.slot_entries[slot]
    if entry >= 0 and entries[entry].window == window:
        return entry, used
    entry = place(memory.places, entries, used, slot, window)
    if entry == used:
        used += 1
        new = entries[entry]
        new.window = window
        new.slot = slot
        new.count = 0
        new.late = 0
        new.very_late = 0
        new.mean = 0.0
        new.m2 = 0.0
        new.min = np.inf
        new.max = -np.inf
        new.last_time_ms = np.iinfo(np.int64).min
        new.last_offset = -1
        new.last_index = -1
    memory.slot_entries[slot] = entry
    return entry, used


@uncounted
def _fold_readings(
    messages: Any,
    layouts: Any,
    memory: Any,
    rules: Any,
    i: int,
    begin: int,
    counted: bool,
    late: bool,
    very_late: bool,
    is_open: bool,
    used: int,
    flagged: int,
    found: Array,
) -> tuple[int, int]:
    """Fold the readings of message ``i``, the first of which is reading ``begin``; return (used entries, number found)."""
    offset, index, time_ms = messages.offsets[i], messages.indexes[i], messages.times_ms[i]
    layout = messages.layouts[i]
    window = time_ms // rules.window_ms + layouts.factories[layout]
    base = layouts.starts[layout] - begin
    emits = counted and rules.cycle_gap_ms > 0
    for r in range(begin, messages.ends[i]):
        slot, value = layouts.slots[base + r], messages.values[r]
        sensor = memory.sensors[slot]
        expected, score = _score_then_learn(sensor, value, rules)
        if abs(score) > rules.threshold:
            hit = found[flagged]
            hit.message, hit.reading, hit.slot, hit.expected, hit.score = i, r, slot, expected, score
            flagged += 1
        _keep_last(sensor, value, time_ms, offset, index)
        if counted:
            entry, used = _entry_of(memory, used, slot, window)
            add_reading(memory.entries[entry], value, time_ms, offset, index, late, very_late)
        else:
            memory.merged_ms[slot] = max(memory.merged_ms[slot], time_ms)
        take_reading(memory.cycles, slot, value, time_ms, is_open, emits)
    return used, flagged


@njit(cache=True, nogil=True, inline="always")
def _pass_time(memory: Any, rules: Any, watermark_ms: int, i: int, counted: bool) -> None:
    """Close cycles and find silent machines up to the watermark, which message ``i`` has moved."""
    if rules.cycle_gap_ms > 0:
        sweep(
            memory.cycles,
            memory.machines,
            memory.machines_used,
            watermark_ms,
            rules.cycle_gap_ms,
            counted,
            i,
        )
    look(memory, watermark_ms, rules.silence_ms, i, counted)


@uncounted
def pass_time(memory: Any, rules: Any, watermark_ms: int, at_ms: int, counted: bool) -> int:
    """Do what a message of no machine would do, measured and received at a moment; return the watermark after it.

    Parameters
    ----------
    watermark_ms, at_ms
        Watermark before, and the moment; ms since the epoch, UTC.
    counted
        Whether the sink lacks what this changes about cycles and machines.
    """
    watermark_ms = advance(watermark_ms, at_ms, at_ms, rules.delay_ms)
    _pass_time(memory, rules, watermark_ms, 0, counted)
    return watermark_ms


@uncounted
def fold_messages(
    messages: Any,
    layouts: Any,
    memory: Any,
    rules: Any,
    watermark_ms: int,
    used: int,
    windows_from: int,
    kept: Array,
    found: Array,
) -> tuple[int, int, int]:
    """Fold a batch into the banks; fill ``kept`` and ``found``; return (watermark, used entries, number found).

    Parameters
    ----------
    watermark_ms
        Before the batch, ms since the epoch, UTC.
    used
        Entries of the window deltas in use.
    windows_from
        The windows mark: messages before it were merged already and count into no delta.
    kept
        Out, shape (n,): whether the message was no duplicate.
    found
        Out, shape (readings,) of :data:`FOUND`: the flagged readings, in order.
    """
    flagged = first = 0
    for i in range(len(messages.offsets)):
        layout, offset, time_ms = messages.layouts[i], messages.offsets[i], messages.times_ms[i]
        row = layouts.machines[layout]
        machine, counts = memory.machines[row], memory.counts[row]
        counted, begin, first = offset >= windows_from, first, messages.ends[i]
        duplicate, unverified = _is_duplicate(machine, memory.sent[row], messages.seqs[i], time_ms)
        kept[i] = not duplicate
        if duplicate:
            counts.duplicates += counted
            continue
        machine.layout = layout
        _remember(machine, memory.sent[row], messages.seqs[i], time_ms, offset)
        missing = take_number(memory.sequences[row], messages.seqs[i], time_ms, unverified)
        end_ms = (time_ms // rules.window_ms + 1) * rules.window_ms
        late, very_late = end_ms <= watermark_ms, end_ms + rules.allowed_lateness_ms <= watermark_ms
        if counted:
            _count(counts, late, very_late, unverified, missing)
        hear(memory.silence.heard[row], time_ms, messages.ingest_ms[i], watermark_ms)
        gap_ms = rules.cycle_gap_ms
        is_open = gap_ms > 0 and take_message(memory.cycles, memory.machines, row, time_ms, gap_ms, counted, i)
        used, flagged = _fold_readings(
            messages, layouts, memory, rules, i, begin, counted, late, very_late, is_open, used, flagged, found
        )
        watermark_ms = advance(watermark_ms, time_ms, messages.ingest_ms[i], rules.delay_ms)
        _pass_time(memory, rules, watermark_ms, i, counted)
    return watermark_ms, used, flagged
