"""The map of features: about a Gaussian kernel, and nothing that is missing or huge breaks it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.prognosis.random_features import BANDWIDTH, FeatureMap, Standardiser, map_row, map_rows

ROWS = np.random.default_rng(3).normal([10.0, -5.0, 0.0], [2.0, 0.5, 7.0], (500, 3))


def standardiser() -> Standardiser:
    made = Standardiser(3)
    made.take(ROWS)
    return made


def mapped(feature_map: FeatureMap, rows: np.ndarray) -> np.ndarray:
    out = np.empty((len(rows), feature_map.width))
    map_rows(feature_map, rows, out)
    return out


def test_products_of_mapped_rows_are_about_the_kernel() -> None:
    feature_map = standardiser().draw(20_000, seed=1)
    rows = np.array([[10.0, -5.0, 0.0], [11.0, -5.2, 3.0], [9.0, -4.9, -2.0]])

    waves = mapped(feature_map, rows)[:, 4:]

    z = (rows - ROWS.mean(axis=0)) / ROWS.std(axis=0)
    squares = ((z[:, None] - z[None]) ** 2).sum(axis=-1)
    assert waves @ waves.T == pytest.approx(np.exp(-0.5 * squares * BANDWIDTH**2 / 3), abs=0.03)


def test_means_and_deviations_do_not_depend_on_how_rows_come_and_leave_out_what_is_missing() -> None:
    rows = np.vstack([ROWS, [[np.nan, 1.0, np.inf]]])
    piecewise = Standardiser(3)
    for some in np.array_split(rows, 7):
        piecewise.take(some)

    drawn = piecewise.draw(0, seed=0)

    assert drawn.centres[[0, 2]] == pytest.approx(ROWS[:, [0, 2]].mean(axis=0))
    assert 1.0 / drawn.scales[[0, 2]] == pytest.approx(ROWS[:, [0, 2]].std(axis=0))


def test_a_feature_that_was_constant_is_ignored_for_good() -> None:
    made = Standardiser(2)
    made.take(np.column_stack([ROWS[:, 0], np.full(500, 14.62)]))
    feature_map = made.draw(50, seed=0)

    usual, other = mapped(feature_map, np.array([[10.0, 14.62], [10.0, 99.0]]))

    assert np.array_equal(usual, other)


def test_what_is_missing_counts_as_the_mean_and_is_counted() -> None:
    feature_map = standardiser().draw(50, seed=0)
    missing, mean = np.empty(feature_map.width), np.empty(feature_map.width)

    assert map_row(feature_map, np.array([np.nan, -5.0, np.inf]), missing) == 2
    assert map_row(feature_map, np.array([feature_map.centres[0], -5.0, feature_map.centres[2]]), mean) == 0
    assert missing == pytest.approx(mean)


def test_the_largest_readings_there_are_give_finite_numbers() -> None:
    assert np.isfinite(mapped(standardiser().draw(50, seed=0), np.array([[1e140, -1e140, 1e140]]))).all()


def test_the_same_seed_is_the_same_map_and_another_one_is_not() -> None:
    first, again, other = (standardiser().draw(10, seed) for seed in (5, 5, 6))

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.frequencies, other.frequencies)
