"""The protocol with one rule left out at a time: the simulation has to catch each, or it proves nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from agents.flush import Flusher
from pipeline.broker.reading import Reader
from pipeline.core.controls import PlacedControl
from pipeline.core.effects import UnitOfWork
from pipeline.core.marks import Evidence, StoredMarks
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import Acquired
from tests.simulation.client import SimulatedClient
from tests.simulation.database import Database
from tests.simulation.trace import Fault
from tests.simulation.vault import SimulatedVault
from tests.simulation.worker import FailingPartitions, Parts


class MarksNotCompared(Database):
    @staticmethod
    def matches(row: StoredMarks, unit: UnitOfWork) -> bool:
        return row.owner == unit.owner


class NothingCompared(Database):
    @staticmethod
    def matches(row: StoredMarks, unit: UnitOfWork) -> bool:
        return row.owner is not None


class OwnerNotCompared(Database):
    @staticmethod
    def matches(row: StoredMarks, unit: UnitOfWork) -> bool:
        return Database.matches(row._replace(owner=unit.owner), unit)


class WindowsMarkNotCompared(Database):
    @staticmethod
    def matches(row: StoredMarks, unit: UnitOfWork) -> bool:
        return (row.owner, row.effects) == (unit.owner, unit.expected)


class BatchesNeedNotFollow(FailingPartitions):
    def follows(self, batch: RecordBatch) -> bool:
        return True


class BatchesOfAnyOwner(FailingPartitions):
    def owns(self, batch: RecordBatch) -> bool:
        return not self._closed and batch.source in self.owned

    def follows(self, batch: RecordBatch) -> bool:
        return batch.start >= self.owned[batch.source].position


class StateKeptWhoeverCame(FailingPartitions):
    """What was kept aside goes on, with the marks as they are, even if somebody else moved them meanwhile."""

    async def acquire(self, source: SourcePartition, evidence: Evidence) -> tuple[str, int]:
        parked = self._parked.get(source)
        owner, _ = await super().acquire(source, evidence)
        loaded = self.owned[source]
        if parked is not None and loaded is not parked:
            parked.owner, parked.effects_mark, parked.windows_mark = owner, loaded.effects_mark, loaded.windows_mark
            self.owned[source] = parked
        return owner, self.owned[source].position


class HalfFoldedStateKept(FailingPartitions):
    def revoke(self, source: SourcePartition) -> None:
        """Keep what should be given up."""
        partition = self.owned.pop(source, None)
        if partition is not None:
            self._parked[source] = partition


class SnapshotAheadOfItsMark(SimulatedVault):
    def _keep(self, snapshot: Snapshot) -> bool:
        self.database.tables.snapshots[snapshot.source] = (snapshot.offset, snapshot.state)
        return True


class RefusedUnitsForgotten(Flusher):
    async def _settle(self, units: Sequence[UnitOfWork], hit: Collection[SourcePartition]) -> None:
        await self._partitions.settle(units, {unit.source for unit in units})


class WindowsMarkJumps(SimulatedVault):
    """A new owner finds the windows mark where the effects mark is."""

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        progress = self.database.tables.progress
        if source in progress:
            progress[source] = progress[source]._replace(windows=progress[source].effects)
        return super().take_over(source, evidence)


class AnyPlaceWillDo(Reader):
    async def _is_in_place(self, source: SourcePartition, first: int) -> bool:
        return True


class ReadsAnywhere(SimulatedClient):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.reader = AnyPlaceWillDo(self, self.reader._ownership)


class SilentPartitionsNotCompared(FailingPartitions):
    """A partition without news is not compared with its marks."""

    def take(self, limit: int, due: Collection[SourcePartition]) -> list[UnitOfWork]:
        return super().take(limit, [source for source in due if not self.owned[source].is_stored])


class PlacesForgotten(SimulatedVault):
    """A new owner applies control records at the effects mark, wherever they were applied before."""

    def placed_controls(self, source: SourcePartition, first: int) -> tuple[PlacedControl, ...]:
        at = self.database.tables.progress[source].effects
        return tuple(each._replace(offset=at) for each in super().placed_controls(source, first))


class PlacesNotStored(SimulatedVault):
    """Control records take effect, and nobody learns where."""

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        return await super().store(
            [replace(unit, effects=[replace(each, controls=()) for each in unit.effects]) for unit in units]
        )


class Broken(NamedTuple):
    """Parts without a rule, and the faults that need it: fewer kinds find it sooner."""

    parts: Parts
    only: Sequence[Fault] = ()


BROKEN = {
    "the compare-and-set is left out": Broken(Parts(database=NothingCompared)),
    "the marks are not compared": Broken(Parts(database=MarksNotCompared), [Fault.RESTORE]),
    "the owner is not compared": Broken(Parts(database=OwnerNotCompared), [Fault.RESTORE, Fault.UNSTORABLE]),
    "the windows mark is not compared": Broken(Parts(database=WindowsMarkNotCompared), [Fault.RESTORE]),
    "a batch need not begin where the last one ended": Broken(Parts(partitions=BatchesNeedNotFollow)),
    "batches of former owners are folded": Broken(Parts(partitions=BatchesOfAnyOwner)),
    "state goes on though somebody came between": Broken(
        Parts(partitions=StateKeptWhoeverCame), [Fault.REBALANCE, Fault.HEARTBEATS_LOST]
    ),
    "half-folded state is kept": Broken(Parts(partitions=HalfFoldedStateKept)),
    "a snapshot may be ahead of its marks": Broken(Parts(vault=SnapshotAheadOfItsMark)),
    "a refused unit is forgotten": Broken(Parts(flusher=RefusedUnitsForgotten), [Fault.RESTORE]),
    "the windows mark jumps to the effects mark": Broken(Parts(vault=WindowsMarkJumps)),
    "the reader takes what comes from anywhere": Broken(Parts(client=ReadsAnywhere)),
    "a silent partition is not compared with its marks": Broken(
        Parts(partitions=SilentPartitionsNotCompared), [Fault.RESTORE]
    ),
    "places of control records are forgotten": Broken(Parts(vault=PlacesForgotten), [Fault.CONTROL, Fault.KILL]),
    "places of control records are not stored": Broken(Parts(vault=PlacesNotStored), [Fault.CONTROL]),
}
"""What is left out."""
