"""Count, mean and squared deviations of several aggregates together: the part of a monoid that is no plain sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Moments:
    """What groups of aggregates are together; shape (groups,) each."""

    count: Array
    mean: Array
    m2: Array
    min: Array
    max: Array

    def where(self, chosen: npt.NDArray[np.bool_]) -> Moments:
        """Return the chosen groups; ``chosen`` has shape (groups,)."""
        return Moments(*(column[chosen] for column in (self.count, self.mean, self.m2, self.min, self.max)))


def combine(rows: npt.NDArray[np.void], first: npt.NDArray[np.int64]) -> Moments:
    """Return the aggregates of groups of rows, each as if all its readings had been added to one (Chan et al. 1979).

    Parameters
    ----------
    rows
        Records with ``count`` (> 0), ``mean``, ``m2``, ``min`` and ``max``, one group after the other.
    first
        Where each group begins; shape (groups,), rising, the first is 0.

    Examples
    --------
    >>> rows = np.zeros(2, [(name, float) for name in ("count", "mean", "m2", "min", "max")])
    >>> rows["count"], rows["mean"], rows["m2"] = [2, 1], [1.0, 4.0], [2.0, 0.0]
    >>> both = combine(rows, np.array([0]))
    >>> both.count.tolist(), both.mean.tolist(), both.m2.tolist()
    ([3.0], [2.0], [8.0])
    """
    if not len(first):
        return Moments(*(rows[name] for name in ("count", "mean", "m2", "min", "max")))
    size = np.diff(np.append(first, len(rows)))
    count = np.add.reduceat(rows["count"], first)
    mean = np.add.reduceat(rows["count"] * rows["mean"], first) / count
    apart = rows["mean"] - np.repeat(mean, size)
    m2 = np.add.reduceat(rows["m2"] + rows["count"] * apart * apart, first)
    return Moments(count, mean, m2, np.minimum.reduceat(rows["min"], first), np.maximum.reduceat(rows["max"], first))


def beginnings(*keys: Array) -> npt.NDArray[np.int64]:
    """Return where another key begins in sorted rows; shape (groups,).

    Parameters
    ----------
    keys
        The parts of the key, shape (n,) each.

    Examples
    --------
    >>> beginnings(np.array([1, 1, 1, 2]), np.array([0, 0, 3, 3])).tolist()
    [0, 2, 3]
    """
    if not len(keys[0]):
        return np.empty(0, np.int64)
    other = np.zeros(len(keys[0]) - 1, np.bool_)
    for key in keys:
        other |= key[1:] != key[:-1]
    return np.flatnonzero(np.append(True, other))


def endings(first: npt.NDArray[np.int64], rows: int) -> npt.NDArray[np.int64]:
    """Return where the groups of so many rows end that begin at ``first``: the place of each one's last row.

    Examples
    --------
    >>> endings(np.array([0, 2, 3]), 4).tolist(), endings(np.empty(0, np.int64), 0).tolist()
    ([1, 2, 3], [])
    """
    return np.append(first[1:], rows) - 1 if len(first) else first
