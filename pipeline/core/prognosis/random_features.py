"""A fixed nonlinear map of features, after which a linear model is enough: random Fourier features.

Rahimi and Recht 2007, *Random features for large-scale kernel machines*: the inner product of two mapped rows is about a
Gaussian kernel of the rows, so that least squares on them is about Gaussian process regression, at a fixed cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.prognosis import checked

LIMIT = 4.0
"""Standard deviations from which on a feature counts as its logarithm: what wears goes far beyond what the map was made for."""

LINEAR = 0.1
"""What the features themselves weigh beside the map."""

BANDWIDTH = 0.5
"""Frequency of the map, per standard deviation of all features together."""

_CONSTANT = 1e-9


class FeatureMap(NamedTuple):
    """A map of d features to 1 + d + m numbers: a constant, the features themselves, m cosines.

    Parameters
    ----------
    centres, scales
        Mean of each feature, and the inverse of its standard deviation; 0: it is ignored. Shape (d,).
    frequencies, phases
        Of the cosines; shapes (d, m) and (m,).
    """

    centres: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    frequencies: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]

    @property
    def width(self) -> int:
        """Length of a mapped row."""
        return 1 + len(self.centres) + len(self.phases)

    def to_arrays(self) -> dict[str, Any]:
        """Return the map as plain arrays."""
        return self._asdict()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], features: int) -> Self:
        """Return the map that :meth:`to_arrays` described; raises :class:`ValueError` if there is none for so many features."""
        phases = checked.array(arrays, "phases", (-1,))
        centres, scales = (checked.array(arrays, name, (features,)) for name in ("centres", "scales"))
        return cls(centres, scales, checked.array(arrays, "frequencies", (features, len(phases))), phases)


@uncounted
def map_row(feature_map: Any, row: Any, out: Any) -> int:
    """Map a row of features; return how many of them are missing.

    Parameters
    ----------
    feature_map
        :class:`FeatureMap`.
    row
        Shape (d,). What is not finite is missing, and taken for the mean.
    out
        Where to, shape (1 + d + m,).
    """
    features, cosines = feature_map.frequencies.shape
    waves = out[1 + features :]
    missing = 0
    out[0] = 1.0
    for k in range(cosines):
        waves[k] = feature_map.phases[k]
    for j in range(features):
        value = 0.0
        if math.isfinite(row[j]):
            value = LIMIT * math.asinh((row[j] - feature_map.centres[j]) * feature_map.scales[j] / LIMIT)
        else:
            missing += 1
        out[1 + j] = LINEAR * value
        for k in range(cosines):
            waves[k] += value * feature_map.frequencies[j, k]
    amplitude = math.sqrt(2.0 / max(cosines, 1))
    for k in range(cosines):
        waves[k] = amplitude * math.cos(waves[k])
    return missing


@uncounted
def map_rows(feature_map: Any, rows: Any, out: Any) -> None:
    """Map rows of features, shape (n, d), to ``out``, shape (n, 1 + d + m)."""
    for i in range(len(rows)):
        map_row(feature_map, rows[i], out[i])


@uncounted
def _take(counts: Any, means: Any, squares: Any, rows: Any) -> None:
    for i in range(len(rows)):
        for j in range(len(counts)):
            value = rows[i, j]
            if math.isfinite(value):
                counts[j] += 1.0
                step = value - means[j]
                means[j] += step / counts[j]
                squares[j] += step * (value - means[j])


class Standardiser:
    """Means and deviations of features, from which a map is made once; what is missing is left out.

    Parameters
    ----------
    features
        How many there are.
    """

    def __init__(self, features: int) -> None:
        self.counts, self.means, self.squares = np.zeros(features), np.zeros(features), np.zeros(features)

    def take(self, rows: npt.NDArray[np.float64]) -> None:
        """Take rows in; shape (n, features)."""
        _take(self.counts, self.means, self.squares, rows)

    def draw(self, cosines: int, seed: int) -> FeatureMap:
        """Return a map for features of such means and deviations; one that was constant is ignored.

        Parameters
        ----------
        cosines
            How many random features; ≥ 0.
        seed
            The same seed gives the same map.

        Examples
        --------
        >>> standardiser = Standardiser(2)
        >>> standardiser.take(np.array([[1.0, 7.0], [3.0, 7.0]]))
        >>> drawn = standardiser.draw(cosines=16, seed=0)
        >>> drawn.centres, drawn.scales, drawn.width
        (array([2., 7.]), array([1., 0.]), 19)
        """
        deviations = np.sqrt(self.squares / np.maximum(self.counts, 1.0))
        moves = deviations > _CONSTANT * np.abs(self.means)
        scales = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=moves)
        rng = np.random.default_rng(seed)
        frequencies = rng.normal(size=(len(scales), cosines)) * (BANDWIDTH / math.sqrt(len(scales)))
        return FeatureMap(self.means.copy(), scales, frequencies, rng.uniform(0.0, 2.0 * math.pi, cosines))

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what is known as plain arrays."""
        return {"counts": self.counts.copy(), "means": self.means.copy(), "squares": self.squares.copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], features: int) -> Self:
        """Return what :meth:`to_arrays` described; raises :class:`ValueError` if it is not of so many features."""
        made = cls(features)
        made.counts, made.means, made.squares = (
            checked.array(arrays, name, (features,)) for name in ("counts", "means", "squares")
        )
        return made
