"""Trees: grown on what separates classes, pruned of what does not pay, refused where they are none."""

from __future__ import annotations

from itertools import product
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays_of

from pipeline.core.prognosis import trees
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.tree_growth import LEAST, grow, prune
from pipeline.core.prognosis.trees import NODES, Tree

MOST = np.finfo(np.float64).max


def told(tree: Tree, rows: np.ndarray) -> np.ndarray:
    return MaintenanceClassModel([f"s{n}" for n in range(rows.shape[1])], tree).predict(rows).classes


def boxes(values: np.ndarray) -> np.ndarray:
    """Classes by two of the columns: three columns beside say nothing."""
    return np.select([values[:, 0] < 3, values[:, 1] >= 7], [1, 2], 0)


def test_thresholds_are_found_among_sensors_that_say_nothing() -> None:
    values = np.random.default_rng(1).uniform(0, 10, (2000, 4))
    tree = prune(grow(values, boxes(values), 3), 2.0)
    fresh = np.random.default_rng(2).uniform(0, 10, (2000, 4))

    assert len(tree.columns) == 5
    assert (told(tree, fresh) == boxes(fresh)).mean() > 0.99


def test_causes_that_matter_only_together_are_found() -> None:
    values = np.random.default_rng(3).integers(0, 10, (4000, 4)).astype(np.float64)
    labels = ((values[:, 1] < 5) ^ (values[:, 3] < 5)).astype(np.int64)

    tree = prune(grow(values, labels, 2), 1.5)

    assert (told(tree, values) == labels).mean() > 0.99


def test_labels_that_nothing_explains_leave_the_root_alone() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 6, 2000)

    tree = prune(grow(random.normal(size=(2000, 2)), labels, 6), 3.5)

    assert tree.columns.tolist() == [-1]
    assert tree.probabilities[0] == pytest.approx((np.bincount(labels) + 0.5) / 2003)


@given(
    st.integers(1, 120).flatmap(
        lambda n: st.tuples(
            arrays_of.arrays(np.float64, (n, 2), elements=st.floats(allow_nan=False, allow_infinity=False)),
            arrays_of.arrays(np.int64, n, elements=st.integers(0, 2)),
        )
    )
)
@settings(max_examples=60)
def test_every_row_comes_to_the_leaf_that_counted_it_whatever_its_size(case: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = case
    grown = grow(values, labels, 3)
    tree = prune(grown, 0.0)
    where = np.arange(2)
    leaves = [trees.leaf_of(tree, where, values.reshape(-1), 2 * row) for row in range(len(values))]

    for leaf in {*leaves}:
        there = labels[np.array(leaves) == leaf]
        counts = np.bincount(there, minlength=3)
        assert tree.probabilities[leaf] == pytest.approx((counts + 0.5) / (len(there) + 1.5))
        assert leaf == 0 or len(there) >= LEAST
    assert np.isfinite(tree.thresholds).all()


def test_neighbouring_numbers_are_told_apart_up_to_the_largest() -> None:
    for low, high in (
        (MOST / 2, MOST),
        (-MOST, MOST),
        (0.0, 5e-324),
        (1.0, np.nextafter(1.0, 2.0)),
        (-MOST, -MOST / 2),
    ):
        values = np.array([[low], [high]] * 20)
        labels = np.array([0, 1] * 20)

        assert (told(prune(grow(values, labels, 2), 1.5), values) == labels).all()


def test_a_tree_is_bounded() -> None:
    random = np.random.default_rng(5)
    grown = grow(random.normal(size=(8192, 1)), random.integers(0, 2, 8192), 2)

    assert len(grown.columns) == NODES


def small() -> dict[str, Any]:
    values = np.arange(40.0).reshape(-1, 1)
    return trees.to_arrays(prune(grow(values, (values[:, 0] >= 10).astype(np.int64), 2), 1.5))


def test_a_tree_survives_its_arrays_also_those_that_cannot_be_written() -> None:
    arrays = small()
    frozen = {name: np.frombuffer(each.tobytes(), each.dtype).reshape(each.shape) for name, each in arrays.items()}

    tree = trees.from_arrays(frozen, 1)

    assert all((getattr(tree, name) == each).all() for name, each in arrays.items())
    assert all(each.flags.writeable for each in tree)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("columns", None, "columns of the tree is no array of int64"),
        ("columns", np.array([0.0, -1.0, -1.0]), "columns of the tree is no array of int64"),
        ("columns", np.array([1, -1, -1]), "asks a column that is none of its 1"),
        ("columns", np.array([-2, -1, -1]), "asks a column that is none of its 1"),
        ("columns", np.array([0, -1]), "every array a row for each"),
        ("columns", np.array([], np.int64), "a tree has 1 to 255 nodes"),
        ("columns", np.array([-1, -1, -1]), "children are not"),
        ("columns", np.array([0, 0, -1]), "children are not"),
        ("children", np.array([0, 0, 0]), "children are not"),
        ("children", np.array([2, 0, 0]), "children are not"),
        ("children", np.array([-1, 0, 0]), "children are not"),
        ("thresholds", np.array([np.nan, 0.0, 0.0]), "thresholds are not all finite"),
        ("probabilities", np.zeros((3, 2)), "sum of 1"),
        ("probabilities", np.array([[1.5, -0.5]] * 3), "sum of 1"),
        ("probabilities", np.full((3, 2), np.nan), "sum of 1"),
        ("probabilities", np.zeros((3, 0)), "sum of 1"),
        ("probabilities", np.ones(3), "with 2 dimensions"),
    ],
)
def test_what_is_no_tree_is_refused_in_one_line(name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        trees.from_arrays(small() | {name: value}, 1)
    assert "\n" not in str(refused.value)


def test_a_circle_is_no_tree() -> None:
    two = {
        "columns": np.array([0, 0, -1, -1, -1]),
        "thresholds": np.zeros(5),
        "children": np.array([1, 1, 0, 0, 0]),
        "probabilities": np.full((5, 2), 0.5),
    }
    with pytest.raises(ValueError, match="children are not"):
        trees.from_arrays(two, 1)


@pytest.mark.parametrize(
    ("where", "values"), [(w, v) for w, v in product([[0, 1], [0, -1]], [[1.0, np.nan], [np.inf, 1.0]])]
)
def test_a_reading_that_is_missing_or_no_finite_number_comes_to_no_leaf(where: list[int], values: list[float]) -> None:
    tree = trees.root_only(2)

    assert trees.leaf_of(tree, np.array(where), np.array(values), 0) == -1
    assert trees.leaf_of(tree, np.array([1, 0]), np.array([9.0, 1.0, 2.0]), 1) == 0
