"""Recursive least squares in information form: row by row the same as ridge regression on all rows so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.prognosis import checked

_LARGEST = 2**53


@uncounted
def _add(products: Any, sums: Any, rows: Any, targets: Any) -> None:
    """Add rows to the upper half of the products, and to their sums with the targets."""
    width = len(sums)
    for n in range(len(rows)):
        row = rows[n]
        for i in range(width):
            sums[i] += row[i] * targets[n]
            factor = row[i]
            for j in range(i, width):
                products[i, j] += factor * row[j]


@uncounted
def _solve(matrix: Any, solution: Any, ridge: float) -> None:
    """Replace sums by the solution of the normal equations (Cholesky); of the matrix only the upper half counts, and goes.

    A loop of its own: threads of a linear algebra library take turns badly where others compute, and its sums depend on them.
    """
    width = len(solution)
    for k in range(width):
        # Exactly computed, none but the first, which is the number of rows, could be less than the ridge
        pivot = math.sqrt(max(matrix[k, k], ridge) if k > 0 else matrix[k, k])
        for j in range(k, width):
            matrix[k, j] /= pivot
        matrix[k, k] = pivot
        for i in range(k + 1, width):
            factor = matrix[k, i]
            for j in range(i, width):
                matrix[i, j] -= factor * matrix[k, j]
        solution[k] /= pivot
        for j in range(k + 1, width):
            solution[j] -= matrix[k, j] * solution[k]
    for k in range(width - 1, -1, -1):
        for j in range(k + 1, width):
            solution[k] -= matrix[k, j] * solution[j]
        solution[k] /= matrix[k, k]


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
        self._sums = np.zeros(width)

    def learn(self, rows: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> None:
        """Learn rows, shape (n, width), of which the targets, shape (n,), are known; all finite."""
        self.rows += len(rows)
        _add(self._products, self._sums, rows, targets)

    def weights(self) -> npt.NDArray[np.float64]:
        """Return what a row is to be multiplied with, shape (width,); zeros as long as nothing was learned."""
        solution = self._sums.copy()
        if self.rows == 0:
            return solution
        matrix = self._products.copy()
        matrix[np.diag_indices(len(solution), 2)] += np.append(0.0, np.full(len(solution) - 1, self.ridge))
        _solve(matrix, solution, self.ridge)
        return solution

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what was learned as plain arrays and numbers."""
        return {"products": self._products.copy(), "sums": self._sums.copy(), "rows": self.rows, "ridge": self.ridge}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], width: int) -> Self:
        """Return what :meth:`to_arrays` described; raises :class:`ValueError` if it is not of such rows."""
        made = cls(width, checked.number(arrays, "ridge", 1e-300, 1e300))
        made.rows = int(checked.number(arrays, "rows", 0, _LARGEST))
        made._products = checked.array(arrays, "products", (width, width))
        made._sums = checked.array(arrays, "sums", (width,))
        return made
