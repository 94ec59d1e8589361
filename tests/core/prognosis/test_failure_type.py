"""Failure type: what is told is what is known, rows count only when their class is, and no number makes it lie."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.core.prognosis import artefacts, failure_type_learner, kinds
from pipeline.core.prognosis.failure_type import HORIZON, NONE, UNKNOWN, FailureType, Parameters, labels
from pipeline.core.prognosis.failure_type_learner import LEAST_JUDGED, UNTRIED, FailureTypeLearner, best_threshold
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.logistic import fit
from pipeline.core.prognosis.newest_rows import NewestRows

FEATURES, MODES = ("heat.last", "speed.last_max"), ("seal", "governor")
UNUSUAL = st.sampled_from([np.nan, np.inf, -np.inf, 1e140, -1e140, 1.7e308, 5e-324, 0.0])


def parameters(**changed: object) -> Parameters:
    return Parameters(
        center=np.array([50.0, 1_000.0]),
        scale=np.array([5.0, 100.0]),
        coefficients=np.array([[-3.0, 4.0, 0.0], [-3.0, 0.0, 4.0]]),
        thresholds=np.array([0.4, 0.6]),
    )._replace(**changed)


def model() -> FailureType:
    return FailureType(FEATURES, MODES, HORIZON, parameters())


def life(random: np.random.Generator, mode: int, cycles: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A machine that heats up, or races, in its last cycles; the last row is that in which it failed."""
    left = np.arange(cycles - 1, -1, -1.0)
    worn = 30.0 / (3.0 + left)
    heat = 50.0 + worn * (mode == 1) + random.normal(0.0, 0.2, cycles)
    speed = 1_000.0 + 20.0 * worn * (mode == 2) + random.normal(0.0, 4.0, cycles)
    return np.column_stack([heat, speed]), labels(cycles, mode)


def learned(lives: int = 40, seed: int = 0) -> FailureTypeLearner:
    random, learner = np.random.default_rng(seed), FailureTypeLearner(FEATURES, MODES)
    for nth in range(lives):
        learner.learn(*life(random, 1 + nth % 3 % 2))
    return learner


@pytest.fixture(scope="module")
def taught() -> FailureTypeLearner:
    return learned()


def same(first: FailureType, second: FailureType) -> bool:
    pairs = zip(first.parameters, second.parameters, strict=True)
    return (first.features, first.modes, first.horizon) == (second.features, second.modes, second.horizon) and all(
        np.array_equal(a, b) for a, b in pairs
    )


# What is known of a life


@given(cycles=st.integers(0, 30), ended_by=st.integers(-1, 3), horizon=st.integers(1, 9))
def test_a_class_is_known_when_the_horizon_has_passed_or_the_machine_has_failed(
    cycles: int, ended_by: int, horizon: int
) -> None:
    found = labels(cycles, ended_by, horizon).tolist()

    for left, each in zip(range(cycles - 1, -1, -1), found, strict=True):
        if ended_by == NONE:
            assert each == (NONE if left >= horizon else UNKNOWN)
        elif left == 0:
            assert each == UNKNOWN
        else:
            assert each == (ended_by if left <= horizon else NONE)


# The model


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e4, 1e4)), max_size=20))
def test_probabilities_are_probabilities_and_a_row_alone_has_the_same_as_among_others(rows: list) -> None:
    given_rows = np.array(rows).reshape(-1, 2)
    found = model().predict(given_rows)

    assert found.shape == (len(rows), 3)
    assert (found >= 0).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    for row, own in zip(given_rows, found, strict=True):
        assert model().predict(row[np.newaxis])[0].tolist() == own.tolist()


@given(UNUSUAL, UNUSUAL)
def test_what_is_not_finite_gives_no_prediction_and_what_is_huge_gives_one(heat: float, speed: float) -> None:
    found = model().predict(np.array([[heat, speed]]))

    if np.isfinite([heat, speed]).all():
        assert found.sum() == pytest.approx(1.0)
        assert model().choose(found)[0] in (0, 1, 2)
    else:
        assert np.isnan(found).all()
        assert model().choose(found).tolist() == [UNKNOWN]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([1.0, 0.0, 0.0], 0), ([0.6, 0.4, 0.0], 1), ([0.61, 0.39, 0.0], 0), ([0.4, 0.0, 0.6], 2),
        ([0.0, 0.45, 0.55], 1), ([0.0, 0.3, 0.7], 2), ([0.0, 0.4, 0.6], 2),
    ],
)  # fmt: skip
def test_the_mode_is_told_that_is_furthest_above_its_threshold(found: list[float], expected: int) -> None:
    assert model().choose(np.array([found])).tolist() == [expected]


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        model().predict(np.zeros((3, 5)))


