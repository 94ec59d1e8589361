"""Fragments of operating cycles that were closed, and how those that are connected become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import record, uncounted
from pipeline.core.windowing.moments import Moments, beginnings, combine, endings

STATISTICS = [
    ("count", np.int64),
    ("mean", np.float64),
    ("m2", np.float64),
    ("min", np.float64),
    ("max", np.float64),
    ("last_time_ms", np.int64),
]
"""Of the readings of one sensor in a fragment."""

FRAGMENT = record(
    [
        ("machine", np.int32),
        ("goes_on", np.bool_),
        ("started_ms", np.int64),
        ("ended_ms", np.int64),
        ("messages", np.int64),
    ]
)
"""A closed fragment; ``goes_on`` if it was cut off, so that the state holds more of its cycle."""

FRAGMENT_READINGS = record([*STATISTICS, ("slot", np.int32), ("fragment", np.int32)])
"""A sensor in a closed fragment."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Fragments no two of which are connected, and their readings.

    Parameters
    ----------
    machines, started_ms, ended_ms, messages, goes_on
        Machine row, times of the first and the last message (ms since the epoch, UTC), how many there are, and whether more
        of the cycle is to come; shape (n,).
    fragments, slots, last_time_ms
        Which fragment and sensor slot each aggregate of readings is of, and the time of its last; shape (m,).
    moments
        The aggregates; shape (m,).
    """

    machines: npt.NDArray[np.int32]
    started_ms: npt.NDArray[np.int64]
    ended_ms: npt.NDArray[np.int64]
    messages: npt.NDArray[np.int64]
    goes_on: npt.NDArray[np.bool_]
    fragments: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int32]
    last_time_ms: npt.NDArray[np.int64]
    moments: Moments

    def where(self, chosen: npt.NDArray[np.bool_]) -> Closed:
        """Return the chosen fragments with their readings; ``chosen`` has shape (n,)."""
        of = chosen[self.fragments]
        return Closed(
            machines=self.machines[chosen],
            started_ms=self.started_ms[chosen],
            ended_ms=self.ended_ms[chosen],
            messages=self.messages[chosen],
            goes_on=self.goes_on[chosen],
            fragments=(np.cumsum(chosen) - 1)[self.fragments[of]],
            slots=self.slots[of],
            last_time_ms=self.last_time_ms[of],
            moments=self.moments.where(of),
        )


def join(fragments: npt.NDArray[np.void], readings: npt.NDArray[np.void], gap_ms: int) -> Closed:
    """Join the fragments that are connected.

    Parameters
    ----------
    fragments, readings
        Of :data:`FRAGMENT` and :data:`FRAGMENT_READINGS`, in any order.
    gap_ms
        Longest time between two messages of a cycle, ms; ≥ 0.
    """
    order = np.lexsort((fragments["started_ms"], fragments["machine"]))
    rows = fragments[order]
    number = np.empty(len(rows), np.int64)
    _islands(rows["machine"], rows["started_ms"], rows["ended_ms"], gap_ms, number)
    first = beginnings(number)
    # The piece that ends last says whether there is more; of two, the one that was closed last
    latest = np.lexsort((~rows["goes_on"], rows["ended_ms"], number))[endings(first, len(rows))]
    island = np.empty(len(rows), np.int64)
    island[order] = number
    of = island[readings["fragment"]]
    order = np.lexsort((readings["slot"], of))
    of, sorted_readings = of[order], readings[order]
    begin = beginnings(of, sorted_readings["slot"])
    return Closed(
        machines=rows["machine"][first],
        started_ms=rows["started_ms"][first],
        ended_ms=rows["ended_ms"][latest],
        messages=np.add.reduceat(rows["messages"], first) if len(first) else rows["messages"],
        goes_on=rows["goes_on"][latest],
        fragments=of[begin],
        slots=sorted_readings["slot"][begin],
        last_time_ms=np.maximum.reduceat(sorted_readings["last_time_ms"], begin)
        if len(begin)
        else sorted_readings["last_time_ms"],
        moments=combine(sorted_readings, begin),
    )


@uncounted
def _islands(machines: Any, started_ms: Any, ended_ms: Any, gap_ms: int, out: Any) -> None:
    """Give connected fragments, which are sorted by machine and start, the same number."""
    number, reached = -1, 0
    for i in range(len(machines)):
        if i == 0 or machines[i] != machines[i - 1] or started_ms[i] > reached + gap_ms:
            number += 1
            reached = ended_ms[i]
        reached = max(reached, ended_ms[i])
        out[i] = number
