"""The class of maintenance, learned row by row: a tree, grown again and again on the newest rows.

The learner keeps the newest 8,192 labelled rows. Every 256 rows it grows a tree on each of the newest 8,192, 2,048 and 512, and
takes the one whose like were wrong least often lately, each row told before it was learned (prequential error, Dawid 1984, with
fading, Gama et al. 2013). So it is as sure as many rows make it while a plant's rules stay, and follows within some hundred
rows when they change. Nothing is random.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit
from pipeline.core.maintenance.rules import CLASSES
from pipeline.core.prognosis import trees
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel, named, shaped
from pipeline.core.prognosis.tree_growth import grow, prune
from pipeline.core.prognosis.trees import Tree

WINDOWS = (8192, 2048, 512)
"""Of how many newest rows trees are grown, the most first."""

FIRST = 16
"""Rows before the first tree; from then on after twice as many, and at last after every :data:`EVERY`."""

EVERY = 256
"""Most rows from one tree to the next."""

FADING = 1 / 512
"""How much less an error weighs with each row after it."""

SCHEMA = 1
"""Version of what :meth:`MaintenanceClassLearner.to_arrays` gives."""


@njit(cache=True, nogil=True)
def _faded(loss: float, told: Any, labels: Any) -> float:
    """Return a faded count of errors after more rows; one after the other, so that it does not matter how they are cut."""
    for row in range(len(labels)):
        loss = loss * (1.0 - FADING) + (told[row] != labels[row])
    return loss


class MaintenanceClassLearner:
    """Learns from rows in the order in which they come; see the module for how.

    The state is bounded: 8,192 rows and three trees, at most 270 kB with two sensors.

    Parameters
    ----------
    features
        Names of readings of one message, at most :data:`SENSORS`.
    classes
        How many classes there are.
    windows
        Of how many newest rows trees are grown, the most first.
    """

    def __init__(self, features: Sequence[str], classes: int = CLASSES, windows: Sequence[int] = WINDOWS) -> None:
        self.features = named(features)
        self.windows = tuple(windows)
        if classes < 2 or list(self.windows) != sorted({*self.windows}, reverse=True) or min(self.windows) < FIRST:
            raise ValueError(f"there are ≥ 2 classes, and windows of ≥ {FIRST} rows, the longest first")
        self.classes = classes
        self.seen = 0
        self._values = np.zeros((self.windows[0], len(self.features)))
        self._labels = np.zeros(self.windows[0], np.int64)
        self._trees = [trees.root_only(classes)] * len(self.windows)
        self._losses = np.zeros(len(self.windows))
        self._chosen = 0

    def learn(self, rows: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tell the class of each row, then learn it; return what was told, -1: nothing yet.

        How rows are cut into calls does not matter.

        Parameters
        ----------
        rows
            Readings in the order of ``features``; shape (n, features).
        labels
            Class of each row; shape (n,).

        Raises
        ------
        ValueError
            If a reading is not finite or a label no class: one line with the row. Nothing is learned then.
        """
        rows, labels = self._checked(rows, labels)
        told = np.empty(len(rows), np.int64)
        done = 0
        while done < len(rows):
            end = min(len(rows), done + self._rest())
            told[done:end] = self._take(rows[done:end], labels[done:end])
            done = end
        return told

    def model(self) -> MaintenanceClassModel:
        """Return the model in force.

        Raises
        ------
        ValueError
            If there were fewer than :data:`FIRST` rows.
        """
        if self.seen < FIRST:
            raise ValueError(f"{self.seen} rows are too few to tell a class of maintenance; {FIRST} are needed")
        return MaintenanceClassModel(self.features, self._trees[self._chosen])

    @property
    def window(self) -> int:
        """Of how many newest rows, at most, the model in force was grown."""
        return self.windows[self._chosen]

    def _checked(self, rows: Any, labels: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        rows, labels = shaped(rows, len(self.features)), np.asarray(labels)
        if labels.shape != (len(rows),) or labels.dtype.kind not in "iu":
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, not a whole number for each row")
        wrong = np.argwhere(~np.isfinite(rows))
        if len(wrong):
            raise ValueError(f"row {wrong[0][0]}: {self.features[wrong[0][1]]} is not finite")
        outside = np.flatnonzero((labels < 0) | (labels >= self.classes))
        if len(outside):
            raise ValueError(f"row {outside[0]}: label {labels[outside[0]]} is not in 0 to {self.classes - 1}")
        return rows, labels.astype(np.int64)

    def _rest(self) -> int:
        """Return how many rows come before the next tree is grown: up to the next power of two, or multiple of many."""
        if self.seen < FIRST:
            return FIRST - self.seen
        if self.seen < EVERY:
            return (1 << self.seen.bit_length()) - self.seen
        return EVERY - self.seen % EVERY

    def _take(self, rows: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tell and learn rows between which no tree is grown."""
        told = [MaintenanceClassModel(self.features, tree).predict(rows).classes for tree in self._trees]
        answer = told[self._chosen] if self.seen >= FIRST else np.full(len(rows), -1)
        for each, classes in enumerate(told):
            self._losses[each] = _faded(self._losses[each], classes, labels)
        places = np.arange(self.seen, self.seen + len(rows)) % len(self._labels)
        self._values[places], self._labels[places] = rows, labels
        due = len(rows) == self._rest()
        self.seen += len(rows)
        if due:
            self._grow()
        return answer

    def _grow(self) -> None:
        grown: dict[int, Tree] = {}
        for each, window in enumerate(self.windows):
            size = min(window, self.seen)
            if size not in grown:
                newest = np.arange(self.seen - size, self.seen) % len(self._labels)
                # A split's threshold costs about one ln(rows), and the shares of the classes half of one each
                price = (self.classes + 1) / 2
                grown[size] = prune(grow(self._values[newest], self._labels[newest], self.classes), price)
            self._trees[each] = grown[size]
        self._chosen = int(self._losses.argmin())

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of all that is known, as plain numbers, arrays and names."""
        kept = min(self.seen, len(self._labels))
        plain: dict[str, Any] = {
            "schema": SCHEMA, "features": list(self.features), "classes": self.classes, "windows": list(self.windows),
            "seen": self.seen, "chosen": self._chosen, "losses": self._losses.copy(),
            "values": self._values[:kept].copy(), "labels": self._labels[:kept].copy(),
        }  # fmt: skip
        for each, tree in enumerate(self._trees):
            plain |= {f"tree_{each}_{name}": array for name, array in trees.to_arrays(tree).items()}
        return plain

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the learner that :meth:`to_arrays` described; it goes on as if it had never stopped.

        Raises
        ------
        ValueError
            If it is none, or another version's: one line that says why.
        """
        if arrays.get("schema") != SCHEMA:
            raise ValueError(f"the learner's schema is {arrays.get('schema')}, not {SCHEMA}: learn anew")
        try:
            self = cls(arrays["features"], arrays["classes"], arrays["windows"])
            self.seen, self._chosen = operator.index(arrays["seen"]), operator.index(arrays["chosen"])
            if self.seen < 0 or not 0 <= self._chosen < len(self.windows):
                raise ValueError(f"the learner cannot have seen {self.seen} rows and chosen window {self._chosen}")
            kept = min(self.seen, len(self._labels))
            self._values[:kept], self._labels[:kept] = self._checked(
                arrays["values"].reshape(kept, -1), arrays["labels"]
            )
            self._losses[:] = arrays["losses"]
            if not np.isfinite(self._losses).all():
                raise ValueError("the learner's losses are not all finite")
            for each in range(len(self.windows)):
                prefix = f"tree_{each}_"
                own = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
                self._trees[each] = trees.from_arrays(own, len(self.features))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the learner's state cannot be read: {error!r}") from error
        return self
