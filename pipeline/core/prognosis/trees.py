"""Decision trees over a few numbers as plain arrays, and the kernel that asks them.

A tree asks one number against one threshold at a time: below it the way goes to a node's first child, else to the second,
which lies behind the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted

NODES = 255
"""Most nodes of a tree."""


class Tree(NamedTuple):
    """A tree as the kernel takes it; node 0 is the root, and every child comes after its parent.

    Parameters
    ----------
    columns
        Which number a node asks, -1: it is a leaf; shape (nodes,).
    thresholds
        What it asks whether the number is below, 0 in leaves; shape (nodes,).
    children
        First of a node's two children, 0 in leaves; shape (nodes,).
    probabilities
        Of each class; shape (nodes, classes).
    classes, chances
        The likeliest class, the smallest of several, and its probability; shape (nodes,).
    """

    columns: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    children: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]


def tree_of(
    columns: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.float64],
    children: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
) -> Tree:
    """Return a tree of arrays of its own, with the likeliest classes of its nodes."""
    # Copies: what was read from bytes cannot be written, and a kernel would be compiled once more for that
    return Tree(
        np.array(columns, np.int64),
        np.array(thresholds, np.float64),
        np.array(children, np.int64),
        np.array(probabilities, np.float64),
        probabilities.argmax(1),
        probabilities.max(1),
    )


def root_only(classes: int) -> Tree:
    """Return the tree that knows nothing: all classes alike.

    Examples
    --------
    >>> root_only(4).probabilities
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return tree_of(np.array([-1]), np.zeros(1), np.zeros(1, np.int64), np.full((1, classes), 1 / classes))


@uncounted
def leaf_of(tree: Any, where: Any, values: Any, begin: int) -> int:
    """Return the leaf for a message's readings; -1: one of those that the tree was grown on is missing, or no finite number.

    Parameters
    ----------
    tree
        :class:`Tree`.
    where
        Where its numbers are among the readings, -1: nowhere.
    values, begin
        Readings of a batch, and which is the message's first.
    """
    for at in where:
        if at < 0 or not np.isfinite(values[begin + at]):
            return -1
    node = 0
    while tree.columns[node] >= 0:
        above = values[begin + where[tree.columns[node]]] >= tree.thresholds[node]
        node = tree.children[node] + (1 if above else 0)
    return node


def to_arrays(tree: Tree) -> dict[str, npt.NDArray[Any]]:
    """Return a copy of a tree as plain arrays."""
    return {name: getattr(tree, name).copy() for name in _FIELDS}


def from_arrays(arrays: Mapping[str, Any], columns: int) -> Tree:
    """Return the tree that :func:`to_arrays` described.

    Parameters
    ----------
    columns
        How many numbers it may ask.

    Raises
    ------
    ValueError
        If it is none: one line that says why.
    """
    asked, thresholds, children = (_array(arrays, name, kind, 1) for name, kind in list(_FIELDS.items())[:3])
    probabilities = _array(arrays, "probabilities", np.float64, 2)
    nodes = len(asked)
    if not 1 <= nodes <= NODES or {len(thresholds), len(children), len(probabilities)} != {nodes}:
        raise ValueError(f"a tree has 1 to {NODES} nodes, and every array a row for each")
    if not np.isfinite(thresholds).all():
        raise ValueError("the tree's thresholds are not all finite")
    if ((asked < -1) | (asked >= columns)).any():
        raise ValueError(f"the tree asks a column that is none of its {columns}")
    inner = np.flatnonzero(asked >= 0)
    if sorted([*children[inner], *children[inner] + 1]) != list(range(1, nodes)) or (children[inner] <= inner).any():
        raise ValueError("the tree's children are not, in pairs, all nodes behind the root, each after its parent")
    if probabilities.shape[1] < 1 or not (probabilities >= 0).all() or not np.allclose(probabilities.sum(1), 1):
        raise ValueError("the tree's probabilities are not ≥ 0 with a sum of 1 in every node")
    return tree_of(asked, thresholds, children, probabilities)


_FIELDS: dict[str, type[np.generic]] = {
    "columns": np.int64,
    "thresholds": np.float64,
    "children": np.int64,
    "probabilities": np.float64,
}


def _array(arrays: Mapping[str, Any], name: str, kind: type[np.generic], dimensions: int) -> npt.NDArray[Any]:
    array = arrays.get(name)
    if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != dimensions:
        raise ValueError(f"{name} of the tree is no array of {kind.__name__} with {dimensions} dimensions")
    return array
