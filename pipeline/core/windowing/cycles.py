"""Operating cycles: session windows per machine, found piece by piece.

A cycle is a connected component of a machine's message times, where times at most a gap apart are connected. So pieces of
cycles (*fragments*) are a commutative monoid: however the messages are shared out to fragments, joining all that lie no
further apart than the gap gives the same cycles. The state holds one open fragment of each machine; the sink joins what is
closed with what it has.

A fragment is closed by a message beyond its gap, by one that would make it longer than :data:`LONGEST_MS`, and at every
minute of event time if the watermark has left it behind. A message from before the open fragment is one of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core import banks
from pipeline.core.compiling import njit, record, uncounted
from pipeline.core.windowing.fragments import FRAGMENT, FRAGMENT_READINGS, STATISTICS, Closed, join
from pipeline.core.windowing.moments import beginnings, endings
from pipeline.core.windowing.watermark import BEGINNING_MS

LONGEST_MS = 300_000
"""What of a cycle that goes on is closed after so long, ms of event time, so that a cycle without an end is seen."""

SWEEP_MS = 60_000
"""Event time from one look for fragments that the watermark has left behind to the next, ms."""

OPEN = record([("started_ms", np.int64), ("ended_ms", np.int64), ("messages", np.int64), ("first_slot", np.int32)])
"""A machine's open fragment, if it has messages; ``first_slot`` begins the list of all its sensors."""

OPEN_READINGS = record([*STATISTICS, ("next_slot", np.int32)])
"""A sensor in its machine's open fragment, if it has readings; ``next_slot`` is the machine's next sensor, -1: none."""


ENDED = record(
    [
        ("message", np.int64),
        ("machine", np.int32),
        ("layout", np.int32),
        ("started_ms", np.int64),
        ("ended_ms", np.int64),
        ("end", np.int64),
    ]
)
"""A fragment that a batch closed, by which of its messages; its readings go up to ``end``.

``layout`` is that of the machine's newest message.
"""

ENDED_READINGS = record([("slot", np.int32), ("mean", np.float64), ("max", np.float64)])
"""A sensor in a fragment that a batch closed."""


class CycleMemory(NamedTuple):
    """What the kernel works on.

    Parameters
    ----------
    closed, closed_readings
        Fragments since the last merge that the sink lacks.
    ended, ended_readings
        Fragments that this batch closed, in the order in which it did, whatever the sink has; of length 0: nobody asks.
    ends
        Used fragments, used readings, the minute that was looked at last (ms), used of what ended, and of its readings.
    """

    open: npt.NDArray[Any]
    readings: npt.NDArray[Any]
    closed: npt.NDArray[Any]
    closed_readings: npt.NDArray[Any]
    ended: npt.NDArray[Any]
    ended_readings: npt.NDArray[Any]
    ends: npt.NDArray[np.int64]


@uncounted
def _tell(memory: Any, machines: Any, row: int, message: int) -> None:
    """Note that a machine's fragment ends by a message."""
    fragment = memory.open[row]
    at, end = memory.ends[3], memory.ends[4]
    slot = fragment.first_slot
    while slot >= 0:
        sensor = memory.readings[slot]
        if sensor.count > 0:
            out = memory.ended_readings[end]
            out.slot, out.mean, out.max = slot, sensor.mean, sensor.max
            end += 1
        slot = sensor.next_slot
    out = memory.ended[at]
    out.message, out.machine, out.layout, out.end = message, row, machines[row].layout, end
    out.started_ms, out.ended_ms = fragment.started_ms, fragment.ended_ms
    memory.ends[3], memory.ends[4] = at + 1, end


