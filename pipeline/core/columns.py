"""Accepted messages as columns: what decoding makes of a batch, and everything behind it works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.facts import Fact
from pipeline.core.records import Shape


@dataclass(frozen=True, slots=True)
class Columns:
    """Accepted messages, column by column, in (offset, index) order; all of length n but ``values`` and ``facts``.

    Parameters
    ----------
    offsets, indexes
        Source position, and place in an array record (else 0).
    times_ms, ingest_ms
        Event time and the broker's time, ms since the epoch, UTC.
    seqs
        Device sequence numbers; -1: none.
    machine_types
        Empty in the reference lab's messages.
    sensors
        Names of each message's readings, in its order.
    shapes, numbers
        Machine, factory, machine type and sensors of each message; and the number of that shape, -1 if it was not known.
    values
        All readings, one message after the other.
    ends
        Where each message's readings end in ``values``.
    bodies
        n raw JSON objects.
    facts
        The accepted messages that are no telemetry, in the same order.
    """

    offsets: npt.NDArray[np.int64]
    indexes: npt.NDArray[np.int32]
    times_ms: npt.NDArray[np.int64]
    ingest_ms: npt.NDArray[np.int64]
    seqs: npt.NDArray[np.int64]
    machine_ids: list[str]
    factory_ids: list[str]
    machine_types: list[str]
    sensors: list[tuple[str, ...]]
    shapes: list[Shape]
    numbers: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    ends: npt.NDArray[np.int64]
    bodies: list[bytes]
    facts: list[Fact] = field(default_factory=list)

    def readings_of(self, message: int) -> dict[str, float]:
        """Return the readings of one message, by sensor."""
        begin, end = (int(self.ends[message - 1]) if message else 0), int(self.ends[message])
        return dict(zip(self.sensors[message], self.values[begin:end].tolist(), strict=True))

    def place_of(self, message: int) -> dict[str, Any]:
        """Return where one message stands, whose it is, and both its times: what is said of whatever is found in it."""
        return {
            "offset": int(self.offsets[message]),
            "index": int(self.indexes[message]),
            "machine_id": self.machine_ids[message],
            "factory_id": self.factory_ids[message],
            "time_ms": int(self.times_ms[message]),
            "ingest_ms": int(self.ingest_ms[message]),
        }
