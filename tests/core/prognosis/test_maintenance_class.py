"""The learned class of maintenance (R27): as good as rules that it was not given, and it follows them when they change."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks.evaluation import maintenance
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.maintenance_class_learner import FIRST, MaintenanceClassLearner
from tests.datasets import dataset

NAMES = ("pressure", "temperature")
SMALL = (1024, 256, 64)


def press(count: int, seed: int = 0, limit: float = 7600.0, noise: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a press and their classes by rules, some of these wrong."""
    random = np.random.default_rng(seed)
    rows = np.stack([random.integers(7450, 7651, count), random.integers(40, 81, count)], 1).astype(np.float64)
    labels = np.select([rows[:, 0] > limit, rows[:, 1] >= 70], [5, 1], 0)
    wrong = random.random(count) < noise
    labels[wrong] = random.integers(0, 6, int(wrong.sum()))
    return rows, labels


def learner(windows: tuple[int, ...] = SMALL) -> MaintenanceClassLearner:
    return MaintenanceClassLearner(NAMES, windows=windows)


ROWS, LABELS = press(1500)


def test_rules_that_were_not_given_are_learned() -> None:
    each = learner()
    each.learn(ROWS, LABELS)

    found = {(leaf.requirement, tuple(leaf.conditions)) for leaf in each.model().leaves()}

    limits = {(sensor, value) for _, conditions in found for sensor, _, value in conditions}
    assert limits == {("pressure", 7600.5), ("temperature", 69.5)}
    assert {requirement for requirement, _ in found} == {0, 1, 5}


def test_on_the_public_data_it_is_as_good_as_the_rules_after_5000_rows() -> None:
    rows, labels = maintenance.read(dataset("maintenance") / "maintenance.csv")

    told = MaintenanceClassLearner(NAMES).learn(rows, labels)

    correct = (told == labels)[maintenance.LEARNED_ROWS :].mean()
    by_rules = (maintenance.by_rules(rows) == labels)[maintenance.LEARNED_ROWS :].mean()
    assert by_rules == pytest.approx(0.9686, abs=1e-4)
    assert correct > by_rules - 0.002


def test_a_row_is_told_before_it_is_learned() -> None:
    """Labels that nothing explains are guessed no better than by chance, and later labels change nothing before."""
    random = np.random.default_rng(1)
    rows, labels = random.normal(size=(1024, 2)), random.integers(0, 2, 1024)
    others = labels.copy()
    others[700:] = 1 - others[700:]

    told, other = (MaintenanceClassLearner(NAMES, 2, SMALL).learn(rows, each) for each in (labels, others))

    assert 0.4 < (told[FIRST:] == labels[FIRST:]).mean() < 0.6
    assert (told[:701] == other[:701]).all()


@given(st.lists(st.integers(0, 1500), max_size=6), st.booleans())
@settings(max_examples=12, deadline=None)
def test_it_does_not_matter_how_rows_are_cut_and_whether_the_learner_was_stored(cuts: list[int], store: bool) -> None:
    whole = learner()
    told = whole.learn(ROWS, LABELS)
    pieces, edges, answers = learner(), sorted({0, *cuts, 1500}), []
    for begin, end in pairwise(edges):
        answers.append(pieces.learn(ROWS[begin:end], LABELS[begin:end]))
        if store:
            pieces = MaintenanceClassLearner.from_arrays(pieces.to_arrays())

    assert (np.concatenate(answers) == told).all()
    assert_same(pieces.to_arrays(), whole.to_arrays())


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name


def test_a_rule_that_changes_is_followed_from_the_shortest_window_and_then_from_longer_ones() -> None:
    each = MaintenanceClassLearner(NAMES, windows=(4096, 1024, 256))
    each.learn(*press(4096, 1))
    assert each.window == 4096
    rows, labels = press(4096, 2, limit=7550.0)

    right = each.learn(rows, labels) == labels

    assert right[:256].mean() < 0.8
    assert right[512:].mean() > 0.95
    assert each.window > 256
    limits = {value for leaf in each.model().leaves() for sensor, _, value in leaf.conditions if sensor == "pressure"}
    assert limits == {7550.5}


def test_a_class_that_comes_late_is_learned_and_was_never_impossible() -> None:
    rows, labels = press(2048, noise=0.0)
    labels[:1024][labels[:1024] == 5] = 0
    each = learner()
    each.learn(rows[:1024], labels[:1024])
    assert {leaf.requirement for leaf in each.model().leaves()} == {0, 1}
    assert (each.model().tree.probabilities > 0).all()

    each.learn(rows[1024:], labels[1024:])

    assert each.model().predict(np.array([[7650.0, 60.0]])).classes.tolist() == [5]