@uncounted
def _close(memory: Any, machines: Any, row: int, emits: bool, goes_on: bool, message: int) -> None:
    """Close a machine's fragment; what the sink has already is forgotten."""
    fragment = memory.open[row]
    if len(memory.ended):
        _tell(memory, machines, row, message)
    at, end = memory.ends[0], memory.ends[1]
    slot = fragment.first_slot
    while slot >= 0:
        sensor = memory.readings[slot]
        if sensor.count > 0:
            if emits:
                out = memory.closed_readings[end]
                out.count, out.mean, out.m2, out.min, out.max = (
                    sensor.count, sensor.mean, sensor.m2, sensor.min, sensor.max,
                )  # fmt: skip
                out.last_time_ms, out.slot, out.fragment = sensor.last_time_ms, slot, at
                end += 1
            sensor.count = 0
        slot = sensor.next_slot
    if emits:
        closed = memory.closed[at]
        closed.machine, closed.started_ms, closed.ended_ms = row, fragment.started_ms, fragment.ended_ms
        closed.messages, closed.goes_on = fragment.messages, goes_on
        memory.ends[0], memory.ends[1] = at + 1, end
    fragment.messages = 0


@uncounted
def take_message(memory: Any, machines: Any, row: int, time_ms: int, gap_ms: int, emits: bool, message: int) -> bool:
    """Let a message have its fragment; return whether that is the open one, else it is a closed one of its own.

    Parameters
    ----------
    emits
        Whether the sink lacks what is closed by this message.
    message
        Which of the batch's it is.
    """
    fragment = memory.open[row]
    if fragment.messages > 0 and time_ms < fragment.started_ms - gap_ms:
        if emits:
            closed = memory.closed[memory.ends[0]]
            closed.machine, closed.started_ms, closed.ended_ms, closed.messages = row, time_ms, time_ms, 1
            closed.goes_on = False
            memory.ends[0] += 1
        return False
    if fragment.messages > 0 and time_ms >= fragment.ended_ms:
        goes_on = time_ms <= fragment.ended_ms + gap_ms
        if not goes_on or time_ms - fragment.started_ms >= LONGEST_MS:
            _close(memory, machines, row, emits, goes_on, message)
    if fragment.messages == 0:
        fragment.started_ms = fragment.ended_ms = time_ms
    fragment.started_ms = min(fragment.started_ms, time_ms)
    fragment.ended_ms = max(fragment.ended_ms, time_ms)
    fragment.messages += 1
    return True


@njit(cache=True, nogil=True, inline="always")
def take_reading(memory: Any, slot: int, value: float, time_ms: int, is_open: bool, emits: bool) -> None:
    """Add a reading to the fragment that its message has."""
    if is_open:
        sensor = memory.readings[slot]
        if sensor.count == 0:
            sensor.mean = sensor.m2 = 0.0
            sensor.min, sensor.max, sensor.last_time_ms = value, value, time_ms
        sensor.count += 1
        step = value - sensor.mean
        sensor.mean += step / sensor.count
        sensor.m2 += step * (value - sensor.mean)
        sensor.min = min(sensor.min, value)
        sensor.max = max(sensor.max, value)
        sensor.last_time_ms = max(sensor.last_time_ms, time_ms)
    elif emits:
        out = memory.closed_readings[memory.ends[1]]
        out.count, out.mean, out.m2, out.min, out.max = 1, value, 0.0, value, value
        out.last_time_ms, out.slot, out.fragment = time_ms, slot, memory.ends[0] - 1
        memory.ends[1] += 1


@uncounted
def _sweep_to(memory: Any, machines: Any, used: int, minute_ms: int, gap_ms: int, emits: bool, message: int) -> None:
    memory.ends[2] = minute_ms
    for row in range(used):
        fragment = memory.open[row]
        if fragment.messages > 0 and fragment.ended_ms + gap_ms < minute_ms:
            _close(memory, machines, row, emits, False, message)


@njit(cache=True, nogil=True, inline="always")
def sweep(memory: Any, machines: Any, used: int, watermark_ms: int, gap_ms: int, emits: bool, message: int) -> None:
    """Close what the watermark has left behind, if a message took it to another minute."""
    minute_ms = watermark_ms // SWEEP_MS * SWEEP_MS
    if minute_ms > memory.ends[2]:
        _sweep_to(memory, machines, used, minute_ms, gap_ms, emits, message)


