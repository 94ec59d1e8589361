"""Remaining life: learned from lives that ended, and what must not go wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner

NAMES = ("heat.fast", "noise.fast", "age")
HORIZON = 60.0


def life(rng: np.random.Generator, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return features and remaining life of a machine whose heat shows its wear."""
    remaining = np.arange(float(length or rng.integers(70, 130)))[::-1]
    heat = 50.0 + 10.0 * np.exp(-remaining / 25.0) + rng.normal(0.0, 0.2, len(remaining))
    return np.column_stack([heat, rng.normal(size=len(remaining)), len(remaining) - remaining]), remaining


def taught(lives: int = 30, *, map_seed: int = 0) -> RemainingLifeLearner:
    rng = np.random.default_rng(0)
    learner = RemainingLifeLearner(NAMES, HORIZON, cosines=48, seed=map_seed)
    for _ in range(lives):
        rows, remaining = life(rng)
        learner.see(rows)
        learner.learn(rows, remaining)
    return learner


def test_unseen_machines_are_told_well_and_their_truth_is_in_the_interval() -> None:
    model, rng = taught(60).model(), np.random.default_rng(99)
    lives = [life(rng) for _ in range(60)]

    found = model.predict(np.concatenate([rows for rows, _ in lives]))

    truths = np.concatenate([remaining for _, remaining in lives])
    assert np.sqrt(np.mean((found.points - np.minimum(truths, HORIZON)) ** 2)) < 3.0
    assert np.mean((found.lower <= truths) & (truths <= found.upper)) == pytest.approx(0.9, abs=0.04)


def test_each_life_is_told_before_it_is_learned() -> None:
    rng = np.random.default_rng(1)
    first, second = taught(10), taught(10)
    rows, remaining = life(rng)

    assert np.array_equal(first.learn(rows, remaining).points, second.model().predict(rows).points)
    assert not np.array_equal(first.model().predict(rows).points, second.model().predict(rows).points)


def test_there_is_no_answer_before_two_machines_have_failed() -> None:
    learner, rng = RemainingLifeLearner(NAMES, HORIZON, cosines=8), np.random.default_rng(0)

    assert np.isnan(learner.learn(*life(rng)).points).all()
    with pytest.raises(ValueError, match="fewer than two machines have failed"):
        learner.model()
    learner.learn(*life(rng))
    assert np.isfinite(learner.model().predict(life(rng)[0]).upper).all()


def test_a_feature_that_is_missing_counts_as_its_mean_and_most_of_them_give_no_answer() -> None:
    model = taught().model()
    mean = model.parameters.feature_map.centres[1]

    found = model.predict([[55.0, np.nan, 60.0], [55.0, mean, 60.0], [np.nan, np.nan, 60.0], [np.inf, -np.inf, np.nan]])

    assert found.points[0] == found.points[1]
    assert np.isnan([each[2:] for each in found]).all()


def test_rows_that_are_mostly_missing_are_not_learned() -> None:
    rng = np.random.default_rng(4)
    rows, remaining = life(rng)
    learner, other = taught(), taught()
    learner.learn(rows, remaining)
    other.learn(np.concatenate([rows, np.full((9, 3), np.nan)]), np.concatenate([remaining, np.zeros(9)]))

    assert np.array_equal(learner.model().parameters.weights, other.model().parameters.weights)


def test_a_constant_feature_a_huge_one_and_a_life_of_one_row_break_nothing() -> None:
    rng = np.random.default_rng(5)
    learner = RemainingLifeLearner(NAMES, HORIZON, cosines=16)
    for length in (90, 1, 80, 0, 100):
        rows, remaining = life(rng, length or 1)
        rows[:, 1] = 14.62
        learner.see(rows[:length])
        learner.learn(rows[:length], remaining[:length])

    found = learner.model().predict([[55.0, 14.62, 60.0], [1e140, -1e140, 1e140]])

    assert np.isfinite(found).all()
    assert (np.array(found) >= 0.0).all()


def test_the_same_lives_give_the_same_model_and_another_seed_another_one() -> None:
    first, again, other = taught().to_arrays(), taught().to_arrays(), taught(map_seed=7).to_arrays()

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["products"], other["products"])


def test_a_model_is_the_same_after_it_was_stored() -> None:
    model, rows = taught().model(), life(np.random.default_rng(3))[0]

    read = RemainingLife.from_arrays(model.to_arrays())

    assert read.features == NAMES
    assert read.horizon == HORIZON
    assert all(np.array_equal(a, b) for a, b in zip(read.predict(rows), model.predict(rows), strict=True))


