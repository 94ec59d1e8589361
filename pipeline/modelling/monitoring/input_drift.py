"""Whether what goes into a model is still what it was: counts between fixed edges, and the population stability index.

Counts of days add up in any order, as the edges of a feature stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINS = 10
"""Of about equal shares of the reference."""

RARE = 29.588
"""What a chi-squared variable with 10 degrees of freedom exceeds with a probability of 0.001: of ten bins, and the missing."""


class Reference(NamedTuple):
    """How a feature was distributed.

    Parameters
    ----------
    edges
        Deciles, in the feature's unit, rising; shape (9,). A value that is an edge is above it.
    counts
        First those that are missing, not finite, then those between the edges; shape (11,).
    """

    edges: Floats
    counts: Counts

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Return the distribution of values, shape (n,); with none that is finite all is missing, whatever the edges.

        Examples
        --------
        >>> Reference.of(np.arange(100.0)).counts.tolist()
        [0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
        """
        known = values[np.isfinite(values)]
        at = np.arange(1, BINS) / BINS
        edges = np.quantile(known, at, method="higher") if len(known) else np.zeros(BINS - 1)
        return cls(edges, counted(edges, values))

    def described(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist()}

    @classmethod
    def read(cls, described: Any) -> Self | None:
        """Return what :meth:`described` told; ``None`` if it tells no distribution."""
        try:
            edges = np.array(described["edges"], np.float64)
            counts = np.array(described["counts"], np.int64)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        fits = edges.shape == (BINS - 1,) and counts.shape == (BINS + 1,)
        if not fits or not np.isfinite(edges).all() or (np.diff(edges) < 0).any() or (counts < 0).any():
            return None
        return cls(edges, counts) if counts.sum() else None


def counted(edges: Floats, values: Floats) -> Counts:
    """Return how many values are missing, not finite, and how many lie between the edges; shape (edges + 2,).

    Examples
    --------
    >>> counted(np.array([1.0, 2.0]), np.array([0.5, 1.0, 1.5, 2.0, np.nan])).tolist()
    [1, 1, 2, 1]
    """
    finite = np.isfinite(values)
    places = np.searchsorted(edges, values[finite], side="right")
    return np.concatenate([[len(values) - int(finite.sum())], np.bincount(places, minlength=len(edges) + 1)])


def references(features: Sequence[str], rows: Floats) -> dict[str, Reference]:
    """Return how each feature is distributed among rows, shape (n, features)."""
    return {name: Reference.of(rows[:, column]) for column, name in enumerate(features)}


def described(features: Sequence[str], rows: Floats) -> dict[str, Any]:
    """Return means, standard deviations and distributions of rows' features, for whoever keeps a model that learned them.

    Examples
    --------
    >>> found = described(["heat"], np.array([[1.0], [3.0], [np.nan]]))["heat"]
    >>> found["mean"], found["sd"], found["counts"][0]
    (2.0, 1.0, 1)
    """
    told = {}
    for column, (name, reference) in enumerate(references(features, rows).items()):
        finite = rows[np.isfinite(rows[:, column]), column]
        figures = {"mean": float(finite.mean()), "sd": float(finite.std())} if len(finite) else {}
        told[name] = figures | reference.described()
    return told


def by_chance(first: int, second: int) -> float:
    """Return what the index of two samples of one distribution exceeds once in a thousand times.

    The index is about (1/n + 1/m) times a chi-squared variable with one degree less than there are bins (Yurdakul and
    Naranjo 2020, *Statistical properties of the population stability index*). Rows of one machine resemble each other, as it
    wears; so machines are counted, not rows.

    Parameters
    ----------
    first, second
        Machines in either sample; 0: so many that they leave nothing to chance.

    Examples
    --------
    >>> round(by_chance(200, 100), 2), round(by_chance(0, 1000), 2)
    (0.44, 0.03)
    """
    return RARE * sum(1.0 / machines for machines in (first, second) if machines)


def stability_index(reference: Sequence[int] | Counts, present: Sequence[int] | Counts) -> float:
    """Return the population stability index of two counts of the same bins: 0 for equal shares, and no upper bound.

    The sum of (p - q) ln(p / q) over the bins' shares (Siddiqi 2006, *Credit risk scorecards*). Half a row more in every bin
    keeps what is empty in one of them finite.

    Examples
    --------
    >>> stability_index([10, 20], [100, 200]) < 0.001, round(stability_index([50, 50], [90, 10]), 2)
    (True, 0.85)
    """
    total = 0.0
    first, second = (sum(int(each) for each in counts) + 0.5 * len(counts) for counts in (reference, present))
    for one, other in zip(reference, present, strict=True):
        was, now = (int(one) + 0.5) / first, (int(other) + 0.5) / second
        total += (now - was) * math.log(now / was)
    return total