class Cycles:
    """The open fragments of a partition's machines, and the closed ones since the last merge into the sink."""

    def __init__(self) -> None:
        self.open = banks.Bank(OPEN)
        self.readings = banks.Bank(OPEN_READINGS)
        self._closed = np.zeros(64, FRAGMENT)
        self._closed_readings = np.zeros(64, FRAGMENT_READINGS)
        self._ended = np.zeros(0, ENDED)
        self._ended_readings = np.zeros(0, ENDED_READINGS)
        self._ends = np.array([0, 0, BEGINNING_MS, 0, 0], np.int64)

    @property
    def swept_ms(self) -> int:
        """The minute of event time up to which fragments were looked through, ms since the epoch, UTC."""
        return int(self._ends[2])

    def add_machines(self, machines: int) -> None:
        """Make room for so many more machines."""
        self.open.extend(machines)["first_slot"] = -1

    def add_slots(self, owners: npt.NDArray[np.int32]) -> None:
        """Make room for more sensors; their machines, shape (n,), have rows here."""
        order = np.argsort(owners, kind="stable")
        slots, machines = self.readings.used + order, owners[order]
        first = beginnings(machines)
        # Each sensor is put before those that its machine had
        following = np.append(-1, slots[:-1])
        following[first] = self.open.rows["first_slot"][machines[first]]
        self.readings.extend(len(owners))["next_slot"][order] = following
        last = endings(first, len(owners))
        self.open.rows["first_slot"][machines[last]] = slots[last]

    def memory(self, messages: int, readings: int, *, tells: bool = False) -> CycleMemory:
        """Return the arrays as the kernel takes them, with room for what so many messages and readings can close.

        Parameters
        ----------
        tells
            Whether :meth:`ended` will be asked for.
        """
        most, most_readings = self.open.used + messages, self.readings.used + readings
        self._closed = _with_room(self._closed, int(self._ends[0]), most)
        self._closed_readings = _with_room(self._closed_readings, int(self._ends[1]), most_readings)
        if tells:
            self._ended = _with_room(self._ended, 0, most)
            self._ended_readings = _with_room(self._ended_readings, 0, most_readings)
        self._ends[3:] = 0
        return CycleMemory(
            self.open.rows,
            self.readings.rows,
            self._closed,
            self._closed_readings,
            self._ended if tells else self._ended[:0],
            self._ended_readings,
            self._ends,
        )

    def ended(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Return what was closed since :meth:`memory` was called, of :data:`ENDED` and :data:`ENDED_READINGS`.

        A fragment that came too late, and was closed by the message that it consists of, is not among them.
        """
        return self._ended[: self._ends[3]], self._ended_readings[: self._ends[4]]

    def take(self, gap_ms: int) -> Closed:
        """Return what was closed, joined, and begin anew."""
        fragments, readings = int(self._ends[0]), int(self._ends[1])
        self._ends[:2] = 0
        return join(self._closed[:fragments], self._closed_readings[:readings], gap_ms)

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what is open, as plain numbers and arrays."""
        return {"swept_ms": self.swept_ms, "cycles": self.open.copy(), "cycle_readings": self.readings.copy()}

    def load(self, arrays: Any) -> None:
        """Take over what :meth:`to_arrays` described."""
        self.open.load(arrays["cycles"])
        self.readings.load(arrays["cycle_readings"])
        self._ends[2] = arrays["swept_ms"]


def _with_room(rows: npt.NDArray[Any], used: int, more: int) -> npt.NDArray[Any]:
    if used + more <= len(rows):
        return rows
    grown = np.zeros(1 << (used + more - 1).bit_length(), rows.dtype)
    grown[:used] = rows[:used]
    return grown
