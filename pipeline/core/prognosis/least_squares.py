"""Recursive least squares in information form: row by row the same as ridge regression on all rows so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.prognosis import checked

_LARGEST = 2**53


class LeastSquares:
    """A linear model that learns in O(width²) per row and memory, however many rows there are.

    Kept are the sums of products that the normal equations are made of, not their solution: so rows can be learned in any
    order with the same result but for rounding, and errors do not add up as in the covariance form. The weights are worked
    out when they are asked for, in O(width³). Nothing is forgotten. It is recursive least squares with the covariance
    1/ridge to begin with (Plackett 1950, *Some theorems in least squares*).

    Parameters
    ----------
    width
        Length of a row. The first number of each row is the constant 1, of which the weight is not shrunk.
    ridge
        How much squared weights cost; > 0.

    Examples
    --------
    >>> line = LeastSquares(2, ridge=1e-9)
    >>> line.learn(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([5.0, 7.0, 9.0]))
    >>> line.weights().round(6).tolist()
    [5.0, 2.0]
    """

    def __init__(self, width: int, ridge: float) -> None:
        self.ridge = ridge
        self.rows = 0
        self._products = np.zeros((width, width))
        self._targets = np.zeros(width)

    def learn(self, rows: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> None:
        """Learn rows, shape (n, width), of which the targets, shape (n,), are known; all finite."""
        self.rows += len(rows)
        self._products += rows.T @ rows
        self._targets += rows.T @ targets

    def weights(self) -> npt.NDArray[np.float64]:
        """Return what a row is to be multiplied with, shape (width,); zeros as long as nothing was learned."""
        if self.rows == 0:
            return np.zeros_like(self._targets)
        costs = np.full(len(self._targets), self.ridge)
        costs[0] = 0.0
        return np.asarray(np.linalg.solve(self._products + np.diag(costs), self._targets), np.float64)

    def to_arrays(self) -> dict[str, Any]:
        """Return what was learned as plain arrays and numbers."""
        return {"products": self._products, "targets": self._targets, "rows": self.rows, "ridge": self.ridge}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], width: int) -> Self:
        """Return what :meth:`to_arrays` described; raises :class:`ValueError` if it is not of such rows."""
        made = cls(width, checked.number(arrays, "ridge", 1e-300, 1e300))
        made.rows = int(checked.number(arrays, "rows", 0, _LARGEST))
        made._products = checked.array(arrays, "products", (width, width))
        made._targets = checked.array(arrays, "targets", (width,))
        return made
