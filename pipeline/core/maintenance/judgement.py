"""What maintenance machines need: their class message by message, when it changes, and how many messages had it.

A message is judged by its own readings, if it has all sensors of at least one rule. A machine's class is that of its newest
judged message; one from before says nothing about the present. It ends, too, with a message on which no rule can be tried, if
the rule that said so is not in force any more. All judged messages count into the hour of their event time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core import banks
from pipeline.core.compiling import record, uncounted
from pipeline.core.kernel import Messages
from pipeline.core.maintenance.rules import CLASSES, CompiledRules, MaintenanceRule, first_match, rules_of
from pipeline.core.registry import Registry
from pipeline.core.windowing.watermark import BEGINNING_MS, advance
from pipeline.core.windowing.windows import WindowDeltas, place

WINDOW_MS = 3_600_000
"""Length of the windows that messages are counted in, ms."""

AGAIN_MS = 60_000
"""Progress of the watermark after which the correction of a machine's window is told once more, ms."""

NOT_JUDGED = -1
"""Class of a machine of which this partition has judged nothing. Another one may have: the first class is told, 0 too."""

JUDGED = record(
    [
        ("last_ms", np.int64),
        ("requirement", np.int64),
        ("rule", np.int64),
        ("again_window", np.int64),
        ("again_minute", np.int64),
        ("again_classes", np.int64),
    ]
)
"""A machine's class, the key of the rule that says so (0: none) and the time of the message; which corrections were told
last, classes as bits."""

COUNT = record(
    [
        ("window", np.int64),
        ("slot", np.int32),
        ("count", np.int64),
        ("late", np.int64),
        ("first_ms", np.int64),
        ("last_ms", np.int64),
    ]
)
"""Messages of one class in a window since the last merge: a commutative monoid. ``late`` came after the window was over."""

CHANGED = record([("message", np.int64), ("rule", np.int64), ("before", np.int64), ("after", np.int64)])
"""One change of class: number of its message in the batch and of the rule that says so, -1: none; classes before and after."""

AGAIN = record([("message", np.int64), ("requirement", np.int64)])
"""One correction of a window that was over: number of its message in the batch, and the class."""


class JudgedLayouts(NamedTuple):
    """Of each layout, its machine's row, its kind of readings, and who its messages count for; of each kind, the places."""

    machines: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    complete: npt.NDArray[np.bool_]


class _Memory(NamedTuple):
    machines: npt.NDArray[Any]
    entries: npt.NDArray[Any]
    counted: npt.NDArray[np.int32]


@uncounted
def _changes(machine: Any, time_ms: int, message: int, rules: Any, rule: int, out: Any) -> bool:
    """Return whether a message changes its machine's class, and fill ``out``; one from before the newest does not."""
    if time_ms < machine.last_ms:
        return False
    machine.last_ms = time_ms
    machine.rule = rules.keys[rule] if rule >= 0 else 0
    requirement = rules.requirements[rule] if rule >= 0 else 0
    if requirement == machine.requirement:
        return False
    out.message, out.rule, out.before, out.after = message, rule, machine.requirement, requirement
    machine.requirement = requirement
    return True


@uncounted
def _outlives(machine: Any, rules: Any) -> bool:
    """Return whether a machine has a class of a rule that is not in force any more."""
    if machine.requirement <= 0:
        return False
    in_force = False
    for key in rules.keys:
        in_force = in_force or key == machine.rule
    return not in_force


@uncounted
def _corrects(machine: Any, window: int, minute: int, requirement: int) -> bool:
    """Return whether a correction is to be told, and remember that it was."""
    if window != machine.again_window or minute != machine.again_minute:
        machine.again_window, machine.again_minute, machine.again_classes = window, minute, 0
    told = (machine.again_classes >> requirement) & 1
    machine.again_classes |= 1 << requirement
    return bool(told == 0)


@uncounted
def _count(memory: Any, used: int, slot: int, window: int, time_ms: int, late: bool) -> int:
    entry = place(memory.counted, memory.entries, used, slot, window)
    new = memory.entries[entry]
    if entry == used:
        used += 1
        new.window, new.slot, new.count, new.late, new.first_ms, new.last_ms = window, slot, 0, 0, time_ms, time_ms
    new.count += 1
    new.late += late
    new.first_ms = min(new.first_ms, time_ms)
    new.last_ms = max(new.last_ms, time_ms)
    return used


