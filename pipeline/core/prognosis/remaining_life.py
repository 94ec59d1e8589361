"""Remaining life of a machine with an interval: least squares on random features, learned from lives that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.prognosis import checked
from pipeline.core.prognosis.conformal import Interval, bounds
from pipeline.core.prognosis.features import computed
from pipeline.core.prognosis.random_features import FeatureMap, map_row

Rows = npt.NDArray[np.float64]


class Estimates(NamedTuple):
    """Remaining lives of n rows, in the unit that the model was taught in; NaN: no answer. Each of shape (n,)."""

    points: Rows
    lower: Rows
    upper: Rows


class Parameters(NamedTuple):
    """All that an estimate is computed from.

    Parameters
    ----------
    feature_map
        Of features.
    weights
        Of what it gives; shape (width,).
    interval
        About the estimate.
    """

    feature_map: FeatureMap
    weights: Rows
    interval: Interval


@uncounted
def estimate(parameters: Any, row: Any, mapped: Any) -> tuple[float, float, float]:
    """Return (remaining life, lower end, upper end) of one row of features; NaN if most of them are missing.

    Parameters
    ----------
    parameters
        :class:`Parameters`.
    row
        Features; what is not finite is missing, and taken for its mean. Shape (features,).
    mapped
        Room to work in, as long as the weights.
    """
    if 2 * map_row(parameters.feature_map, row, mapped) > len(row):
        return np.nan, np.nan, np.nan
    point = 0.0
    for k in range(len(mapped)):
        point += parameters.weights[k] * mapped[k]
    if not np.isfinite(point):
        return np.nan, np.nan, np.nan
    point = min(max(point, 0.0), parameters.interval.horizon)
    lower, upper = bounds(parameters.interval, point)
    return point, lower, upper


@uncounted
def _estimate_rows(parameters: Any, rows: Any, mapped: Any, points: Any, lower: Any, upper: Any) -> None:
    for i in range(len(rows)):
        points[i], lower[i], upper[i] = estimate(parameters, rows[i], mapped)


def estimates(parameters: Parameters, rows: Rows) -> Estimates:
    """Return the estimates of rows, shape (n, features)."""
    out = Estimates(np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows)))
    _estimate_rows(parameters, rows, np.empty(len(parameters.weights)), *out)
    return out


class RemainingLife:
    """Remaining life of machines of one type; never changes.

    An estimate is at most the ``horizon``: further ahead, wear does not show. The interval says where the true remaining life
    is, also beyond the horizon. A feature that is missing counts as its mean among the machines that the model saw; if more
    than half of them are, there is no answer. It knows only the ways of failing that it was taught: a machine that fails
    in another way is not seen coming.

    Parameters
    ----------
    features
        What it wants to be given, in this order.
    parameters
        What it computes with.

    Examples
    --------
    >>> from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
    >>> learner = RemainingLifeLearner(["heat.last", "age"], horizon=50.0)
    >>> for life in range(30):
    ...     left = np.arange(60.0)[::-1]
    ...     rows = np.column_stack([100.0 - left + life % 3, 60.0 - left])
    ...     learner.see(rows)
    ...     _ = learner.learn(rows, left)
    >>> learner.model().predict(np.array([[90.0, 50.0], [np.nan, np.nan]])).points.round()
    array([10., nan])
    """

    kind: ClassVar[str] = "remaining_life"

    def __init__(self, features: Sequence[str], parameters: Parameters) -> None:
        self.features = tuple(features)
        self.parameters = parameters

    @property
    def horizon(self) -> float:
        """Largest estimate, in the unit that the model was taught in."""
        return self.parameters.interval.horizon

    def predict(self, rows: Rows) -> Estimates:
        """Return the estimates of rows of features.

        Parameters
        ----------
        rows
            Shape (n, features).

        Raises
        ------
        ValueError
            If they have another shape.
        """
        return estimates(self.parameters, checked.rows(rows, len(self.features)))

    def to_arrays(self) -> dict[str, Any]:
        """Return the model as plain arrays, numbers and names."""
        parts = self.parameters
        return {
            "features": list(self.features),
            "weights": parts.weights,
            **parts.feature_map.to_arrays(),
            **parts.interval.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the model that :meth:`to_arrays` described; raises :class:`ValueError` if there is none."""
        features = computed(checked.names(arrays, "features"))
        feature_map = FeatureMap.from_arrays(arrays, len(features))
        weights = checked.array(arrays, "weights", (feature_map.width,))
        return cls(features, Parameters(feature_map, weights, Interval.from_arrays(arrays)))