def test_one_class_and_constant_readings_are_one_leaf() -> None:
    for rows, labels, answer in (
        (ROWS[:300], np.full(300, 3), 3),
        (np.full((300, 2), 7.0), np.array([0, 2, 2] * 100), 2),
    ):
        each = learner()
        each.learn(rows, labels)
        told = each.model().predict(np.array([[1e300, -1e300]]))

        assert told.classes.tolist() == [answer]
        assert 0.6 < told.chances[0] < 1


def test_units_do_not_matter() -> None:
    scales = np.array([1e-9, 1e300])
    plain, scaled = learner(), learner()

    told = plain.learn(ROWS - 7500, LABELS)

    assert (scaled.learn((ROWS - 7500) * scales, LABELS) == told).all()


@pytest.mark.parametrize(
    ("rows", "labels", "says"),
    [
        ([[1.0, 2.0], [1.0, np.nan]], [0, 0], "row 1: temperature is not finite"),
        ([[np.inf, 2.0]], [0], "row 0: pressure is not finite"),
        ([[1.0, 2.0]] * 2, [5, 6], "row 1: label 6 is not in 0 to 5"),
        ([[1.0, 2.0]], [-1], "row 0: label -1 is not in 0 to 5"),
        ([[1.0, 2.0]], [1.0], "labels are float64"),
        ([[1.0, 2.0]], [True], "labels are bool"),
        ([[1.0, 2.0]], [1, 1], r"of shape \(2,\)"),
        ([[1.0]], [1], r"rows have the shape \(1, 1\), not \(n, 2\)"),
        ([1.0, 2.0], [1], r"rows have the shape \(2,\)"),
    ],
)
def test_what_cannot_be_learned_is_refused_whole(rows: Any, labels: Any, says: str) -> None:
    each = learner()

    with pytest.raises(ValueError, match=says):
        each.learn(np.array(rows), np.array(labels))

    assert each.seen == 0


def test_before_the_first_tree_nothing_is_told() -> None:
    each = learner()

    assert (each.learn(ROWS[: FIRST - 1], LABELS[: FIRST - 1]) == -1).all()
    with pytest.raises(ValueError, match="15 rows are too few"):
        each.model()
    assert each.learn(np.empty((0, 2)), np.empty(0, np.int64)).tolist() == []


def test_a_model_stays_as_it_is_while_its_learner_goes_on() -> None:
    each = learner()
    each.learn(ROWS, LABELS)
    model = each.model()
    before = model.to_arrays()

    each.learn(*press(1500, 5, limit=7500.0))

    assert_same(model.to_arrays(), before)
    assert not np.array_equal(each.model().tree.thresholds, model.tree.thresholds)


def test_a_model_survives_its_arrays_and_answers_alike() -> None:
    each = learner()
    each.learn(ROWS, LABELS)
    model = each.model()
    again = MaintenanceClassModel.from_arrays(model.to_arrays())
    rows = np.vstack([press(200, 9)[0], [[np.nan, 50.0], [7600.0, np.inf]]])

    one, other = model.predict(rows), again.predict(rows)

    assert (one.classes == other.classes).all()
    assert np.array_equal(one.chances, other.chances, equal_nan=True)
    assert one.classes[-2:].tolist() == [-1, -1]
    assert np.isnan(one.chances[-2:]).all()
    assert again.features == NAMES


@pytest.mark.parametrize("features", [None, [], ["a", "a"], ["a", ""], ["a", 1], "ab", [str(n) for n in range(9)]])
def test_features_that_are_no_names_are_refused(features: Any) -> None:
    with pytest.raises(ValueError, match="features are not"):
        MaintenanceClassModel.from_arrays(
            {**MaintenanceClassModel(["a"], learner()._trees[0]).to_arrays(), "features": features}
        )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"schema": 2}, "schema is 2, not 1"),
        ({"chosen": 3}, "cannot have seen"),
        ({"seen": -1}, "cannot have seen"),
        ({"seen": 1.5}, "cannot be read"),
        ({"losses": np.full(3, np.nan)}, "losses are not all finite"),
        ({"losses": np.zeros(2)}, "could not be broadcast|broadcast"),
        ({"values": np.zeros((3, 2))}, "cannot reshape"),
        ({"labels": np.full(1024, 6)}, "label 6 is not in"),
        ({"windows": [64, 256]}, "windows"),
        ({"tree_1_children": None}, "children of the tree"),
    ],
)
def test_a_state_that_is_none_is_refused(changed: dict[str, Any], says: str) -> None:
    each = learner()
    each.learn(ROWS, LABELS)

    with pytest.raises(ValueError, match=says):
        MaintenanceClassLearner.from_arrays(each.to_arrays() | changed)
