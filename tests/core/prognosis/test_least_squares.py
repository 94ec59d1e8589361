"""Least squares, learned in pieces: the same as ridge regression on all rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.prognosis.least_squares import LeastSquares


def drawn(seed: int, rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = np.column_stack([np.ones(rows), rng.normal(size=(rows, width - 1))])
    return made, rng.normal(5.0, 3.0, rows)


@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 12), st.floats(1e-6, 1e3), st.integers(1, 5))
def test_learning_in_pieces_is_ridge_regression_on_everything(
    seed: int, rows: int, width: int, ridge: float, pieces: int
) -> None:
    given_rows, targets = drawn(seed, rows, width)
    learner = LeastSquares(width, ridge)
    for some, their in zip(np.array_split(given_rows, pieces), np.array_split(targets, pieces), strict=True):
        learner.learn(some, their)

    costs = np.sqrt(ridge) * np.eye(width)[1:]
    expected = np.linalg.lstsq(np.vstack([given_rows, costs]), np.append(targets, np.zeros(width - 1)))[0]
    assert learner.weights() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_columns_that_are_equal_or_zero_share_and_get_nothing() -> None:
    rows, targets = drawn(1, 50, 3)
    learner = LeastSquares(5, 1e-6)
    learner.learn(np.column_stack([rows, rows[:, 2], np.zeros(50)]), targets)

    weights = learner.weights()

    assert np.isfinite(weights).all()
    assert weights[2] == pytest.approx(weights[3], rel=1e-3)
    assert weights[4] == 0.0


def test_without_a_row_all_weights_are_zero() -> None:
    assert LeastSquares(4, 0.1).weights().tolist() == [0.0] * 4


def test_numbers_far_apart_still_have_a_solution() -> None:
    rows = np.column_stack([np.ones(100), np.linspace(0.0, 1e9, 100), np.linspace(0.0, 1e-9, 100)])
    learner = LeastSquares(3, 0.1)
    learner.learn(rows, 2.0 + 3.0 * rows[:, 1])

    assert rows @ learner.weights() == pytest.approx(2.0 + 3.0 * rows[:, 1], rel=1e-3, abs=1e3)


def test_learning_goes_on_from_what_was_stored() -> None:
    rows, targets = drawn(2, 60, 6)
    whole, first = LeastSquares(6, 0.1), LeastSquares(6, 0.1)
    for learner in (whole, first):
        learner.learn(rows[:30], targets[:30])
    second = LeastSquares.from_arrays(first.to_arrays(), 6)
    for learner in (whole, second):
        learner.learn(rows[30:], targets[30:])

    assert second.rows == 60
    assert np.array_equal(second.weights(), whole.weights())
    with pytest.raises(ValueError, match=r"products is float64 of shape \(6, 6\)"):
        LeastSquares.from_arrays(first.to_arrays(), 7)
