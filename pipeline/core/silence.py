"""Devices that have fallen silent, in event time: which of a partition's machines nothing came from while others went on.

A machine was *heard* at the time of its newest message, or at the watermark when the message came, if that is later: a device
whose clock is slow, or that sends what it kept while it was offline, is not silent. Whenever the watermark comes to another
:data:`LOOK_MS`, all machines are looked through; who was not heard for so long is silent, once, until the next message.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core import banks
from pipeline.core.compiling import njit, record, uncounted
from pipeline.core.windowing.watermark import BEGINNING_MS

SILENT = "device_silent"
"""Kind of the anomalies."""

LOOK_MS = 5_000
"""Event time from one look through all machines to the next, ms."""

HEARD = record([("heard_ms", np.int64), ("is_silent", np.int64)])
"""When a machine was heard, ms since the epoch, UTC (:data:`BEGINNING_MS`: never), and 1 if it was found silent since."""

FOUND_SILENT = record([("message", np.int64), ("machine", np.int64), ("layout", np.int64), ("silence_ms", np.int64)])
"""A machine that was found silent: at which message of the batch, its own newest message's layout, and for how long, ms."""


class SilenceMemory(NamedTuple):
    """What the kernel works on; ``ends`` are used places of ``found``, and the event time that was looked at last, ms."""

    heard: npt.NDArray[Any]
    found: npt.NDArray[Any]
    ends: npt.NDArray[np.int64]


@njit(cache=True, nogil=True, inline="always")
def hear(machine: Any, time_ms: int, ingest_ms: int, watermark_ms: int) -> None:
    """Note that a message came: its machine is not silent.

    Parameters
    ----------
    machine
        One of :data:`HEARD`; changed in place.
    time_ms, ingest_ms
        Time of the message at the device and at the broker, ms since the epoch, UTC.
    watermark_ms
        Watermark before it, ms since the epoch, UTC.
    """
    machine.heard_ms = max(machine.heard_ms, min(time_ms, ingest_ms), watermark_ms)
    machine.is_silent = 0


@uncounted
def look(memory: Any, watermark_ms: int, after_ms: int, message: int, counted: bool) -> None:
    """Find out who has fallen silent, if the watermark has come to another :data:`LOOK_MS`.

    Parameters
    ----------
    memory
        The fold's banks, :class:`pipeline.core.kernel.Memory`; changed in place.
    watermark_ms
        Watermark after the message, ms since the epoch, UTC.
    after_ms
        How long a machine has to be silent, ms; 0: none ever is.
    message
        Which message of the batch has moved the watermark.
    counted
        Whether the sink lacks what the message changes about machines.
    """
    step, silence = watermark_ms // LOOK_MS, memory.silence
    if after_ms <= 0 or step <= silence.ends[1]:
        return
    silence.ends[1] = step
    for row in range(memory.machines_used):
        machine = silence.heard[row]
        silence_ms = watermark_ms - machine.heard_ms
        if machine.is_silent == 0 and silence_ms >= after_ms and machine.heard_ms != BEGINNING_MS:
            machine.is_silent = 1
            memory.counts[row].silences += counted
            out = silence.found[silence.ends[0]]
            out.message, out.machine, out.silence_ms = message, row, silence_ms
            out.layout = memory.machines[row].layout
            silence.ends[0] += 1


class Silence:
    """When the machines of a partition were heard, and which of them are silent."""

    def __init__(self) -> None:
        self.heard = banks.Bank(HEARD)
        self._ends = np.array([0, BEGINNING_MS // LOOK_MS], np.int64)
        self._found = np.empty(0, FOUND_SILENT)

    def add_machines(self, machines: int) -> None:
        """Make room for so many more machines, which were never heard."""
        self.heard.extend(machines)["heard_ms"] = BEGINNING_MS

    def is_silent(self, row: int) -> bool:
        """Return whether a machine is silent."""
        return bool(self.heard.rows[row]["is_silent"])

    def memory(self, messages: int) -> SilenceMemory:
        """Return the arrays as the kernel takes them, with room for what so many messages can bring to light."""
        self._ends[0] = 0
        # To fall silent once more a machine has to send something in between
        self._found = np.empty(self.heard.used + messages, FOUND_SILENT)
        return SilenceMemory(self.heard.rows, self._found, self._ends)

    def take(self) -> npt.NDArray[np.void]:
        """Return who was found silent in the last batch, by message and machine, shape (n,) of :data:`FOUND_SILENT`."""
        return self._found[: self._ends[0]]

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy, as plain numbers and arrays."""
        return {"silence": self.heard.copy(), "silence_step": int(self._ends[1])}

    def load(self, arrays: Any) -> None:
        """Take over what :meth:`to_arrays` described."""
        self.heard.load(arrays["silence"])
        self._ends[1] = arrays["silence_step"]