def test_a_model_comes_back_from_its_arrays_and_from_its_artefact(taught: FailureTypeLearner) -> None:
    first = taught.model()
    stored = artefacts.encode(first, FEATURE_VERSION)
    read = kinds.read(stored, artefacts.digest(stored)).model

    assert same(FailureType.from_arrays(first.to_arrays()), first)
    assert isinstance(read, FailureType)
    assert same(read, first)


def test_the_answer_is_the_told_class_and_its_probability() -> None:
    rows = np.array([[50.0, 1_000.0], [60.0, 1_000.0], [50.0, np.nan], [50.0, 1_500.0]])
    answers, found = kinds.answer(model(), rows), model().predict(rows)

    assert answers.labels == ["none", "seal", "", "governor"]
    np.testing.assert_array_equal(answers.values, [found[0, 0], found[1, 1], np.nan, found[3, 2]])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("features", []), ("features", ["heat.last", "heat.last"]), ("modes", None), ("modes", "seal"), ("modes", ["seal"]),
        ("horizon", 0), ("horizon", "7"), ("horizon", np.nan), ("center", None), ("center", np.zeros(3)),
        ("scale", np.array([1.0, 0.0])), ("scale", np.array([1.0, np.nan])), ("scale", np.array([1, 1])),
        ("coefficients", np.full((2, 3), np.inf)), ("coefficients", np.zeros((3, 3))),
        ("thresholds", np.array([0.5, 1.1])), ("thresholds", np.array([0.0, 0.5])), ("thresholds", [0.5, 0.5]),
    ],
)  # fmt: skip
def test_arrays_of_no_model_are_refused_by_name(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"features|modes|horizon|center|scale|coefficients|thresholds") as raised:
        FailureType.from_arrays(model().to_arrays() | {name: wrong})

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", list(model().to_arrays()))
def test_a_missing_array_is_refused(name: str) -> None:
    arrays = model().to_arrays()
    del arrays[name]

    with pytest.raises(ValueError, match=name):
        FailureType.from_arrays(arrays)


# Learning


def test_a_learned_model_tells_both_modes_on_machines_that_it_has_not_seen(taught: FailureTypeLearner) -> None:
    assert f1(taught, 1) > 0.9
    assert f1(taught, 2) > 0.9


@pytest.mark.parametrize("wild", [1e140, -1e140, 1e9])
def test_wild_rows_spoil_nothing(taught: FailureTypeLearner, wild: float) -> None:
    learner = FailureTypeLearner.from_arrays(taught.to_arrays())
    learner.learn(np.array([[wild, 1_000.0], [50.0, wild], [wild, wild]]), np.array([0, 0, 1]))

    assert f1(learner, 1) > 0.88
    assert f1(learner, 2) > 0.88


def f1(learner: FailureTypeLearner, mode: int) -> float:
    """On machines that it has not seen."""
    random, found = np.random.default_rng(99), learner.model()
    rows, true = (np.concatenate(each) for each in zip(*(life(random, 1 + n % 2) for n in range(60)), strict=True))
    told = found.choose(found.predict(rows))[true != UNKNOWN] == mode
    was = true[true != UNKNOWN] == mode
    return 2 * np.count_nonzero(told & was) / (np.count_nonzero(told) + np.count_nonzero(was))


def test_the_same_lives_give_the_same_model(taught: FailureTypeLearner) -> None:
    assert same(learned().model(), taught.model())
    assert not same(learned(seed=1).model(), taught.model())


def test_a_row_is_judged_before_it_is_learned(taught: FailureTypeLearner) -> None:
    learner = FailureTypeLearner.from_arrays(taught.to_arrays())
    before = learner.model()
    rows, classes = life(np.random.default_rng(5), 2)

    assert learner.learn(rows, classes).tolist() == before.predict(rows).tolist()
    assert not same(learner.model(), before)


