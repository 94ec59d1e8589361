"""The features that machines had after every operating cycle, as the fold gives them to models, from what is stored."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np

from pipeline.core.controls import MAINTAINED, PlacedControl
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.effects import Effects
from pipeline.core.fold import FoldRules, Marks
from pipeline.core.prognosis.lives import MOST_RENEWALS
from pipeline.core.prognosis.witness import Witness
from pipeline.core.records import RecordBatch, SourcePartition, StoredEvents
from pipeline.core.spikes import SpikeRules
from pipeline.core.state import PartitionState
from pipeline.modelling.classed import ClassedMessages
from pipeline.modelling.labelled import MachineCycles, Maintenance
from tables.loading import batches, lenient
from tables.partition import OwnedPartition

AGE = "age"
"""Feature of the machine that is gathered in any case: operating time is told by it."""

_EVENTS_AT_ONCE = 1000
"""Of one batch: a machine that is maintained more often than :data:`_AHEAD` times within it hears of the rest late."""

_AHEAD = MOST_RENEWALS // 2
"""Maintenance of a machine that is made known before its cycles come to it; the rest is room for control records."""

_NEVER = 2**62

Told = Callable[[SourcePartition, int], None]
"""Called with a partition and the position in it that was come to."""


def bare(rules: FoldRules) -> FoldRules:
    """Return the rules of a fold of stored events of which nobody wants more than cycles: no detectors, spikes, silence."""
    return replace(
        lenient(rules),
        detectors=DetectorRules(),
        spikes=SpikeRules(threshold=math.inf),
        silence_ms=0,
        quarantine_unknown=False,
        predicts=True,
    )


@dataclass(slots=True)
class Gathering:
    """What is gathered of machines of one type, partition by partition.

    Parameters
    ----------
    features
        Of a row, in this order; :data:`AGE` is gathered beside them.
    records
        Maintenance of all machines.
    classed
        Gets the messages of the machines of which it has records; ``None``: nobody wants messages.
    messages
        How many were folded, of machines of all types.
    """

    machine_type: str
    features: tuple[str, ...]
    rules: FoldRules
    records: Mapping[str, Sequence[Maintenance]]
    classed: ClassedMessages | None = None
    messages: int = 0
    _ends_ms: dict[str, array[int]] = field(default_factory=dict)
    _rows: dict[str, array[float]] = field(default_factory=dict)

    def fold(
        self,
        source: SourcePartition,
        events: Iterable[StoredEvents],
        end: int,
        controls: Sequence[PlacedControl] = (),
        told: Told = lambda _, __: None,
    ) -> None:
        """Fold what is stored of a partition before an offset into a fresh state, and keep what cycles gave models.

        Control records apply where the partition applied them. Maintenance that none of them tells of, as in imported
        history, is made known before the machine's cycles come to it.
        """
        state = PartitionState()
        state.prognosis.watch(self.machine_type, (*self.features, AGE))
        marks = Marks(windows=_NEVER, windows_controls=_NEVER)
        owned = OwnedPartition(source, "", state, 0, marks, 0, 0, recorded=deque(controls))
        untold = _Untold(state, self.records, controls)
        for records in batches(events, _EVENTS_AT_ONCE):
            untold.tell()
            owned.fold(RecordBatch(source, "", owned.position, records[-1].offset + 1, records), self.rules)
            self._take_all(owned)
            self.messages += len(records)
            told(source, owned.position)
        owned.pass_controls(end, self.rules)
        self._take_all(owned)
        told(source, end)

    def _take_all(self, owned: OwnedPartition) -> None:
        while owned.pending:
            self._take(owned.pending.popleft())

    def _take(self, effects: Effects) -> None:
        for each in effects.predictions:
            if each.model.kind == Witness.kind:
                self._ends_ms.setdefault(each.machine_id, array("q")).append(each.time_ms)
                self._rows.setdefault(each.machine_id, array("d")).extend(each.inputs)
        if self.classed is None or not self.classed.machines:
            return
        events = effects.events
        known = [machine_id in self.classed.machines for machine_id in events.machine_ids]
        columns = (events.machine_ids, events.times_ms.tolist(), events.bodies)
        for machine_id, at_ms, body in compress(zip(*columns, strict=True), known):
            self.classed.take(machine_id, at_ms, body)

    def cycles(self) -> dict[str, MachineCycles]:
        """Return what was gathered, by machine id; machines of which no cycle has ended are not there."""
        return {machine_id: self._cycles_of(machine_id) for machine_id in sorted(self._ends_ms)}

    def _cycles_of(self, machine_id: str) -> MachineCycles:
        ends_ms = np.array(self._ends_ms[machine_id], np.int64)
        rows = np.array(self._rows[machine_id], np.float64).reshape(len(ends_ms), -1)
        # One that moved to another partition has cycles there too
        order = np.argsort(ends_ms, kind="stable")
        return MachineCycles(ends_ms[order], rows[order, :-1], rows[order, -1])


class _Untold:
    """Maintenance of which no control record told a partition, by machine, oldest first; made known as cycles come to it."""

    def __init__(
        self,
        state: PartitionState,
        records: Mapping[str, Sequence[Maintenance]],
        controls: Sequence[PlacedControl],
    ) -> None:
        bodies = [placed.control.body for placed in controls if placed.control.kind == MAINTAINED]
        told = {(body["machine_id"], body["time_ms"]) for body in bodies}
        self._waiting = {
            machine_id: deque(times)
            for machine_id, some in records.items()
            if (times := [each.time_ms for each in some if each.ends_life and (machine_id, each.time_ms) not in told])
        }
        self._state = state
        state.prognosis.lives.foretold = lambda row: self._next(state.machine_ids[row], _AHEAD)

    def tell(self) -> None:
        """Make known what comes next of every machine that the state knows."""
        lives, census = self._state.prognosis.lives, None
        for machine_id in list(self._waiting):
            row = self._state.row_of(machine_id)
            if row is None or row >= lives.lives.used:
                continue
            for at_ms in self._next(machine_id, _AHEAD - len(lives.renewals.get(row, ()))):
                census = census or self._state.census()
                lives.renew(row, census, at_ms)

    def _next(self, machine_id: str, most: int) -> list[int]:
        times = self._waiting.get(machine_id, deque[int]())
        found = [times.popleft() for _ in range(min(most, len(times)))]
        if not times:
            self._waiting.pop(machine_id, None)
        return found
