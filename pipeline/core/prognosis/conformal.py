"""How far an estimate may be off: intervals from the errors of estimates made before the truth was known.

Split conformal prediction (Vovk et al. 2005; Lei et al. 2018) with errors of like estimates only (Mondrian: by the estimate
itself), both tails for themselves, and the share of misses steered by those seen (Gibbs and Candès 2021, *Adaptive conformal
inference under distribution shift*).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.prognosis import checked

KNOTS = 9
"""Estimates, evenly from 0 to the horizon, about which errors are kept."""

ROOM = 256
"""Newest errors kept of each knot."""

MOST_OF_A_LIFE = 4
"""Errors of one life that a knot takes: those of a life are much alike, and one life must not say everything."""

ENOUGH = 40
"""Errors from which quantiles are taken; a knot that has fewer takes those of its neighbours too."""

STEERING = 0.02
"""How much of a life's surplus or lack of misses goes into the share of misses that is aimed at."""

_LARGEST = 2**53


class Interval(NamedTuple):
    """Where the truth lies, relative to an estimate.

    Parameters
    ----------
    horizon
        Largest estimate.
    low, high
        At each knot the lower and the upper end less the estimate, shape (KNOTS,); between knots on a straight line.
    """

    horizon: float
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    def to_arrays(self) -> dict[str, Any]:
        """Return the interval as plain arrays and numbers."""
        return self._asdict()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the interval that :meth:`to_arrays` described; raises :class:`ValueError` if there is none."""
        horizon = checked.number(arrays, "horizon", 1e-9, 1e12)
        low, high = (checked.array(arrays, name, (KNOTS,)) for name in ("low", "high"))
        if (low > 0.0).any() or (high < 0.0).any():
            raise ValueError("low and high are no interval about an estimate")
        return cls(horizon, low, high)


@uncounted
def bounds(interval: Any, point: float) -> tuple[float, float]:
    """Return (lower, upper) of an estimate in [0, horizon]; lower is at least 0.

    Parameters
    ----------
    interval
        :class:`Interval`.
    """
    place = point / interval.horizon * (KNOTS - 1)
    knot = min(int(place), KNOTS - 2)
    share = place - knot
    low = (1.0 - share) * interval.low[knot] + share * interval.low[knot + 1]
    high = (1.0 - share) * interval.high[knot] + share * interval.high[knot + 1]
    return max(0.0, point + low), point + high


class Errors:
    """The newest errors of estimates, by the estimate; the state is bounded, and nothing is drawn.

    Parameters
    ----------
    horizon
        Largest estimate.
    coverage
        Share of truths that intervals are to hold, in (0, 1).

    Attributes
    ----------
    covered, judged
        Of so many judged estimates the truth lay in the interval.
    """

    def __init__(self, horizon: float, coverage: float) -> None:
        self.horizon, self.coverage = horizon, coverage
        self.covered = self.judged = 0
        self._aim = 1.0 - coverage
        self._kept = np.zeros((KNOTS, ROOM))
        self._counts = np.zeros(KNOTS, np.int64)

    def learn(self, points: npt.NDArray[np.float64], truths: npt.NDArray[np.float64]) -> None:
        """Learn the errors of one life's estimates, none of which knew a truth.

        Parameters
        ----------
        points, truths
            In the order of time, shape (n,), of the same unit; estimates within [0, horizon].
        """
        if not len(points):
            return
        if self.known:
            interval = self.interval()
            ends = np.array([bounds(interval, point) for point in points.tolist()])
            inside = int(np.count_nonzero((ends[:, 0] <= truths) & (truths <= ends[:, 1])))
            self.covered += inside
            self.judged += len(points)
            misses = 1.0 - inside / len(points)
            usual = 1.0 - self.coverage
            # Some errors beyond the ends, and some within, whatever happened lately
            self._aim = min(max(self._aim + STEERING * (usual - misses), 0.2 * usual), 2.0 * usual, 0.9)
        nearest = np.rint(points / self.horizon * (KNOTS - 1)).astype(np.int64)
        for knot in range(KNOTS):
            mine = np.flatnonzero(nearest == knot)
            if len(mine) > MOST_OF_A_LIFE:
                mine = mine[np.linspace(0, len(mine) - 1, MOST_OF_A_LIFE).round().astype(np.int64)]
            for error in (truths[mine] - points[mine]).tolist():
                self._kept[knot, self._counts[knot] % ROOM] = error
                self._counts[knot] += 1

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return bool(self._counts.any())

    def interval(self) -> Interval:
        """Return the interval that the errors make; of width 0 as long as none is known."""
        low, high = np.zeros(KNOTS), np.zeros(KNOTS)
        if self.known:
            for knot in range(KNOTS):
                errors = np.sort(self._near(knot))
                low[knot] = min(-_quantile(-errors[::-1], self._aim / 2.0), 0.0)
                high[knot] = max(_quantile(errors, self._aim / 2.0), 0.0)
        return Interval(self.horizon, low, high)

    def expected(self, points: npt.NDArray[np.float64], at_least: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the mean of truths, up to the horizon, of which only lower bounds and estimates are known; shapes (n,).

        It is that of the truths that past errors make of the estimate, those below the bound left out; without any, the bound.
        """
        found = np.minimum(at_least, self.horizon)
        knots = np.rint(points / self.horizon * (KNOTS - 1)).astype(np.int64)
        for i, knot in enumerate(knots.tolist()):
            truths = points[i] + self._near(knot)
            beyond = truths[truths > at_least[i]]
            if len(beyond):
                found[i] = np.minimum(beyond, self.horizon).mean()
        return found

    def _near(self, knot: int) -> npt.NDArray[np.float64]:
        """Return a knot's errors; with those of its neighbours, and theirs, until they are enough."""
        for reach in range(KNOTS):
            knots = range(max(knot - reach, 0), min(knot + reach + 1, KNOTS))
            errors = np.concatenate([self._kept[each, : min(int(self._counts[each]), ROOM)] for each in knots])
            if len(errors) >= ENOUGH:
                break
        return errors

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what was learned as plain arrays and numbers."""
        return {
            "horizon": self.horizon,
            "coverage": self.coverage,
            "covered": self.covered,
            "judged": self.judged,
            "aim": self._aim,
            "errors": self._kept.copy(),
            "error_counts": self._counts.copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return what :meth:`to_arrays` described; raises :class:`ValueError` if it is none."""
        horizon = checked.number(arrays, "horizon", 1e-9, 1e12)
        made = cls(horizon, checked.number(arrays, "coverage", 1e-6, 1.0 - 1e-6))
        made.covered, made.judged = (int(checked.number(arrays, name, 0, _LARGEST)) for name in ("covered", "judged"))
        made._aim = checked.number(arrays, "aim", 0.0, 1.0)
        made._kept = checked.array(arrays, "errors", (KNOTS, ROOM))
        made._counts = checked.array(arrays, "error_counts", (KNOTS,), np.int64)
        return made


def _quantile(errors: npt.NDArray[np.float64], tail: float) -> float:
    """Return what a further error exceeds with the probability ``tail``, at most; of few errors, the largest.

    Parameters
    ----------
    errors
        Rising, at least one.
    """
    rank = math.ceil((1.0 - tail) * (len(errors) + 1))
    return float(errors[min(rank, len(errors)) - 1])
