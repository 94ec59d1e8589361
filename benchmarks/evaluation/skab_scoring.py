"""SKAB's two scores, from their definitions: alarms row by row, and change points by a NAB-like profile.

Katser and Kozitsin 2020, *Skoltech Anomaly Benchmark (SKAB)*; the profile is that of its evaluation library, tsad, version
0.9 of the benchmark. Nothing here is a copy of either: the definitions are written out below.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Confusion(NamedTuple):
    """Rows by truth and alarm, counted over all files together."""

    hits: int
    false_alarms: int
    misses: int
    silences: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]; 0 where there is nothing to find."""
        relevant = 2 * self.hits + self.false_alarms + self.misses
        return 2 * self.hits / relevant if relevant else 0.0

    @property
    def false_alarm_rate(self) -> float:
        """Alarmed rows among those without a fault, %; 0 where there are none."""
        normal = self.false_alarms + self.silences
        return 100.0 * self.false_alarms / normal if normal else 0.0

    @property
    def missed_alarm_rate(self) -> float:
        """Rows without alarm among those with a fault, %; 0 where there are none."""
        faulty = self.hits + self.misses
        return 100.0 * self.misses / faulty if faulty else 0.0

    def plus(self, other: Confusion) -> Confusion:
        """Return the counts of both together."""
        return Confusion(*(a + b for a, b in zip(self, other, strict=True)))


def confusion(faulty: Bools, alarmed: Bools) -> Confusion:
    """Count the rows of one file; both of shape (n,)."""
    hits, alarms, faults = (int(np.count_nonzero(rows)) for rows in (faulty & alarmed, alarmed, faulty))
    return Confusion(hits, alarms - hits, faults - hits, len(faulty) - alarms - faults + hits)


class Profile(NamedTuple):
    """What a change found at once earns, and what a false positive and a missed change cost; all ≥ 0."""

    found: float
    false_positive: float
    missed: float


PROFILES = {"standard": Profile(1.0, 0.11, 1.0), "low FP": Profile(1.0, 0.22, 1.0), "low FN": Profile(1.0, 0.11, 2.0)}


class Window(NamedTuple):
    """How long before and after a change a detection counts, ms."""

    before_ms: int
    after_ms: int


AFTER_60_S = Window(0, 60_000)
"""A detection counts once the change has happened, within a minute."""

CENTRED_30_S = Window(15_000, 15_000)
"""What the benchmark's leaderboard has used since its version 0.9; it pays for detections before the change, too."""


class Changes(NamedTuple):
    """How changes were found: ``delays`` holds where in its window each found one was, in [0, 1]."""

    delays: tuple[float, ...]
    missed: int
    false_positives: int

    def plus(self, other: Changes) -> Changes:
        """Return those of both together."""
        return Changes(
            self.delays + other.delays, self.missed + other.missed, self.false_positives + other.false_positives
        )

    def score(self, profile: Profile) -> float:
        """Return the score: 0 for no detection at all, 100 for every change at its window's first moment and nothing else.

        Raises
        ------
        ValueError
            There was no change to find.
        """
        changes = len(self.delays) + self.missed
        if not changes:
            raise ValueError("there is no change to find")
        earned = sum(_worth(delay, profile) for delay in self.delays)
        earned -= profile.missed * self.missed + profile.false_positive * self.false_positives
        return 100.0 * (earned + profile.missed * changes) / ((profile.found + profile.missed) * changes)


def _worth(delay: float, profile: Profile) -> float:
    """Return what a detection earns: from ``found`` at its window's left edge down to −``false_positive`` at its right.

    In between a hyperbolic tangent over [−π/2, π/2], scaled to reach both ends.
    """
    fall = math.tanh(math.pi * (delay - 0.5)) / math.tanh(math.pi / 2)
    return 0.5 * (profile.found - profile.false_positive) - 0.5 * (profile.found + profile.false_positive) * fall


def windows(times_ms: Ints, window: Window) -> list[tuple[int, int]]:
    """Return the window of each change, both ends included, ms; where two overlap, the later begins when the earlier ends.

    Parameters
    ----------
    times_ms
        When the changes are, rising; shape (changes,).

    Examples
    --------
    >>> windows(np.array([0, 50_000]), AFTER_60_S)
    [(0, 60000), (60000, 110000)]
    """
    spans: list[tuple[int, int]] = []
    for time_ms in times_ms.tolist():
        begin = time_ms - window.before_ms
        spans.append((max(begin, spans[-1][1]) if spans else begin, time_ms + window.after_ms))
    return spans


def find_changes(changes_ms: Ints, detections_ms: Ints, window: Window) -> Changes:
    """Judge the detections in one file: the first in a window finds the change, others in it are free, the rest are false.

    Parameters
    ----------
    changes_ms, detections_ms
        Event times, rising, ms; shapes (changes,) and (detections,).
    """
    delays, missed, inside = [], 0, np.zeros(len(detections_ms), np.bool_)
    for begin, end in windows(changes_ms, window):
        here = (detections_ms >= begin) & (detections_ms <= end)
        inside |= here
        if here.any():
            delays.append(float((detections_ms[here][0] - begin) / (end - begin)))
        else:
            missed += 1
    return Changes(tuple(delays), missed, int(np.count_nonzero(~inside)))
