"""Counts per machine, the first few examples of each sort, and latencies."""

from __future__ import annotations

from collections import defaultdict
from heapq import nsmallest

import numpy as np

from pipeline.verifying.spill import Array

EXAMPLES = 5

Example = tuple[tuple[object, ...], str]
"""What orders it among others of its sort, and what is shown."""

_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
# Bins of 0.1 %, from 1 µs to 292,000 years
_PER_DOUBLING = 700
_BINS = 64 * _PER_DOUBLING


class Figures:
    """Counts per machine by name, and examples."""

    def __init__(self) -> None:
        self._counts: dict[str, Array] = {}
        self._examples: dict[str, list[Example]] = defaultdict(list)

    def add(self, name: str, machines: Array, counts: Array | None = None) -> None:
        """Count one, or so many, for each of some machines; shape (n,) each."""
        added = np.bincount(machines, None if counts is None else counts.astype(np.float64)).astype(np.int64)
        held = self._counts.setdefault(name, np.zeros(0, np.int64))
        if len(held) < len(added):
            held = self._counts[name] = np.append(held, np.zeros(len(added) - len(held), np.int64))
        held[: len(added)] += added

    def of(self, name: str, machines: int) -> Array:
        """Return a count of each of so many machines."""
        held = self._counts.get(name, np.zeros(0, np.int64))
        return np.append(held, np.zeros(machines - len(held), np.int64))

    def total(self, name: str) -> int:
        """Return a count of all machines together."""
        return int(self._counts[name].sum()) if name in self._counts else 0

    def example(self, sort: str, found: list[Example]) -> None:
        """Keep the first few, by their keys, of what was found of a sort."""
        if found:
            self._examples[sort] = nsmallest(EXAMPLES, self._examples[sort] + found)

    def examples(self, *sorts: str) -> tuple[str, ...]:
        """Return what is kept of some sorts."""
        return tuple(f"{sort} {text}" for sort in sorts if sort in self._examples for _, text in self._examples[sort])


class Latencies:
    """How many messages took how long, to 0.1 % of it."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self._largest_us = 0

    def add(self, latencies_us: Array) -> None:
        """Add some, µs; shape (n,)."""
        if len(latencies_us):
            largest = int(latencies_us.max())
            self._largest_us = max(self._largest_us, largest) if self._bins.any() else largest
            bins = np.ceil(np.log2(np.maximum(latencies_us, 1)) * _PER_DOUBLING).astype(np.int64)
            self._bins += np.bincount(bins, minlength=_BINS)

    def percentiles_ms(self) -> dict[str, float] | None:
        """Return p50, p95, p99 and the largest, ms; the first three at most 0.1 % too large. ``None`` of nothing."""
        upto = np.cumsum(self._bins)
        if not upto[-1]:
            return None
        found = {}
        for name, share in _PERCENTILES.items():
            at = int(np.searchsorted(upto, max(1, np.ceil(share * upto[-1]))))
            found[name] = round(min(2 ** (at / _PER_DOUBLING), self._largest_us) / 1000, 3)
        return found | {"max": round(self._largest_us / 1000, 3)}


def percentiles_by_machine(machines: Array, latencies_us: Array) -> dict[int, dict[str, float]]:
    """Return p50, p95, p99 and the largest of each machine, ms: exactly, the smallest that so many do not exceed."""
    order = np.lexsort((latencies_us, machines))
    machines, ordered = machines[order], latencies_us[order]
    found, first, many = np.unique(machines, return_index=True, return_counts=True)
    columns = [
        ordered[first + np.maximum(0, np.ceil(share * many).astype(np.int64) - 1)] / 1000
        for share in _PERCENTILES.values()
    ]
    rows = zip(*(column.round(3).tolist() for column in columns), strict=True)
    return {
        machine: dict(zip(_PERCENTILES, row, strict=True)) for machine, row in zip(found.tolist(), rows, strict=True)
    }