def test_a_model_does_not_change_when_its_learner_goes_on() -> None:
    learner, rows = taught(), life(np.random.default_rng(3))[0]
    model = learner.model()
    before = model.predict(rows)
    for _ in range(5):
        learner.learn(*life(np.random.default_rng(8)))

    assert all(np.array_equal(a, b) for a, b in zip(model.predict(rows), before, strict=True))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("features", []),
        ("features", ["age", "age", "oil.fast"]),
        ("features", ["age"]),
        ("weights", np.zeros(3)),
        ("weights", "none"),
        ("phases", np.zeros((2, 2))),
        ("frequencies", np.zeros((3, 48), np.float32)),
        ("centres", np.full(3, np.nan)),
        ("horizon", "60"),
        ("horizon", True),
        ("high", None),
    ],
)
def test_arrays_that_are_no_model_are_refused_in_one_line(name: str, wrong: Any) -> None:
    arrays = taught(3).model().to_arrays() | {name: wrong}

    with pytest.raises(ValueError, match=r"\w") as refused:
        RemainingLife.from_arrays(arrays)

    assert "\n" not in str(refused.value)


def test_learning_goes_on_from_what_was_stored() -> None:
    whole, first, rng = taught(), taught(), np.random.default_rng(6)
    stored = first.to_arrays()
    first.learn(*life(rng))
    second = RemainingLifeLearner.from_arrays(stored)
    for _ in range(5):
        rows, remaining = life(rng)
        whole.learn(rows, remaining)
        second.learn(rows, remaining)

    stored, expected = second.to_arrays(), whole.to_arrays()
    assert stored.keys() == expected.keys()
    assert all(np.array_equal(stored[name], expected[name]) for name in expected)


def test_a_learner_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="schema_version 0, not 1: train it anew"):
        RemainingLifeLearner.from_arrays(taught(3).to_arrays() | {"schema_version": 0})


@pytest.mark.parametrize("remaining", [[1.0], [-1.0, 0.0], [np.nan, 0.0], [np.inf, 0.0]])
def test_remaining_lives_that_cannot_be_are_refused(remaining: list[float]) -> None:
    with pytest.raises(ValueError, match="none below 0"):
        taught(2).learn(np.zeros((2, 3)), np.array(remaining))
    with pytest.raises(ValueError, match="none below 0"):
        taught(2).learn_censored(np.zeros((2, 3)), np.array(remaining))


@pytest.mark.parametrize("rows", [np.zeros((2, 4)), np.zeros(3), np.zeros((1, 3, 1))])
def test_rows_of_another_width_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="is expected"):
        taught(3).model().predict(rows)


def censored_fleet(*, use: bool) -> float:
    """Return the mean error of estimates after a fleet of which half was maintained before it failed."""
    rng = np.random.default_rng(11)
    learner = RemainingLifeLearner(NAMES, HORIZON, cosines=48)
    for number in range(120):
        remaining = np.arange(float(rng.integers(70, 130)))[::-1]
        # Wear shows poorly, so that those which were going to live long are those which were maintained
        heat = 50.0 + 10.0 * np.exp(-remaining / 25.0) + rng.normal(0.0, 6.0, len(remaining))
        rows = np.column_stack([heat, rng.normal(size=len(heat)), len(heat) - remaining])
        if len(heat) <= 95 or number % 4 == 0:
            learner.learn(rows, remaining)
        elif use:
            learner.learn_censored(rows[:95], remaining[:95] - remaining[94])
    rng = np.random.default_rng(12)
    errors = []
    for _ in range(60):
        remaining = np.arange(float(rng.integers(70, 130)))[::-1]
        heat = 50.0 + 10.0 * np.exp(-remaining / 25.0) + rng.normal(0.0, 6.0, len(remaining))
        rows = np.column_stack([heat, rng.normal(size=len(heat)), len(heat) - remaining])
        errors.append(learner.model().predict(rows).points - np.minimum(remaining, HORIZON))
    return float(np.mean(np.concatenate(errors)))


def test_lives_that_ended_without_a_failure_make_estimates_less_short() -> None:
    without, used = censored_fleet(use=False), censored_fleet(use=True)

    assert without < -4.0
    assert without + 1.5 < used < 0.5


def test_a_bound_that_every_estimate_keeps_teaches_nothing() -> None:
    learner, rows = taught(), life(np.random.default_rng(3))[0]
    before = learner.to_arrays()["products"]

    learner.learn_censored(rows, np.zeros(len(rows)))

    assert np.array_equal(learner.to_arrays()["products"], before)
    assert learner.censored == 1


def test_censored_lives_alone_are_no_model() -> None:
    learner = RemainingLifeLearner(NAMES, HORIZON, cosines=8)

    assert np.isnan(learner.learn_censored(np.zeros((4, 3)), np.full(4, 5.0)).points).all()
    with pytest.raises(ValueError, match="fewer than two"):
        learner.model()