@uncounted
def _judge(
    messages: Any,
    kept: Any,
    layouts: Any,
    rules: Any,
    memory: Any,
    watermark_ms: int,
    delay_ms: int,
    windows_from: int,
    used: int,
    changed: Any,
    again: Any,
) -> tuple[int, int, int]:
    """Judge a batch; fill ``changed`` and ``again``; return (used entries, number changed, number corrected)."""
    changes = corrections = first = 0
    for i in range(len(messages.offsets)):
        begin, first = first, messages.ends[i]
        if not kept[i]:
            continue
        layout, time_ms, reached_ms = messages.layouts[i], messages.times_ms[i], watermark_ms
        watermark_ms = advance(watermark_ms, time_ms, messages.ingest_ms[i], delay_ms)
        kind, machine = layouts.kinds[layout], memory.machines[layouts.machines[layout]]
        if not layouts.complete[kind]:
            if _outlives(machine, rules):
                changes += _changes(machine, time_ms, i, rules, -1, changed[changes])
            continue
        rule = first_match(rules, layouts.places[kind], messages.values, begin)
        requirement = rules.requirements[rule] if rule >= 0 else 0
        changes += _changes(machine, time_ms, i, rules, rule, changed[changes])
        window = time_ms // WINDOW_MS
        late = (window + 1) * WINDOW_MS <= reached_ms
        if late and _corrects(machine, window, reached_ms // AGAIN_MS, requirement):
            again[corrections].message, again[corrections].requirement = i, requirement
            corrections += 1
        if messages.offsets[i] >= windows_from:
            used = _count(memory, used, layouts.owners[layout] * CLASSES + requirement, window, time_ms, late)
    return used, changes, corrections


class Found(NamedTuple):
    """What a batch's messages say about maintenance: of each change and correction, the number of its message."""

    changed: npt.NDArray[np.void]
    again: npt.NDArray[np.void]


class Judgement:
    """The class of every machine of a partition, and the counts that wait to be merged into the sink."""

    def __init__(self) -> None:
        self.machines = banks.Bank(JUDGED)
        self.rules = CompiledRules(rules_of(Registry()))
        self.owners: list[tuple[int, str]] = []
        """Machine row and factory that messages are counted for."""
        self.deltas = WindowDeltas(dtype=COUNT)
        self._owner_numbers: dict[tuple[int, str], int] = {}
        self._applied = 0
        self.forget_layouts()

    def forget_layouts(self) -> None:
        """Begin to number layouts anew."""
        if not self.deltas.used:
            self.owners.clear()
            self._owner_numbers.clear()
        self._places: list[tuple[tuple[int, ...], bool]] = []
        self._kinds: dict[tuple[str, ...], int] = {}
        self._layouts: list[tuple[int, int, int]] = []
        self._arrays: JudgedLayouts | None = None

    def add_machines(self, machines: int) -> None:
        """Make room for so many more machines."""
        new = self.machines.extend(machines)
        new["last_ms"], new["requirement"] = BEGINNING_MS, NOT_JUDGED

    def add_layout(self, row: int, factory_id: str, names: tuple[str, ...]) -> None:
        """Note the next layout: a machine's row, its factory, and the names of its readings."""
        kind = self._kinds.setdefault(names, len(self._kinds))
        if kind == len(self._places):
            self._places.append(self.rules.places(names))
        owner = self._owner_numbers.setdefault((row, factory_id), len(self.owners))
        if owner == len(self.owners):
            self.owners.append((row, factory_id))
        self._layouts.append((row, kind, owner))
        self._arrays = None

    def judge(
        self,
        messages: Messages,
        kept: npt.NDArray[np.bool_],
        registry: Registry,
        watermark_ms: int,
        delay_ms: int,
        windows_from: int,
    ) -> Found:
        """Judge a batch of messages, and count them.

        Parameters
        ----------
        kept
            Whether each message was no duplicate; shape (n,).
        registry
            Which says the rules.
        watermark_ms, delay_ms
            Watermark before the batch (ms since the epoch, UTC), and how far it stays behind event time, ms.
        windows_from
            The windows mark: messages before it were merged already and are not counted.
        """
        if self._applied != registry.applied:
            self._applied = registry.applied
            self._adopt(rules_of(registry))
        n = len(messages.offsets)
        self.deltas.reserve(n)
        changed, again = np.empty(n, CHANGED), np.empty(n, AGAIN)
        self.deltas.used, changes, corrections = _judge(
            messages,
            kept,
            self.layout_arrays(),
            self.rules.arrays,
            _Memory(self.machines.rows, self.deltas.entries, self.deltas.places),
            watermark_ms,
            delay_ms,
            windows_from,
            self.deltas.used,
            changed,
            again,
        )
        return Found(changed[:changes], again[:corrections])

    def _adopt(self, rules: tuple[MaintenanceRule, ...]) -> None:
        if rules != self.rules.rules:
            self.rules = CompiledRules(rules)
            self._places = [self.rules.places(names) for names in self._kinds]
            self._arrays = None

    @property
    def kinds_of_readings(self) -> list[tuple[str, ...]]:
        """The names of readings that layouts have, by the number of their kind."""
        return list(self._kinds)

    def layout_arrays(self) -> JudgedLayouts:
        """Return the layouts as kernels take them."""
        if self._arrays is None:
            columns = np.array(self._layouts, np.int64).reshape(-1, 3)
            places = np.array([where for where, _ in self._places], np.int64)
            self._arrays = JudgedLayouts(
                columns[:, 0].copy(),
                columns[:, 1].copy(),
                columns[:, 2].copy(),
                places.reshape(len(self._places), len(self.rules.sensors)),
                np.array([complete for _, complete in self._places], np.bool_),
            )
        return self._arrays

    def take(self) -> npt.NDArray[np.void]:
        """Return the counts, shape (n,) of :data:`COUNT`; slots are owner times :data:`CLASSES` plus class. Begin anew."""
        return self.deltas.take()

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what is known of machines, as plain arrays."""
        return {"requirements": self.machines.copy()}

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_arrays` described."""
        self.machines.load(arrays["requirements"])
