"""Everything the fold remembers of one partition, and its form as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core import banks
from pipeline.core.detectors.bank import DetectorBank
from pipeline.core.detectors.census import Census
from pipeline.core.detectors.model_bank import ModelBank
from pipeline.core.kernel import Layouts, Memory
from pipeline.core.maintenance.judgement import Judgement
from pipeline.core.prognosis.bank import PrognosisBank
from pipeline.core.records import Shape
from pipeline.core.registry import Registry
from pipeline.core.sequences import SEQUENCE
from pipeline.core.silence import Silence
from pipeline.core.windowing.cycles import Cycles
from pipeline.core.windowing.watermark import BEGINNING_MS
from pipeline.core.windowing.windows import FACTORY_STEP, WindowDeltas

STATE_VERSION = 5
"""Version of the plain arrays; another one is not loaded but folded anew."""

_SHAPES_PER_MACHINE = 8


class PartitionState:
    """Machines, sensors, window deltas and watermark of one partition, and what it knows of the plant.

    Rows are handed out in order of first sight. A *layout* stands for one shape of message (:data:`Shape`) and says which
    machine row and sensor slots it means, so that a message costs one look-up. Layouts are a cache: when devices send ever
    new shapes they are dropped and found again.
    """

    def __init__(self) -> None:
        self.watermark_ms = BEGINNING_MS
        self.registry = Registry()
        self.machine_ids: list[str] = []
        self.factory_ids: list[str] = []
        self.machine_types: list[str] = []
        self.first_types: list[str] = []
        self.line_ids: list[str] = []
        self.sensor_names: list[str] = []
        self.machines = banks.Bank(banks.MACHINE)
        self.counts = banks.Bank(banks.MACHINE_COUNTS)
        self.sent = banks.Bank(banks.SENT, width=banks.MEMORY)
        self.sequences = banks.Bank(SEQUENCE)
        self.sensors = banks.Bank(banks.SENSOR)
        self.slot_entries = banks.Bank(np.dtype(np.int32))
        self.merged_ms = banks.Bank(np.dtype(np.int64))
        self.deltas = WindowDeltas()
        self.cycles = Cycles()
        self.silence = Silence()
        self.judgement = Judgement()
        self.detectors = DetectorBank()
        self.models = ModelBank()
        self.prognosis = PrognosisBank()
        self.prognosis.lives.foretold = lambda row: self.prognosis.take_foretold(self.machine_ids[row])
        self._machine_rows: dict[str, int] = {}
        self.slots: dict[tuple[int, str], int] = {}
        self._factory_numbers: dict[str, int] = {}
        self._lines_seen = 0
        self._line_due: dict[int, str] = {}
        self._forget_layouts()

    def _forget_layouts(self) -> None:
        self.layouts: dict[Shape, int] = {}
        self._shapes: list[Shape] = []
        self._layout_machines: list[int] = []
        self._layout_factories: list[int] = []
        self._layout_starts: list[int] = [0]
        self._layout_slots: list[int] = []
        self._layout_arrays: Layouts | None = None
        self.machines.rows["layout"] = -1
        self.judgement.forget_layouts()
        if not self.deltas.used:
            self._factory_numbers.clear()

    def layouts_of(self, shapes: list[Shape], found: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the layout of each message's shape, shape (n,); unknown machines and sensors get their rows here.

        Parameters
        ----------
        found
            What ``layouts`` said of each shape, -1 where it said nothing.
        """
        if (found >= 0).all():
            return found
        if len(self.layouts) + len(shapes) > _SHAPES_PER_MACHINE * len(self.machine_ids) + 65_536:
            self.settle_names()
            self._forget_layouts()
        machines, owners = len(self.machine_ids), list[int]()
        for shape in shapes:
            if shape not in self.layouts:
                self._register(shape, owners)
        self._add_rows(len(self.machine_ids) - machines, np.array(owners, np.int32))
        return np.fromiter(map(self.layouts.__getitem__, shapes), np.int32, len(shapes))

    def _register(self, shape: Shape, owners: list[int]) -> None:
        """Give a shape its layout; of each sensor that is new, put the machine's row to the ``owners``."""
        machine_id, factory_id, machine_type, names = shape
        row = self._machine_rows.get(machine_id)
        if row is None:
            row = self._add_machine(machine_id, factory_id, machine_type)
        self.layouts[shape] = len(self._shapes)
        self._shapes.append(shape)
        self._layout_machines.append(row)
        number = self._factory_numbers.setdefault(factory_id, len(self._factory_numbers))
        self._layout_factories.append(number * FACTORY_STEP)
        for name in names:
            slot = self.slots.setdefault((row, name), len(self.sensor_names))
            self._layout_slots.append(slot)
            if slot == len(self.sensor_names):
                self.sensor_names.append(name)
                owners.append(row)
        self._layout_starts.append(len(self._layout_slots))
        self._layout_arrays = None
        self.judgement.add_layout(row, factory_id, names)

    def _add_machine(self, machine_id: str, factory_id: str, machine_type: str) -> int:
        row = self._machine_rows[machine_id] = len(self.machine_ids)
        self.machine_ids.append(machine_id)
        self.factory_ids.append(factory_id)
        self.machine_types.append(machine_type)
        self.first_types.append(machine_type)
        self.line_ids.append(self.registry.line_of(machine_id))
        return row

    def _add_rows(self, machines: int, owners: npt.NDArray[np.int32]) -> None:
        """Make rows for so many new machines, and for the new sensors of machines."""
        new = self.machines.extend(machines)
        new["last_offset"] = new["layout"] = -1
        for bank in (self.counts, self.sent, self.sequences):
            bank.extend(machines)
        for each in (self.cycles, self.silence, self.judgement):
            each.add_machines(machines)
        self.sensors.extend(len(owners))["machine"] = owners
        self.slot_entries.extend(len(owners))[:] = -1
        self.merged_ms.extend(len(owners))[:] = BEGINNING_MS
        self.cycles.add_slots(owners)

    def has_machine(self, machine_id: str) -> bool:
        """Return whether something of a machine was accepted before."""
        return machine_id in self._machine_rows

    def row_of(self, machine_id: str) -> int | None:
        """Return a machine's row; ``None``: nothing of it was accepted before."""
        return self._machine_rows.get(machine_id)

    def adopt_lines(self, layouts: npt.NDArray[np.int32], kept: npt.NDArray[np.bool_]) -> None:
        """Note the line that machines belong to now, of those that sent something.

        Parameters
        ----------
        layouts, kept
            Of each message of a batch, its layout, and whether it was no duplicate; shape (n,).
        """
        if self._lines_seen != self.registry.applied:
            self._lines_seen = self.registry.applied
            lines = {row: self.registry.line_of(machine_id) for machine_id, row in self._machine_rows.items()}
            self._line_due = {row: line for row, line in lines.items() if line != self.line_ids[row]}
        if self._line_due:
            for row in set(self.layout_arrays().machines[layouts[kept]].tolist()) & self._line_due.keys():
                self.line_ids[row] = self._line_due.pop(row)

    def factory_of(self, row: int, layout: int) -> str:
        """Return the factory of a machine whose newest message had a layout; -1: it is not known any more."""
        return self._shapes[layout][1] if layout >= 0 else self.factory_ids[row]

    def settle_names(self) -> None:
        """Take factory and type of every machine from its newest message."""
        layouts = self.machines.rows["layout"][: self.machines.used]
        for row in np.flatnonzero(layouts >= 0):
            _, self.factory_ids[row], self.machine_types[row], _ = self._shapes[layouts[row]]

    def layout_arrays(self) -> Layouts:
        """Return the layouts as the kernel takes them."""
        if self._layout_arrays is None:
            self._layout_arrays = Layouts(
                np.array(self._layout_machines, np.int32),
                np.array(self._layout_factories, np.int64),
                np.array(self._layout_starts, np.int64),
                np.array(self._layout_slots, np.int32),
            )
        return self._layout_arrays

    def census(self) -> Census:
        """Return who there is, for the detectors: they go by the type that a machine had when it was seen first."""
        return Census(self.first_types, self.sensor_names, self.sensors.rows["machine"][: self.sensors.used])

    def memory(self, messages: int, readings: int, *, tells: bool = False) -> Memory:
        """Return the banks as the kernel takes them, with room for a batch; valid until the next registration.

        Parameters
        ----------
        tells
            Whether the operating cycles that end are to be told.
        """
        return Memory(
            self.machines.rows,
            self.counts.rows,
            self.sent.rows,
            self.sequences.rows,
            self.sensors.rows,
            self.slot_entries.rows,
            self.merged_ms.rows,
            self.deltas.entries,
            self.deltas.places,
            self.cycles.memory(messages, readings, tells=tells),
            self.silence.memory(messages),
            self.machines.used,
        )

    def forget_deltas(self, window_ms: int) -> tuple[npt.NDArray[np.void], list[str], npt.NDArray[np.bool_]]:
        """Return the pending window deltas, the factory of each, and whether nothing was merged before; begin anew."""
        self.slot_entries.rows.fill(-1)
        self.counts.rows[:] = 0
        deltas = self.deltas.take()
        slots, (numbers, deltas["window"]) = deltas["slot"], np.divmod(deltas["window"], FACTORY_STEP)
        first = deltas["window"] * window_ms > self.merged_ms.rows[slots]
        np.maximum.at(self.merged_ms.rows, slots, deltas["last_time_ms"])
        factory_ids = list(self._factory_numbers)
        return deltas, [factory_ids[number] for number in numbers.tolist()], first

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of the state without what waits to be merged, as plain lists and arrays."""
        self.settle_names()
        return {
            "version": STATE_VERSION,
            "watermark_ms": self.watermark_ms,
            "machine_ids": list(self.machine_ids),
            "factory_ids": list(self.factory_ids),
            "machine_types": list(self.machine_types),
            "first_types": list(self.first_types),
            "line_ids": list(self.line_ids),
            "sensor_names": list(self.sensor_names),
            "machines": self.machines.copy(),
            "sent": self.sent.copy(),
            "sequences": self.sequences.copy(),
            "sensors": self.sensors.copy(),
            **self.cycles.to_arrays(),
            **self.silence.to_arrays(),
            **self.judgement.to_arrays(),
            **self.detectors.to_arrays(),
            "river_models": self.models.to_plain(),
            **self.prognosis.to_arrays(),
            "controls": self.registry.applied,
            "registry": self.registry.to_plain(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> PartitionState:
        """Return the state that :meth:`to_arrays` described.

        Raises
        ------
        ValueError
            If the arrays are of another version.
        """
        if arrays["version"] != STATE_VERSION:
            msg = f"state version is {arrays['version']}, not {STATE_VERSION}"
            raise ValueError(msg)
        state = cls()
        state.watermark_ms = arrays["watermark_ms"]
        state.registry = Registry.from_plain(arrays["controls"], arrays["registry"])
        state.machine_ids, state.factory_ids = list(arrays["machine_ids"]), list(arrays["factory_ids"])
        state.machine_types, state.sensor_names = list(arrays["machine_types"]), list(arrays["sensor_names"])
        state.line_ids = list(arrays["line_ids"])
        state.first_types = list(arrays.get("first_types", state.machine_types))
        state._lines_seen = -1
        state.machines.load(arrays["machines"])
        state.machines.rows["layout"] = -1
        state.sent.load(arrays["sent"])
        state.sequences.load(arrays["sequences"])
        state.sensors.load(arrays["sensors"])
        state.cycles.load(arrays)
        state.silence.load(arrays)
        state.judgement.load(arrays)
        state.detectors.load(arrays)
        state.models.load(arrays.get("river_models", ()))
        state.prognosis.load(arrays)
        state.counts.load(np.zeros(state.machines.used, banks.MACHINE_COUNTS))
        state.slot_entries.load(np.full(state.sensors.used, -1, np.int32))
        # A snapshot is taken when all that it holds is merged
        state.merged_ms.load(state.sensors.rows["last_time_ms"][: state.sensors.used])
        state._machine_rows = {machine_id: row for row, machine_id in enumerate(state.machine_ids)}
        owners = state.sensors.rows["machine"][: state.sensors.used].tolist()
        state.slots = {key: slot for slot, key in enumerate(zip(owners, state.sensor_names, strict=True))}
        return state
