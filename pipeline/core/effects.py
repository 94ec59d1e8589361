"""What goes out: the effects of a fold, and the unit of work that one transaction stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress

import numpy as np
import numpy.typing as npt

from pipeline.core.anomalies import Anomaly
from pipeline.core.controls import PlacedControl
from pipeline.core.dead_letters import DeadLetter
from pipeline.core.facts import Fact
from pipeline.core.maintenance.requirements import Recalculation, RequirementChange, RequirementRows
from pipeline.core.new_machines import NewMachine
from pipeline.core.predictions import Prediction
from pipeline.core.records import SourcePartition
from pipeline.core.windowing.aggregates import CycleRows, FactoryRows
from pipeline.core.windowing.watermark import BEGINNING_MS


@dataclass(frozen=True, slots=True)
class Events:
    """Accepted messages, column by column, in (offset, index) order.

    Parameters
    ----------
    offsets, indexes
        Source position and place in an array record; shape (n,).
    times_ms, ingest_ms
        Event time and the broker's time, ms since the epoch, UTC; shape (n,).
    machine_ids, factory_ids
        n texts each.
    bodies
        n raw JSON objects.
    """

    offsets: npt.NDArray[np.int64]
    indexes: npt.NDArray[np.int32]
    times_ms: npt.NDArray[np.int64]
    ingest_ms: npt.NDArray[np.int64]
    machine_ids: list[str]
    factory_ids: list[str]
    bodies: list[bytes]

    def __len__(self) -> int:
        return len(self.bodies)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Events:
        """Return the chosen messages; ``chosen`` has shape (n,)."""
        if chosen.all():
            return self
        which = chosen.tolist()
        return Events(
            self.offsets[chosen],
            self.indexes[chosen],
            self.times_ms[chosen],
            self.ingest_ms[chosen],
            list(compress(self.machine_ids, which)),
            list(compress(self.factory_ids, which)),
            list(compress(self.bodies, which)),
        )


NO_EVENTS = Events(
    np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), [], [], []
)
"""What a batch without an accepted message has."""


@dataclass(frozen=True)
class Effects:
    """What the fold of one batch wants stored at once, exactly once.

    Parameters
    ----------
    next
        Position after the batch.
    events
        Accepted telemetry.
    facts
        Accepted messages that are no telemetry, in (offset, index) order.
    checksum
        CRC-32 of the last record's body, and its offset; ``None`` if the batch had no record.
    watermark_ms
        Watermark at ``next``, ms since the epoch, UTC.
    new_machines, requirements, recalculations, predictions
        In (offset, index) order.
    controls
        Control records that the partition applied at ``next``, in this order.
    """

    next: int
    events: Events
    anomalies: list[Anomaly] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    checksum: tuple[int, int] | None = None
    watermark_ms: int = BEGINNING_MS
    facts: list[Fact] = field(default_factory=list)
    new_machines: list[NewMachine] = field(default_factory=list)
    requirements: list[RequirementChange] = field(default_factory=list)
    recalculations: list[Recalculation] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    controls: tuple[PlacedControl, ...] = ()

    @classmethod
    def of_controls(
        cls,
        position: int,
        controls: tuple[PlacedControl, ...],
        anomalies: Sequence[Anomaly] = (),
        predictions: Sequence[Prediction] = (),
        watermark_ms: int = BEGINNING_MS,
    ) -> Effects:
        """Return what is to be stored of control records that were applied at a position."""
        return cls(
            position,
            NO_EVENTS,
            list(anomalies),
            predictions=list(predictions),
            watermark_ms=watermark_ms,
            controls=controls,
        )

    @property
    def latest_ms(self) -> int | None:
        """Latest event time of what was accepted, ms since the epoch, UTC; ``None``: nothing was."""
        newest = [int(self.events.times_ms.max())] if len(self.events) else []
        return max([*newest, *(fact.time_ms for fact in self.facts)], default=None)

    @property
    def rows(self) -> int:
        """How many rows this is in the sink."""
        records = len(self.events) + len(self.facts) + len(self.dead_letters)
        derived = len(self.anomalies) + len(self.new_machines) + len(self.requirements) + len(self.recalculations)
        return records + derived + len(self.predictions) + len(self.controls)

    @cached_property
    def weight(self) -> int:
        """How many rows this counts as where memory and transactions are bounded: a large body counts as several."""
        held = sum(map(len, self.events.bodies)) + sum(len(fact.body) for fact in self.facts)
        held += sum(len(letter.body or b"") for letter in self.dead_letters)
        return max(self.rows, held // 4096)

    def between(self, first: int, last: int) -> Effects:
        """Return the effects of the records from offset ``first`` to ``last``, both included."""
        return replace(
            self,
            events=self.events.where((first <= self.events.offsets) & (self.events.offsets <= last)),
            anomalies=[anomaly for anomaly in self.anomalies if first <= anomaly.offset <= last],
            dead_letters=[letter for letter in self.dead_letters if first <= letter.offset <= last],
            facts=[fact for fact in self.facts if first <= fact.offset <= last],
            new_machines=[machine for machine in self.new_machines if first <= machine.offset <= last],
            requirements=[change for change in self.requirements if first <= change.offset <= last],
            recalculations=[each for each in self.recalculations if first <= each.offset <= last],
            predictions=[each for each in self.predictions if first <= each.offset <= last],
            controls=(),
        )


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Window deltas with their keys in words; all of length n.

    Parameters
    ----------
    deltas
        Shape (n,) of :data:`pipeline.core.windowing.windows.DELTA`.
    first
        Whether this partition has merged nothing into the window before; shape (n,). Another one may have.
    starts_ms
        Window starts, ms since the epoch, UTC.
    """

    deltas: npt.NDArray[np.void]
    first: npt.NDArray[np.bool_]
    starts_ms: npt.NDArray[np.int64]
    machine_ids: list[str]
    factory_ids: list[str]
    sensors: list[str]

    def where(self, chosen: npt.NDArray[np.bool_]) -> WindowRows:
        """Return the chosen rows; ``chosen`` has shape (n,)."""
        which = chosen.tolist()
        return WindowRows(
            self.deltas[chosen],
            self.first[chosen],
            self.starts_ms[chosen],
            list(compress(self.machine_ids, which)),
            list(compress(self.factory_ids, which)),
            list(compress(self.sensors, which)),
        )


