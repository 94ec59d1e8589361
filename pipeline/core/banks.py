"""The state of all machines and sensors of one partition, as arrays of records that kernels work on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import record

MEMORY = 64
"""Messages per machine that duplicates are looked for in."""

MACHINE = record(
    [
        ("last_seen_ms", np.int64),
        ("last_offset", np.int64),
        ("remembered", np.int64),
        ("layout", np.int32),
    ]
)
"""``remembered`` counts the messages that went into the memory of duplicates; ``layout`` is the newest message's."""

MACHINE_COUNTS = record(
    [
        ("messages", np.int64),
        ("duplicates", np.int64),
        ("late", np.int64),
        ("very_late", np.int64),
        ("unverified", np.int64),
        ("missing", np.int64),
        ("silences", np.int64),
    ]
)
"""What a machine did since the last merge into the sink; ``silences``: how often it fell silent."""

SENT = record([("seq", np.int64), ("time_ms", np.int64)])
"""One remembered message of a device."""

SENSOR = record(
    [
        ("machine", np.int32),
        ("streak", np.int32),
        ("seen", np.int64),
        ("mean", np.float64),
        ("variance", np.float64),
        ("last", np.float64),
        ("last_time_ms", np.int64),
        ("last_offset", np.int64),
        ("last_index", np.int32),
        ("known", np.int32),
    ]
)
"""Last reading and spike statistics of one sensor; ``known`` is 1 once it had a reading."""


class Bank:
    """An array of fixed-width records that grows by doubling.

    Parameters
    ----------
    dtype
        The record.
    width
        Records per row; 1 gives a flat array.
    """

    def __init__(self, dtype: np.dtype[Any], width: int = 1, capacity: int = 64) -> None:
        self._shape: tuple[int, ...] = () if width == 1 else (width,)
        self.rows = np.zeros((capacity, *self._shape), dtype)
        self.used = 0

    def extend(self, rows: int) -> npt.NDArray[Any]:
        """Add rows of zeros and return them, to be filled; the array of all rows may be another one afterwards."""
        first = self.used
        self.used += rows
        if self.used > len(self.rows):
            grown = np.zeros((1 << (self.used - 1).bit_length(), *self._shape), self.rows.dtype)
            grown[:first] = self.rows[:first]
            self.rows = grown
        return self.rows[first : self.used]

    def copy(self) -> npt.NDArray[Any]:
        """Return the used rows as an array of their own."""
        return self.rows[: self.used].copy()

    def load(self, rows: npt.NDArray[Any]) -> None:
        """Take over rows that :meth:`copy` gave."""
        capacity = max(64, len(rows))
        self.rows = np.zeros((capacity, *self._shape), self.rows.dtype)
        self.rows[: len(rows)] = rows
        self.used = len(rows)