def test_nothing_is_told_before_the_first_failure() -> None:
    learner = FailureTypeLearner(FEATURES, MODES)
    rows, _ = life(np.random.default_rng(0), NONE)

    assert np.isnan(learner.learn(rows, labels(len(rows), NONE))).all()
    with pytest.raises(ValueError, match="no machine has failed"):
        learner.model()


def test_a_mode_that_has_not_been_seen_is_not_told() -> None:
    learner, random = FailureTypeLearner(FEATURES, MODES), np.random.default_rng(0)
    for _ in range(5):
        learner.learn(*life(random, 2))
    found = learner.model().predict(np.array([[1e9, 1_000.0], [50.0, 1_200.0]]))

    assert found[:, 1].max() < 1e-6
    assert found[1, 2] > 0.5


def test_a_mode_is_not_told_before_three_of_its_failures_were_judged() -> None:
    learner, random = FailureTypeLearner(FEATURES, MODES), np.random.default_rng(0)
    worn = np.array([[60.0, 1_000.0]])
    told = []
    for _ in range(5):
        learner.learn(*life(random, 1))
        found = learner.model()
        told.append(int(found.choose(found.predict(worn))[0]))

    # The first failure is judged by no model
    assert told == [0, 0, 0, 1, 1]


def test_rows_that_are_not_known_or_not_finite_are_not_learned(taught: FailureTypeLearner) -> None:
    learner = FailureTypeLearner.from_arrays(taught.to_arrays())
    rows, classes = life(np.random.default_rng(5), 1)
    before = learner.to_arrays()
    odd = rows.copy()
    odd[:, 0] = np.nan

    learner.learn(rows, np.full(len(rows), UNKNOWN))
    learner.learn(odd, classes)
    after = learner.to_arrays()

    assert all(np.array_equal(before[name], after[name]) for name in before)


@given(st.lists(st.lists(UNUSUAL | st.floats(allow_nan=True), min_size=2, max_size=2), min_size=1, max_size=5))
@settings(max_examples=25)
def test_whatever_is_learned_the_model_stays_one_of_finite_numbers(rows: list) -> None:
    learner = learned(3)
    learner.learn(np.clip(np.array(rows), -1e140, 1e140), np.array([each % 3 for each in range(len(rows))]))
    found = learner.model()

    assert same(FailureType.from_arrays(found.to_arrays()), found)


def test_a_sensor_that_never_changes_says_nothing() -> None:
    learner, random = FailureTypeLearner(("dead.last", *FEATURES), MODES), np.random.default_rng(0)
    for nth in range(9):
        rows, classes = life(random, 1 + nth % 2)
        learner.learn(np.column_stack([np.full(len(rows), 7.0), rows]), classes)
    found = learner.model()

    assert np.abs(found.parameters.coefficients[:, 1]).max() < 1e-6
    one = np.array([[7.0, 50.0, 1_000.0], [8.0, 50.0, 1_000.0]])
    assert found.predict(one)[0] == pytest.approx(found.predict(one)[1], abs=1e-6)


def test_classes_that_can_be_told_without_error_do_not_make_coefficients_endless() -> None:
    learner = FailureTypeLearner(FEATURES, MODES)
    rows = np.array([[0.0, 0.0]] * 50 + [[100.0, 0.0]] * 50 + [[0.0, 100.0]] * 50)
    for _ in range(2):
        learner.learn(rows, np.repeat([0, 1, 2], 50))

    assert np.abs(learner.model().parameters.coefficients).max() < 100
    assert learner.model().choose(learner.model().predict(rows)).tolist() == np.repeat([0, 1, 2], 50).tolist()


def test_state_does_not_grow_and_classes_keep_their_true_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, room in (("ROOM_FOR_NONE", 60), ("ROOM_FOR_MODE", 30), ("ROOM_FOR_JUDGED", 100)):
        monkeypatch.setattr(failure_type_learner, name, room)
    learner, random = FailureTypeLearner(["heat.last"], ["seal"]), np.random.default_rng(1)
    for _ in range(50):
        # A feature that says nothing: what is left is the share of failures
        learner.learn(random.normal(size=(100, 1)), np.repeat([0, 1], [90, 10]))
    arrays = learner.to_arrays()

    assert [len(arrays[f"{each}_rows"]) for each in ("class_0", "class_1", "judged")] == [60, 30, 100]
    assert learner.model().predict(np.zeros((1, 1)))[0, 1] == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("rows", "classes"),
    [(np.zeros((2, 3)), [0, 0]), (np.zeros((2, 2)), [0]), (np.zeros((2, 2)), [0, 3]), (np.zeros((2, 2)), [-2, 0])],
)
def test_rows_and_classes_that_do_not_fit_are_refused(rows: np.ndarray, classes: list[int]) -> None:
    with pytest.raises(ValueError, match=r"shape|classes"):
        FailureTypeLearner(FEATURES, MODES).learn(rows, np.array(classes))


