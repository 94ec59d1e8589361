"""What learned models say of the maintenance that machines want, message by message, beside what the rules say.

Told is what is new: that a model says another class of a machine than before, or agrees with the rules where it did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import record, uncounted
from pipeline.core.kernel import Messages
from pipeline.core.maintenance.judgement import JudgedLayouts, Judgement
from pipeline.core.maintenance.rules import first_match
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.model import InForce
from pipeline.core.prognosis.trees import Tree, leaf_of

SAID = record([("last_ms", np.int64), ("code", np.int64)])
"""Of a machine what a model said last, and of a message of which event time; code 0: nothing."""

TOLD = record(
    [
        ("message", np.int64),
        ("model", np.int64),
        ("requirement", np.int64),
        ("by_rules", np.int64),
        ("chance", np.float64),
    ]
)
"""Something new: which message of the batch, which model, its class and probability; ``by_rules`` -1: no rule can be tried."""


class _Asked(NamedTuple):
    """A model as the kernel takes it.

    Parameters
    ----------
    places
        Where its sensors are among the readings of each kind, -1: nowhere; shape (kinds, sensors).
    is_meant
        Whether each machine is of its type; shape (machines,).
    said
        Shape (machines,) of :data:`SAID`.
    """

    number: int
    tree: Tree
    places: npt.NDArray[np.int64]
    is_meant: npt.NDArray[np.bool_]
    said: npt.NDArray[np.void]


@uncounted
def _by_rules(layouts: Any, kind: int, rules: Any, values: Any, begin: int) -> int:
    """Return the class that rules say of a message, -1: none of them can be tried."""
    if not layouts.complete[kind]:
        return -1
    rule = first_match(rules, layouts.places[kind], values, begin)
    return int(rules.requirements[rule]) if rule >= 0 else 0


@uncounted
def _ask(messages: Any, kept: Any, layouts: Any, rules: Any, asked: Any, out: Any) -> int:
    """Ask one model about the messages of a batch; fill ``out`` and return how much is new."""
    told = first = 0
    for i in range(len(messages.offsets)):
        begin, first = first, messages.ends[i]
        layout, time_ms = messages.layouts[i], messages.times_ms[i]
        row, kind = layouts.machines[layout], layouts.kinds[layout]
        said = asked.said[row]
        if not (kept[i] and asked.is_meant[row]) or time_ms < said.last_ms:
            continue
        leaf = leaf_of(asked.tree, asked.places[kind], messages.values, begin)
        if leaf < 0:
            continue
        found, by_rules = asked.tree.classes[leaf], _by_rules(layouts, kind, rules, messages.values, begin)
        code = 1 + 3 * found + (2 if by_rules < 0 else int(by_rules == found))
        said.last_ms = time_ms
        if code != said.code:
            said.code = code
            new = out[told]
            new.message, new.model, new.by_rules, new.chance = i, asked.number, by_rules, asked.tree.chances[leaf]
            new.requirement = found
            told += 1
    return told


class ClassBank:
    """The models of one partition that tell classes of maintenance, and what each said last of each machine."""

    def __init__(self) -> None:
        self.models: list[InForce] = []
        self._said: list[npt.NDArray[np.void]] = []
        self._asked: list[_Asked] = []
        self._layouts: JudgedLayouts | None = None

    def adopt(self, models: Sequence[InForce]) -> None:
        """Ask these from now on; one that was asked before in the same stage goes on, of any other nothing was said."""
        known = {each.reference: said for each, said in zip(self.models, self._said, strict=True)}
        self.models = list(models)
        self._said = [known.get(each.reference, np.zeros(0, SAID)) for each in models]
        self._layouts = None

    def ask(
        self, messages: Messages, kept: npt.NDArray[np.bool_], judgement: Judgement, machine_types: Sequence[str]
    ) -> npt.NDArray[np.void]:
        """Ask all models about a batch; return what is new in the order of messages, of :data:`TOLD`.

        Parameters
        ----------
        kept
            Whether each message was no duplicate; shape (n,).
        judgement
            Which has the rules, and has judged the batch.
        machine_types
            Of each machine row.
        """
        if not len(messages.offsets):
            return np.empty(0, TOLD)
        layouts, found = judgement.layout_arrays(), []
        if layouts is not self._layouts:
            # New machines come with new layouts
            self._asked = [self._make(number, judgement, machine_types) for number in range(len(self.models))]
            self._layouts = layouts
        for asked in self._asked:
            told = np.empty(len(messages.offsets), TOLD)
            found.append(told[: _ask(messages, kept, layouts, judgement.rules.arrays, asked, told)])
        joined = np.concatenate(found)
        return joined[np.argsort(joined["message"], kind="stable")]

    def _make(self, number: int, judgement: Judgement, machine_types: Sequence[str]) -> _Asked:
        each = self.models[number]
        self._said[number] = _as_long(self._said[number], len(machine_types))
        kinds, features = judgement.kinds_of_readings, each.model.features
        places = np.array([[_place(names, name) for name in features] for names in kinds], np.int64)
        is_meant = np.array([machine_type == each.machine_type for machine_type in machine_types], np.bool_)
        return _Asked(number, _tree(each), places.reshape(len(kinds), len(features)), is_meant, self._said[number])

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what was said, as plain arrays."""
        shape = len(self._said), max(map(len, self._said), default=0)
        return {"classes_said": np.array([_as_long(each, shape[1]) for each in self._said], SAID).reshape(shape)}

    def load(self, models: Sequence[InForce], arrays: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_arrays` described, of the same models; what another version described begins anew."""
        self.adopt(models)
        said = arrays.get("classes_said")
        if said is not None and said.dtype == SAID and len(said) == len(models):
            self._said = [_as_long(each, len(each)) for each in said]


def _as_long(rows: npt.NDArray[np.void], length: int) -> npt.NDArray[np.void]:
    longer = np.zeros(length, SAID)
    longer[: len(rows)] = rows
    return longer


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _tree(each: InForce) -> Tree:
    assert isinstance(each.model, MaintenanceClassModel)  # noqa: S101  # its kind says so
    return each.model.tree
