"""Class of maintenance by one message's readings (R27): a learned tree beside the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit
from pipeline.core.maintenance.rules import Condition
from pipeline.core.prognosis import trees
from pipeline.core.prognosis.trees import Tree, leaf_of

SENSORS = 8
"""Most sensors of a model."""


class Classified(NamedTuple):
    """Answers to rows; no prediction is class -1 with probability NaN.

    Parameters
    ----------
    classes
        Likeliest class; shape (rows,).
    chances
        Its probability; shape (rows,).
    """

    classes: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]


class Leaf(NamedTuple):
    """What a tree says, and when: if all conditions hold."""

    conditions: tuple[Condition, ...]
    requirement: int
    chance: float


@njit(cache=True, nogil=True)
def _classify(tree: Any, values: Any, width: int, classes: Any, chances: Any) -> None:
    """Answer rows of readings that lie one after the other."""
    where = np.arange(width)
    for row in range(len(classes)):
        leaf = leaf_of(tree, where, values, row * width)
        classes[row], chances[row] = -1, np.nan
        if leaf >= 0:
            classes[row], chances[row] = tree.classes[leaf], tree.chances[leaf]


class MaintenanceClassModel:
    """A tree and the sensors that it asks; it never changes.

    A message that lacks one of the sensors, or has no finite number there, has no prediction.

    Parameters
    ----------
    features
        Names of readings of one message, in the order of the tree's columns.
    tree
        The tree; :func:`~pipeline.core.prognosis.trees.leaf_of` asks it message by message.

    Examples
    --------
    >>> from pipeline.core.prognosis.maintenance_class_learner import MaintenanceClassLearner
    >>> learner = MaintenanceClassLearner(("pressure",), classes=2)
    >>> rows = np.arange(400.0) % 40
    >>> _ = learner.learn(rows.reshape(-1, 1), (rows >= 30).astype(np.int64))
    >>> model = learner.model()
    >>> model.predict(np.array([[29.0], [30.0], [np.nan]])).classes
    array([ 0,  1, -1])
    >>> model.leaves()[0].conditions
    (Condition(sensor='pressure', op='<', value=29.5),)
    """

    kind: ClassVar[str] = "maintenance_class"

    def __init__(self, features: Sequence[str], tree: Tree) -> None:
        self.features = named(features)
        self.tree = tree

    def predict(self, rows: npt.NDArray[np.float64]) -> Classified:
        """Return class and probability of rows.

        Parameters
        ----------
        rows
            Readings in the order of ``features``; shape (n, features). NaN: missing.
        """
        rows = shaped(rows, len(self.features))
        told = Classified(np.empty(len(rows), np.int64), np.empty(len(rows)))
        _classify(self.tree, rows.reshape(-1), len(self.features), told.classes, told.chances)
        return told

    def leaves(self) -> list[Leaf]:
        """Return what the tree says as rules, from its low side to its high one."""
        tree = self.tree

        def below(node: int, conditions: tuple[Condition, ...]) -> list[Leaf]:
            if tree.columns[node] < 0:
                return [Leaf(conditions, int(tree.classes[node]), float(tree.chances[node]))]
            sensor, limit = self.features[tree.columns[node]], float(tree.thresholds[node])
            child = int(tree.children[node])
            return [
                *below(child, (*conditions, Condition(sensor, "<", limit))),
                *below(child + 1, (*conditions, Condition(sensor, ">=", limit))),
            ]

        return below(0, ())

    def to_arrays(self) -> dict[str, Any]:
        """Return the model as plain arrays and names."""
        return {"features": list(self.features), **trees.to_arrays(self.tree)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the model that :meth:`to_arrays` described.

        Raises
        ------
        ValueError
            If it is none: one line that says why.
        """
        features = named(arrays.get("features"))
        return cls(features, trees.from_arrays(arrays, len(features)))


def named(features: Any) -> tuple[str, ...]:
    """Return the names of a model's sensors.

    Raises
    ------
    ValueError
        If they are none.
    """
    if not isinstance(features, list | tuple) or not all(isinstance(each, str) and each for each in features):
        raise ValueError("features are not a list of names")
    if not 1 <= len({*features}) == len(features) <= SENSORS:
        raise ValueError(f"features are not 1 to {SENSORS} different names")
    return tuple(features)


def shaped(rows: Any, width: int) -> npt.NDArray[np.float64]:
    """Return rows as an array whose rows lie one after the other.

    Raises
    ------
    ValueError
        If they are not as wide.
    """
    rows = np.ascontiguousarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"rows have the shape {rows.shape}, not (n, {width})")
    return cast(npt.NDArray[np.float64], rows)
