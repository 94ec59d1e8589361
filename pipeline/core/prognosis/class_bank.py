"""What learned models say of the maintenance that machines want, message by message, beside what the rules say.

Told is what is new: that a model says another class of a machine than before, or agrees with the rules where it did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.judgement import Judgement
from pipeline.core.kernel import Messages
from pipeline.core.maintenance_rules import first_match
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.model import InForce
from pipeline.core.prognosis.trees import Tree, leaf_of

SAID = np.dtype([("last_ms", np.int64), ("code", np.int64)])
"""Of a machine what a model said last, and of a message of which event time; code 0: nothing."""

TOLD = np.dtype(
    [("message", np.int64), ("model", np.int64), ("class", np.int64), ("by_rules", np.int64), ("chance", np.float64)]
)
"""Something new: which message of the batch, which model, its class and probability; ``by_rules`` -1: no rule can be tried."""


@uncounted
def _ask(
    messages: Any,
    kept: Any,
    layouts: Any,
    rules: Any,
    tree: Any,
    places: Any,
    is_meant: Any,
    said: Any,
    number: int,
    out: Any,
) -> int:
    """Ask one model about the messages of a batch; fill ``out`` and return how much is new."""
    told = first = 0
    for i in range(len(messages.offsets)):
        begin, first = first, messages.ends[i]
        layout = messages.layouts[i]
        row, kind = layouts.machines[layout], layouts.kinds[layout]
        if not (kept[i] and is_meant[row]) or messages.times_ms[i] < said[row].last_ms:
            continue
        leaf = leaf_of(tree, places[kind], messages.values, begin)
        if leaf < 0:
            continue
        by_rules = -1
        if layouts.complete[kind]:
            rule = first_match(rules, layouts.places[kind], messages.values, begin)
            by_rules = rules.requirements[rule] if rule >= 0 else 0
        found = tree.classes[leaf]
        agrees = 2 if by_rules < 0 else int(by_rules == found)
        code = 1 + 3 * found + agrees
        said[row].last_ms = messages.times_ms[i]
        if code != said[row].code:
            said[row].code = code
            new = out[told]
            new.message, new.model, new["class"], new.by_rules, new.chance = (
                i,
                number,
                found,
                by_rules,
                tree.chances[leaf],
            )
            told += 1
    return told


class ClassBank:
    """The models of one partition that tell classes of maintenance, and what each said last of each machine."""

    def __init__(self) -> None:
        self.models: list[InForce] = []
        self._said: list[npt.NDArray[np.void]] = []

    def adopt(self, models: Sequence[InForce]) -> None:
        """Ask these from now on; one that was asked before goes on, of any other nothing was said."""
        known = {each.reference.model_id: said for each, said in zip(self.models, self._said, strict=True)}
        self.models = list(models)
        self._said = [known.get(each.reference.model_id, np.zeros(0, SAID)) for each in models]

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
        found, n = [], len(messages.offsets)
        for number, each in enumerate(self.models):
            said = self._said[number] = _as_long(self._said[number], len(machine_types))
            told = np.empty(n, TOLD)
            names, width = judgement.kinds_of_readings, len(each.model.features)
            places = np.array([[_place(kind, name) for name in each.model.features] for kind in names], np.int64)
            is_meant = np.array([machine_type == each.machine_type for machine_type in machine_types], np.bool_)
            used = _ask(
                messages,
                kept,
                judgement.layout_arrays(),
                judgement.rules.arrays,
                _tree(each),
                places.reshape(len(names), width),
                is_meant,
                said,
                number,
                told,
            )
            found.append(told[:used])
        joined = np.concatenate(found) if found else np.empty(0, TOLD)
        return joined[np.argsort(joined["message"], kind="stable")]

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what was said, as plain arrays."""
        longest = max(map(len, self._said), default=0)
        return {
            "classes_said": np.array([_as_long(each, longest) for each in self._said], SAID).reshape(
                len(self._said), longest
            )
        }

    def load(self, models: Sequence[InForce], arrays: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_arrays` described, of the same models; what another version described begins anew."""
        self.adopt(models)
        said = arrays.get("classes_said")
        if said is not None and said.dtype == SAID and len(said) == len(models):
            self._said = [each.copy() for each in said]


def _as_long(rows: npt.NDArray[np.void], length: int) -> npt.NDArray[np.void]:
    return np.concatenate([rows, np.zeros(length - len(rows), SAID)])


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _tree(each: InForce) -> Tree:
    assert isinstance(each.model, MaintenanceClassModel)  # noqa: S101  # its kind says so
    return each.model.tree
