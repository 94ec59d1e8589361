"""NAB's score, from its published definition: early detections earn, false alarms and missed windows cost.

Lavin and Ahmad 2015, *Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark* (ICMLA).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OUTSIDE = -1
PROBATION = -2
"""What stands in place of a window's number: a row outside all windows, and one that does not count."""

_FAR_BEHIND = 3.0


class Profile(NamedTuple):
    """What a detected window earns at most, a missed one costs, and a false alarm costs at most."""

    tp: float = 1.0
    fn: float = 1.0
    fp: float = 0.11


class Rows(NamedTuple):
    """What detecting a row would mean; both of shape (n,).

    ``windows`` is the number of the window that the row is in, or :data:`OUTSIDE`, or :data:`PROBATION`; ``worths`` is
    its position's worth: in a window from 1 at the left edge to almost 0 at the right one, outside from 0 just behind a
    window to −1. ``count`` is how many windows there are, with those nobody can detect.
    """

    windows: Ints
    worths: Floats
    count: int


class Best(NamedTuple):
    """The threshold at which a profile's score is highest, and that score: 0 for no alarm at all, 100 for perfection."""

    threshold: float
    score: float


def sigmoid(position: float) -> float:
    """Return the worth of a position relative to a window: −1 is its left edge, 0 its right edge, 1 a width behind.

    Examples
    --------
    >>> round(sigmoid(-1.0), 4), sigmoid(0.0), round(sigmoid(0.5), 4), sigmoid(3.1)
    (0.9866, 0.0, -0.8483, -1.0)
    """
    return -1.0 if position > _FAR_BEHIND else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def probation(rows: int) -> int:
    """Return how many rows at the start of a file do not count: 15 %, of 5,000 at most."""
    return int(min(math.floor(0.15 * rows), 750))


def rows_of(count: int, windows: list[tuple[int, int]]) -> Rows:
    """Return what each of a file's rows would earn or cost.

    Parameters
    ----------
    count
        Rows of the file.
    windows
        First and last row of each window, both included, in order and apart from each other.

    Examples
    --------
    >>> rows_of(10, [(4, 6)]).windows.tolist()
    [-2, -1, -1, -1, 0, 0, 0, -1, -1, -1]
    """
    numbers = np.full(count, OUTSIDE, np.int64)
    worths = np.full(count, -1.0)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        for row in range(first, count):
            # The position behind is in widths less a row, as in the benchmark's own program
            position = (row - last - 1) / width if row <= last else (row - last) / max(width - 1, 1)
            worths[row] = sigmoid(position) / (sigmoid(-1.0) if row <= last else 1.0)
        numbers[first : last + 1] = number
    numbers[: probation(count)] = PROBATION
    return Rows(numbers, worths, len(windows))


def joined(files: list[Rows]) -> Rows:
    """Return the rows of several files as those of one, windows numbered through."""
    numbers, before = [], 0
    for rows in files:
        numbers.append(np.where(rows.windows >= 0, rows.windows + before, rows.windows))
        before += rows.count
    return Rows(np.concatenate(numbers), np.concatenate([rows.worths for rows in files]), before)


@njit(cache=True, nogil=True)
def _sweep(order: Ints, scores: Floats, rows: Any, profile: Any) -> tuple[float, float]:
    """Return (threshold, raw score) where it is highest, lowering the threshold from score to score in ``order``."""
    earned = np.full(rows.count, -profile.fn)
    raw = -profile.fn * rows.count
    threshold, highest = np.inf, raw
    for i in range(len(order)):
        row = order[i]
        number = rows.windows[row]
        if number >= 0:
            gain = profile.tp * rows.worths[row]
            if gain > earned[number]:
                raw += gain - earned[number]
                earned[number] = gain
        elif number == OUTSIDE:
            raw += profile.fp * rows.worths[row]
        is_last = i + 1 == len(order) or scores[order[i + 1]] < scores[row]
        if is_last and raw > highest:
            threshold, highest = scores[row], raw
    return threshold, highest


def normalised(raw: float, count: int, profile: Profile) -> float:
    """Return a raw score on the scale of 0 (no alarm at all) to 100 (all windows at their first row, nothing else)."""
    return 100.0 * (raw + profile.fn * count) / ((profile.tp + profile.fn) * count) if count else 0.0


def best(scores: Floats, rows: Rows, profile: Profile) -> Best:
    """Return the one threshold that is best for all rows, as the benchmark chooses it, and the score there.

    Parameters
    ----------
    scores
        Shape (n,), finite: how anomalous each row is. A row is detected when its score reaches the threshold; zero and
        less is never detected.
    """
    candidates = np.flatnonzero((scores > 0.0) & (rows.windows != PROBATION))
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    threshold, raw = _sweep(order, scores, rows, profile)
    return Best(float(threshold), normalised(raw, rows.count, profile))


def raw_at(threshold: float, scores: Floats, rows: Rows, profile: Profile) -> float:
    """Return the raw score at a given threshold."""
    detected = (scores >= threshold) & (scores > 0.0)
    raw = profile.fp * float(rows.worths[detected & (rows.windows == OUTSIDE)].sum())
    for number in range(rows.count):
        inside = rows.worths[detected & (rows.windows == number)]
        raw += profile.tp * float(inside.max()) if len(inside) else -profile.fn
    return raw


def score_at(threshold: float, scores: Floats, rows: Rows, profile: Profile) -> float:
    """Return the normalised score at a given threshold, such as one chosen on other files."""
    return normalised(raw_at(threshold, scores, rows, profile), rows.count, profile)