@given(st.integers(0, 12))
@settings(max_examples=8)
def test_a_learner_that_is_stored_and_read_again_goes_on_as_if_nothing_had_been(stop: int) -> None:
    random = np.random.default_rng(3)
    lives = [life(random, nth % 3 or UNKNOWN) for nth in range(12)]
    straight, stopped = FailureTypeLearner(FEATURES, MODES), FailureTypeLearner(FEATURES, MODES)
    for nth, each in enumerate(lives):
        if nth == stop:
            stopped = FailureTypeLearner.from_arrays(stopped.to_arrays())
        np.testing.assert_array_equal(straight.learn(*each), stopped.learn(*each))

    assert same(straight.model(), stopped.model())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("schema_version", 0), ("feature_version", 0), ("ridge", 0.0), ("class_1_rows", np.zeros((2, 2))),
        ("judged_rows", np.zeros((1, 2))), ("judged_seen", -1), ("coefficients", np.full((2, 3), np.nan)),
    ],
)  # fmt: skip
def test_arrays_of_no_learner_are_refused(taught: FailureTypeLearner, name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        FailureTypeLearner.from_arrays(taught.to_arrays() | {name: wrong})


# Thresholds, regression, rows


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=80))
def test_no_threshold_has_a_better_f1_than_the_best(rows: list[tuple[float, bool]]) -> None:
    found, is_mode = np.array([p for p, _ in rows]), np.array([was for _, was in rows])

    def f1(threshold: float) -> float:
        told = found >= threshold
        return 2 * np.count_nonzero(told & is_mode) / max(1, np.count_nonzero(told) + np.count_nonzero(is_mode))

    best = best_threshold(found, is_mode)
    if np.count_nonzero(is_mode) < LEAST_JUDGED:
        assert best == UNTRIED
    else:
        assert 0 < best <= 1
        assert f1(best) == pytest.approx(max(f1(each) for each in {*found.tolist()} - {0.0} | {best}), abs=1e-12)


def test_the_regression_is_at_the_bottom_of_the_penalised_loss() -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack([np.ones(200), random.normal(size=(200, 2))])
    classes = random.integers(0, 3, 200)
    weights = random.uniform(0.1, 3.0, 200)
    found = fit(rows, classes, weights, 2, 0.5)

    def loss(b: np.ndarray) -> float:
        scores = np.column_stack([np.zeros(200), rows @ b.T])
        logs = scores[np.arange(200), classes] - np.log(np.exp(scores).sum(axis=1))
        return -(weights * logs).sum() + 0.25 * (b[:, 1:] ** 2).sum()

    assert all(loss(found) < loss(found + random.normal(0.0, 1e-3, found.shape)) for _ in range(50))


def test_a_row_that_counts_thrice_is_the_same_as_three_rows() -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack([np.ones(30), random.normal(size=30)])
    classes, weights = np.arange(30) % 2, random.integers(1, 4, 30)
    thrice = fit(np.repeat(rows, weights, axis=0), np.repeat(classes, weights), np.ones(weights.sum()), 1, 0.1)

    assert fit(rows, classes, weights.astype(float), 1, 0.1) == pytest.approx(thrice)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 7))
def test_the_newest_rows_are_kept_in_order(lengths: list[int], room: int) -> None:
    newest, taken = NewestRows(room, 1), []
    for length in lengths:
        rows = np.arange(len(taken), len(taken) + length, dtype=float)
        taken += rows.tolist()
        newest.take(rows[:, np.newaxis])
        again = NewestRows(room, 1)
        again.load(newest.rows(), newest.seen)
        again.take(np.array([[-1.0]]))

        assert newest.rows().ravel().tolist() == taken[-room:]
        assert newest.seen == len(taken)
        assert again.rows().ravel().tolist() == [*taken, -1.0][-room:]
