"""Tumbling windows: which one a reading belongs to, and the deltas that wait to be merged into the sink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit, record, uncounted

BASE_MS = 30_000
"""Length of the windows that are kept, ms; every longer one is some of them together."""

FACTORY_MS = 60_000
"""Length of the windows of whole factories, ms."""

FACTORY_STEP = 2**43
"""What the numbers of one factory's windows are apart from the next one's while deltas wait: no window's number is as great."""

DELTA = record(
    [
        ("window", np.int64),
        ("slot", np.int32),
        ("last_index", np.int32),
        ("count", np.int64),
        ("late", np.int64),
        ("very_late", np.int64),
        ("mean", np.float64),
        ("m2", np.float64),
        ("min", np.float64),
        ("max", np.float64),
        ("last", np.float64),
        ("last_time_ms", np.int64),
        ("last_offset", np.int64),
    ]
)
"""One window's aggregate since the last merge: a commutative monoid, so deltas merge in any order."""


# As signed numbers, which wrap around where they are compiled; the lower bits are those of whole ones
_SLOT_FACTOR, _WINDOW_FACTOR = 0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows that tile time: window ``i`` covers ``[i * size_ms, (i + 1) * size_ms)``.

    Parameters
    ----------
    size_ms
        Length, ms; > 0.
    """

    size_ms: int = BASE_MS

    def assign(self, at_ms: int) -> int:
        """Return the id of the window that contains an instant (ms since the epoch, UTC).

        Examples
        --------
        >>> Tumbling(60_000).assign(119_999), Tumbling(60_000).assign(120_000)
        (1, 2)
        """
        return at_ms // self.size_ms

    def start_ms(self, window: int) -> int:
        """Return the first instant of a window, ms since the epoch, UTC."""
        return window * self.size_ms


@njit(cache=True, nogil=True, inline="always")
def home(slot: int, window: int, mask: int) -> int:
    """Return where the search for a key begins in a hash table of ``mask + 1`` places."""
    mixed = int(slot) * _SLOT_FACTOR ^ int(window) * _WINDOW_FACTOR
    return (mixed >> 17) & mask


@uncounted
def place(places: npt.NDArray[np.int32], entries: npt.NDArray[np.void], used: int, slot: int, window: int) -> int:
    """Return the entry of (slot, window); ``used`` itself if it is new, then its place is taken."""
    mask = len(places) - 1
    at = home(slot, window, mask)
    while True:
        entry = places[at]
        if entry < 0:
            places[at] = used
            return used
        if entries[entry].slot == slot and entries[entry].window == window:
            return int(entry)
        at = (at + 1) & mask


@njit(cache=True, nogil=True)
def _replace_all(places: npt.NDArray[np.int32], entries: npt.NDArray[np.void], used: int) -> None:
    for entry in range(used):
        place(places, entries, entry, entries[entry].slot, entries[entry].window)


@njit(cache=True, nogil=True, inline="always")
def add_reading(entry: Any, value: float, at_ms: int, offset: int, index: int, late: bool, very_late: bool) -> None:
    """Add one reading to an aggregate (Welford 1962), keeping the last by (time, offset, index)."""
    entry.count += 1
    step = value - entry.mean
    entry.mean += step / entry.count
    entry.m2 += step * (value - entry.mean)
    entry.min = min(entry.min, value)
    entry.max = max(entry.max, value)
    entry.late += late
    entry.very_late += very_late
    if (at_ms, offset, index) >= (entry.last_time_ms, entry.last_offset, entry.last_index):
        entry.last = value
        entry.last_time_ms = at_ms
        entry.last_offset = offset
        entry.last_index = index


class WindowDeltas:
    """The aggregates of (slot, window) since the last merge into the sink.

    A hash table with open addressing over an array of entries, both of fixed width, so that the fold's kernel works on
    them without touching Python. The size follows what one merge interval brings, not how many windows ever were.

    Parameters
    ----------
    dtype
        The entries, with ``slot`` and ``window`` among their fields.
    """

    def __init__(self, capacity: int = 1024, dtype: np.dtype[Any] = DELTA) -> None:
        self.entries: npt.NDArray[Any] = np.zeros(capacity, dtype)
        self.places = np.full(4 * capacity, -1, np.int32)
        self.used = 0

    def reserve(self, more: int) -> None:
        """Make room for ``more`` new entries, so that the kernel need not grow anything."""
        needed = self.used + more
        if needed <= len(self.entries):
            return
        capacity = 1 << (needed - 1).bit_length()
        entries: npt.NDArray[Any] = np.zeros(capacity, self.entries.dtype)
        entries[: self.used] = self.entries[: self.used]
        self.entries = entries
        self.places = np.full(4 * capacity, -1, np.int32)
        _replace_all(self.places, self.entries, self.used)

    def take(self) -> npt.NDArray[np.void]:
        """Return the entries by slot and window, shape (n,), and begin anew.

        What is near in that order is near in the sink's key too, and is found there on the same pages.
        """
        used = self.entries[: self.used]
        taken: npt.NDArray[np.void] = used[np.lexsort((used["window"], used["slot"]))]
        self.used = 0
        self.places.fill(-1)
        return taken
