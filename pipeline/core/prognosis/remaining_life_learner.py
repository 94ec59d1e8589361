"""Learns remaining life, one ended life at a time; each is estimated before it is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from pipeline.core.prognosis import checked
from pipeline.core.prognosis.conformal import Errors
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.least_squares import LeastSquares
from pipeline.core.prognosis.random_features import FeatureMap, Standardiser, map_rows
from pipeline.core.prognosis.remaining_life import Estimates, Parameters, RemainingLife, Rows, estimates

SCHEMA_VERSION = 1
"""Of what :meth:`RemainingLifeLearner.to_arrays` gives."""

COSINES = 400
"""Random features."""

MOST_COSINES = 4096
"""Most of them that a stored learner may have; its memory grows with their square."""

RIDGE = 0.1
"""What squared weights cost."""

COVERAGE = 0.9
"""Share of true remaining lives that intervals are to hold."""

_LARGEST = 2**53


class RemainingLifeLearner:
    """Learns from lives in the order in which they ended; state and cost per life do not grow.

    What is learned is the remaining life up to the horizon. Features are standardised by what was seen until the first life
    ended, and the map is drawn then; both stay.

    A life that ended without a failure, by planned maintenance, says that each of its rows had at least so long to go. Such a
    row is learned where the estimate is below that bound, by the mean of what past errors leave beyond the bound (as Buckley
    and James 1979, *Linear regression with censored data*, in one step); where it is not, it says little. If such lives are
    left out, estimates are too low, as long lives are maintained rather than short ones; with them they are less so. How far
    off estimates are is taken from failures alone.

    Parameters
    ----------
    features
        Names, in the order of the rows.
    horizon
        Longest remaining life that is told, in the unit of what is taught; > 0.
    seed
        Of the map.
    cosines, ridge, coverage
        As :data:`COSINES`, :data:`RIDGE`, :data:`COVERAGE`.

    Attributes
    ----------
    lives, censored
        Lives that were learned: that ended in failure, and that did not.
    """

    def __init__(
        self,
        features: Sequence[str],
        horizon: float,
        *,
        seed: int = 0,
        cosines: int = COSINES,
        ridge: float = RIDGE,
        coverage: float = COVERAGE,
    ) -> None:
        self.features, self.seed, self.cosines, self.ridge = tuple(features), seed, cosines, ridge
        self.errors = Errors(horizon, coverage)
        self.lives = self.censored = 0
        self._standardiser = Standardiser(len(self.features))
        self._map: FeatureMap | None = None
        self._least_squares = LeastSquares(1 + len(self.features) + cosines, ridge)
        self._parameters: Parameters | None = None

    @property
    def horizon(self) -> float:
        """Longest remaining life that is told."""
        return self.errors.horizon

    def see(self, rows: Rows) -> None:
        """Take in rows of which nobody knows the remaining life yet; once a life has ended, they change nothing.

        Parameters
        ----------
        rows
            Features, shape (n, features); what is not finite is missing.
        """
        if self._map is None:
            self._standardiser.take(checked.rows(rows, len(self.features)))

    def learn(self, rows: Rows, remaining: Rows) -> Estimates:
        """Learn a life that ended in failure; return what was estimated before.

        Parameters
        ----------
        rows
            Features during this life, in order, shape (n, features).
        remaining
            How long each had still to go, shape (n,); ≥ 0.

        Returns
        -------
        Estimates
            NaN if this is the first one, and of rows that are mostly missing, which are not learned.
        """
        rows, remaining = self._checked(rows, remaining)
        before = self._estimate(rows)
        known = np.isfinite(before.points)
        self.errors.learn(before.points[known], remaining[known])
        self._learn(rows, np.minimum(remaining, self.horizon))
        self.lives += 1
        return before

    def learn_censored(self, rows: Rows, at_least: Rows) -> Estimates:
        """Learn a life that ended without a failure; return what was estimated before.

        Parameters
        ----------
        rows
            As of :meth:`learn`.
        at_least
            How long each row had still to go, or longer, shape (n,); ≥ 0.
        """
        rows, at_least = self._checked(rows, at_least)
        before = self._estimate(rows)
        # Without an estimate, as long as no machine has failed, nothing is below its bound
        below = before.points < np.minimum(at_least, self.horizon)
        if below.any():
            self._learn(rows[below], self.errors.expected(before.points[below], at_least[below]))
        self.censored += 1
        return before

    def _checked(self, rows: Rows, remaining: Rows) -> tuple[Rows, Rows]:
        rows, remaining = checked.rows(rows, len(self.features)), np.array(remaining, np.float64)
        if remaining.shape != (len(rows),) or not np.isfinite(remaining).all() or (remaining < 0.0).any():
            raise ValueError(f"remaining lives are {len(rows)} numbers, none below 0")
        return rows, remaining

    def _estimate(self, rows: Rows) -> Estimates:
        if self._parameters is None:
            nothing = np.full(len(rows), np.nan)
            return Estimates(nothing, nothing.copy(), nothing.copy())
        return estimates(self._parameters, rows)

    def _learn(self, rows: Rows, targets: Rows) -> None:
        """Learn what is not mostly missing."""
        told = 2 * np.count_nonzero(~np.isfinite(rows), axis=1) <= len(self.features)
        if not told.any():
            return
        if self._map is None:
            if not self._standardiser.counts.any():
                self._standardiser.take(rows)
            self._map = self._standardiser.draw(self.cosines, self.seed)
        mapped = np.empty((int(told.sum()), self._map.width))
        map_rows(self._map, np.ascontiguousarray(rows[told]), mapped)
        self._least_squares.learn(mapped, targets[told])
        self._parameters = self._worked_out(self._map)

    def _worked_out(self, feature_map: FeatureMap) -> Parameters:
        return Parameters(feature_map, self._least_squares.weights(), self.errors.interval())

    def model(self) -> RemainingLife:
        """Return what was learned so far; raises :class:`ValueError` before the second failure."""
        if self._parameters is None or not self.errors.known:
            raise ValueError(
                "fewer than two machines have failed, so that nobody can say how far off an estimate may be"
            )
        return RemainingLife(self.features, self._parameters)

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of all that was learned, to go on later, as plain arrays, numbers and names."""
        return {
            "schema_version": SCHEMA_VERSION,
            "feature_version": FEATURE_VERSION,
            "features": list(self.features),
            "seed": self.seed,
            "cosines": self.cosines,
            "lives": self.lives,
            "censored": self.censored,
            **self._standardiser.to_arrays(),
            **({} if self._map is None else self._map.to_arrays()),
            **self._least_squares.to_arrays(),
            **self.errors.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the learner that :meth:`to_arrays` described; raises :class:`ValueError` if it is none of this version."""
        for name, version in (("schema_version", SCHEMA_VERSION), ("feature_version", FEATURE_VERSION)):
            if arrays.get(name) != version:
                raise ValueError(f"the learner has {name} {arrays.get(name)!r}, not {version}: train it anew")
        features = checked.names(arrays, "features")
        seed = int(checked.number(arrays, "seed", 0, _LARGEST))
        cosines = int(checked.number(arrays, "cosines", 0, MOST_COSINES))
        made = cls(features, checked.number(arrays, "horizon", 1e-9, 1e12), seed=seed, cosines=cosines)
        made.errors = Errors.from_arrays(arrays)
        made.lives, made.censored = (int(checked.number(arrays, name, 0, _LARGEST)) for name in ("lives", "censored"))
        made._standardiser = Standardiser.from_arrays(arrays, len(features))
        made._least_squares = LeastSquares.from_arrays(arrays, 1 + len(features) + cosines)
        made.ridge = made._least_squares.ridge
        if "phases" in arrays:
            made._map = FeatureMap.from_arrays(arrays, len(features))
            made._parameters = made._worked_out(made._map)
        return made
