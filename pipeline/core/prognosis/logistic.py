"""Multinomial logistic regression with a ridge, by Newton's method: the weights of rows are how often they count."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit

Rows = npt.NDArray[np.float64]

_STEPS, _HALVINGS, _CLOSE = 50, 20, 1e-8


@njit(cache=True, nogil=True)
def _derive(rows: Any, classes: Any, weights: Any, ridge: float, b: Any, gradient: Any, curvature: Any) -> float:
    """Return the penalised loss at coefficients ``b``; write its gradient, and its curvature if there is room for it.

    ``gradient`` has the shape of ``b``, which is (modes, width); ``curvature`` (modes · width, modes · width), or (0, 0).
    """
    modes, width = b.shape
    loss = 0.5 * ridge * (b[:, 1:] ** 2).sum()
    gradient[:, 0] = 0.0
    gradient[:, 1:] = ridge * b[:, 1:]
    curvature[:] = 0.0
    scores = np.empty(modes)
    for n in range(len(rows)):
        row, highest = rows[n], 0.0
        for m in range(modes):
            scores[m] = 0.0
            for i in range(width):
                scores[m] += b[m, i] * row[i]
            highest = max(highest, scores[m])
        own = scores[classes[n] - 1] if classes[n] > 0 else 0.0
        total = np.exp(-highest) + np.exp(scores - highest).sum()
        loss += weights[n] * (highest + np.log(total) - own)
        scores[:] = np.exp(scores - highest) / total
        for m in range(modes):
            off = weights[n] * (scores[m] - (1.0 if classes[n] == 1 + m else 0.0))
            for i in range(width):
                gradient[m, i] += off * row[i]
        if len(curvature):
            _bend(row, weights[n], scores, curvature)
    for k in range(len(curvature)):
        if k % width:
            curvature[k, k] += ridge
        for other in range(k):
            # A block is the same on both sides of its diagonal, and so is the whole
            block, i, j = other // width * width, k % width, other % width
            if j > i:
                curvature[k, other] = curvature[k - i + j, block + i]
            curvature[other, k] = curvature[k, other]
    return float(loss)


@njit(cache=True, nogil=True)
def _bend(row: Any, weight: float, chances: Any, curvature: Any) -> None:
    """Add what a row bends the loss by, below the diagonal of each two modes' block."""
    width = len(row)
    for a in range(len(chances)):
        for b in range(a + 1):
            bent = weight * chances[a] * ((1.0 if a == b else 0.0) - chances[b])
            for i in range(width):
                for j in range(i + 1):
                    curvature[a * width + i, b * width + j] += bent * row[i] * row[j]


def fit(rows: Rows, classes: npt.NDArray[np.int64], weights: Rows, modes: int, ridge: float) -> Rows:
    """Return the coefficients with the least penalised loss: −ln of the likelihood, and half the ridge of each squared.

    Parameters
    ----------
    rows
        Shape (n, width), n ≥ 1; the first column is 1, and its coefficients are not penalised. Moderate numbers: standardise.
    classes
        0, or the mode from 1 on; shape (n,). Each of them has to be there.
    weights
        How often each row counts; shape (n,), ≥ 0.
    ridge
        > 0: classes that can be told apart without error would have endless coefficients.

    Returns
    -------
    Of the score of each mode against class 0; shape (modes, width).

    Examples
    --------
    >>> x = np.array([-2.0, -1.0, -1.0, 1.0, 1.0, 2.0])
    >>> rows = np.column_stack([np.ones(6), x])
    >>> fit(rows, np.array([0, 0, 1, 0, 1, 1]), np.ones(6), 1, 0.1).round(2)
    array([[0.  , 0.72]])
    """
    width = rows.shape[1]
    found, gradient = np.zeros((modes, width)), np.empty((modes, width))
    curvature, nothing = np.empty((modes * width, modes * width)), np.empty((0, 0))
    for _ in range(_STEPS):
        loss = _derive(rows, classes, weights, ridge, found, gradient, curvature)
        # Constants are not penalised, and where one class is nearly certain everywhere they hardly bend the loss
        curvature[np.diag_indices(len(curvature))] += 1e-9
        step = np.linalg.solve(curvature, gradient.ravel()).reshape(modes, width)
        size = 1.0
        for _ in range(_HALVINGS):
            if _derive(rows, classes, weights, ridge, found - size * step, gradient, nothing) <= loss:
                break
            size /= 2
        else:
            break
        found -= size * step
        if np.abs(step).max() < _CLOSE:
            break
    return found