@dataclass(frozen=True, slots=True)
class MachineRow:
    """What changed about a machine since the last merge; counters are differences, the rest is the newest value.

    Parameters
    ----------
    line_id
        The line that it belonged to when it sent its newest message; empty: nobody has said.
    readings
        Last value of every sensor.
    is_silent
        Whether nothing came for so long that it was found silent.
    last_seen_ms, last_offset
        Event time (ms since the epoch, UTC) and offset of its newest message.
    messages, duplicates, late, very_late, unverified, missing
        Accepted; dropped as sent twice by the device; accepted after their window was complete; accepted after the
        allowed lateness too; accepted though older than the memory of duplicates; missing between the device's sequence
        numbers, < 0: some that were missing came.
    """

    machine_id: str
    factory_id: str
    machine_type: str
    line_id: str
    readings: dict[str, float]
    is_silent: bool
    last_seen_ms: int
    last_offset: int
    messages: int
    duplicates: int
    late: int
    very_late: int
    unverified: int
    missing: int


@dataclass(frozen=True, slots=True)
class Projections:
    """What is merged now and then under the windows mark: everything between two of its positions.

    Parameters
    ----------
    expected, next
        The windows mark before and after.
    controls_expected, controls
        How many control records what is merged holds, before and after.
    watermark_ms
        Watermark at ``next``, ms since the epoch, UTC.
    cycles_to_ms
        No message that is on time belongs to a cycle that ended before, ms since the epoch, UTC.
    """

    expected: int
    next: int
    controls_expected: int
    controls: int
    watermark_ms: int
    cycles_to_ms: int
    windows: WindowRows
    factories: FactoryRows
    cycles: CycleRows
    requirements: RequirementRows
    machines: list[MachineRow]


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """What one transaction stores for one partition, and the marks it moves.

    Parameters
    ----------
    expected, next
        The effects mark before and after.
    controls
        How many control records the partition had applied before.
    """

    source: SourcePartition
    owner: str
    expected: int
    next: int
    effects: list[Effects]
    projections: Projections | None = None
    controls: int = 0

    @property
    def controls_next(self) -> int:
        """How many control records the partition has applied afterwards."""
        return self.controls + sum(len(effects.controls) for effects in self.effects)

    @property
    def checksum(self) -> tuple[int, int] | None:
        """CRC-32 and offset of the last record before ``next``, if this unit holds one."""
        return next((e.checksum for e in reversed(self.effects) if e.checksum is not None), None)
