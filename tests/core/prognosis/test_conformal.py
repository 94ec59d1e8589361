"""Intervals from past errors: they hold as many truths as they say, and nothing makes them wrong in silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.prognosis.conformal import KNOTS, MOST_OF_A_LIFE, ROOM, Errors, Interval, bounds

HORIZON = 100.0


def held(errors: Errors, points: np.ndarray, truths: np.ndarray) -> float:
    interval = errors.interval()
    ends = np.array([bounds(interval, point) for point in points])
    return float(np.mean((ends[:, 0] <= truths) & (truths <= ends[:, 1])))


def life(rng: np.random.Generator, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return estimates and truths whose error grows with the estimate, and is not symmetric."""
    points = rng.uniform(0.0, HORIZON, rows)
    return points, points + (1.0 + 0.2 * points) * (rng.gamma(2.0, 1.0, rows) - 2.0)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_unseen_truths_are_held_as_often_as_promised(coverage: float) -> None:
    rng = np.random.default_rng(7)
    errors = Errors(HORIZON, coverage)
    for _ in range(200):
        errors.learn(*life(rng))

    points, truths = life(rng, 20_000)

    assert held(errors, points, truths) == pytest.approx(coverage, abs=0.03)
    assert errors.covered / errors.judged == pytest.approx(coverage, abs=0.03)


def test_they_are_held_as_often_among_small_and_among_large_estimates() -> None:
    rng = np.random.default_rng(8)
    errors = Errors(HORIZON, 0.9)
    for _ in range(200):
        errors.learn(*life(rng))

    points, truths = life(rng, 20_000)

    assert [held(errors, points[side], truths[side]) for side in (points < 20.0, points > 80.0)] == pytest.approx(
        [0.9, 0.9], abs=0.04
    )


def test_when_errors_grow_the_intervals_follow() -> None:
    rng = np.random.default_rng(9)
    errors = Errors(HORIZON, 0.9)
    for spread in (1.0, 6.0):
        for _ in range(100):
            points = rng.uniform(0.0, HORIZON, 40)
            errors.learn(points, points + rng.normal(0.0, spread, 40))
    before = errors.covered, errors.judged
    for _ in range(100):
        points = rng.uniform(0.0, HORIZON, 40)
        errors.learn(points, points + rng.normal(0.0, 6.0, 40))

    assert (errors.covered - before[0]) / (errors.judged - before[1]) == pytest.approx(0.9, abs=0.03)


def test_one_life_does_not_say_everything_and_the_state_is_bounded() -> None:
    errors = Errors(HORIZON, 0.9)
    errors.learn(np.full(10_000, 50.0), np.full(10_000, 55.0))

    assert errors.to_arrays()["error_counts"].sum() == MOST_OF_A_LIFE

    for _ in range(ROOM):
        errors.learn(np.full(4, 50.0), np.full(4, 45.0))

    arrays = errors.to_arrays()
    assert arrays["errors"].shape == (KNOTS, ROOM)
    assert bounds(errors.interval(), 50.0) == (45.0, 50.0)


def test_what_is_known_to_be_beyond_a_bound_is_expected_where_past_errors_lie_beyond_it() -> None:
    errors = Errors(HORIZON, 0.9)
    for _ in range(20):
        errors.learn(np.full(4, 50.0), np.array([40.0, 48.0, 52.0, 60.0]))
    points = np.array([50.0, 50.0, 50.0, 50.0, 95.0])

    found = errors.expected(points, np.array([0.0, 50.0, 55.0, 80.0, 90.0]))

    assert found.tolist() == [50.0, 56.0, 60.0, 80.0, pytest.approx((93.0 + 97.0 + 100.0) / 3.0)]
    assert Errors(HORIZON, 0.9).expected(points[:1], np.array([300.0])).tolist() == [HORIZON]


@given(st.lists(st.tuples(st.floats(0.0, HORIZON), st.floats(0.0, 1e6)), max_size=60), st.floats(0.0, HORIZON))
def test_an_interval_holds_its_estimate_and_is_never_below_zero(pairs: list[tuple[float, float]], point: float) -> None:
    errors = Errors(HORIZON, 0.9)
    for some in (pairs[::2], pairs[1::2]):
        errors.learn(np.array([a for a, _ in some]), np.array([b for _, b in some]))

    lower, upper = bounds(errors.interval(), point)

    assert 0.0 <= lower <= point <= upper < np.inf


def test_learning_goes_on_from_what_was_stored() -> None:
    rng = np.random.default_rng(10)
    lives = [life(rng) for _ in range(30)]
    whole, first = Errors(HORIZON, 0.9), Errors(HORIZON, 0.9)
    for each in lives[:15]:
        whole.learn(*each)
        first.learn(*each)
    second = Errors.from_arrays(first.to_arrays())
    for each in lives[15:]:
        whole.learn(*each)
        second.learn(*each)

    assert np.array_equal(whole.interval().low, second.interval().low)
    assert np.array_equal(whole.interval().high, second.interval().high)
    assert (whole.covered, whole.judged) == (second.covered, second.judged)


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0.0},
        {"horizon": np.nan},
        {"low": np.zeros(3)},
        {"low": np.full(KNOTS, 1.0)},
        {"high": np.full(KNOTS, np.nan)},
    ],
)
def test_what_is_no_interval_is_refused(wrong: dict[str, object]) -> None:
    arrays = Interval(10.0, np.full(KNOTS, -1.0), np.full(KNOTS, 1.0)).to_arrays()

    with pytest.raises(ValueError, match=next(iter(wrong))):
        Interval.from_arrays(arrays | wrong)
