"""The partitions of one worker: acquired, folded, stored, given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog

from pipeline.core.controls import Control
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import NotOwner, StaleEvidence
from pipeline.core.fold import FoldRules
from pipeline.core.marks import Evidence
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.store.takeover import Acquired
from tables.loading import Placed, Stored, load, readable_from
from tables.partition import OwnedPartition

log = structlog.get_logger(__name__)

NEVER = 2**63 - 1
"""Horizon of a worker whose partitions know of every control record."""


class Partitions:
    """What this worker owns, and what it owned a moment ago.

    A rebalance makes every worker forget its leases, also those it gets back. What was not stored yet, and the state it was
    folded into, are kept until it is known who comes next: if nobody else took the partition meanwhile, work goes on where
    it stood, and nothing is folded again.

    Parameters
    ----------
    take_over
        Takes a partition over in the database, given what its log was seen to hold; runs in a thread.
    stored
        Gives what is stored already of a range of offsets; runs in a thread.
    placed
        Gives control records that a partition applied; runs in a thread.
    rules
        Of the fold.
    max_pending
        Rows (or 4 kB of bodies each) that may wait for the sink before :meth:`room` makes the agents wait.
    """

    def __init__(
        self,
        take_over: Callable[[SourcePartition, Evidence], Acquired],
        stored: Stored,
        placed: Placed,
        rules: FoldRules,
        max_pending: int = 40_000,
    ) -> None:
        self._take_over = take_over
        self._stored = stored
        self._placed = placed
        self.rules = rules
        self._max_pending = max_pending
        self.owned: dict[SourcePartition, OwnedPartition] = {}
        self._parked: dict[SourcePartition, OwnedPartition] = {}
        self._in_flight: dict[tuple[SourcePartition, str], OwnedPartition] = {}
        self._changed = asyncio.Event()
        self.work = asyncio.Event()
        self.loading: SourcePartition | None = None
        """Whose state is loaded now, which takes long if it is rebuilt from events; others wait meanwhile."""
        self._closed = False
        self._wanted: set[SourcePartition] = set()
        self._releases = 0
        self.controls_since = NEVER
        """From where on control records are to be looked for that some partition may not know."""

    # -- leases ------------------------------------------------------------------------------------------------------

    async def acquire(self, source: SourcePartition, evidence: Evidence) -> tuple[str, int]:
        """Take a partition over; return owner token and the position to read from.

        Raises
        ------
        PipelineError
            When that cannot be done now.
        """
        before = self.owned.pop(source, None)
        if before is not None:
            # Acquired for an assignment that was over when the lease came
            self._parked[source] = before
        # A unit of ours under way holds the row's lock; its outcome decides whether the parked state is still right
        await self._until(lambda: all(source != busy for busy, _ in self._in_flight))
        releases = self._releases
        taken = await asyncio.to_thread(self._take_over, source, evidence)
        parked = self._parked.pop(source, None)
        begins = evidence.held.start
        if parked is not None and _still_right(parked, taken) and parked.position >= readable_from(taken, begins):
            partition = parked
            partition.owner = taken.owner
            partition.horizon = taken.horizon
            partition.known |= taken.heard
            partition.take_in(taken.waiting)
        else:
            arguments = (source, taken, begins, self.rules, self._stored, lambda: self._may_own(source, releases))
            self.loading = source
            try:
                partition = await asyncio.to_thread(load, *arguments, self._placed)
            finally:
                self.loading = None
        if not self._may_own(source, releases):
            raise NotOwner(f"{source} went to another worker while it was taken over")
        self.owned[source] = partition
        # What came while the partition was loaded, nobody told it
        self.controls_since = min(self.controls_since, taken.horizon)
        if partition.pending:
            self.work.set()
        if taken.settle_first:
            await self._until(lambda: partition.is_stored or self.owned.get(source) is not partition)
            raise StaleEvidence(f"what was stored of the lost log of {source} is merged: asking again")
        return partition.owner, partition.position

    def _may_own(self, source: SourcePartition, releases: int) -> bool:
        """Return whether a partition that was wanted after so many releases still is."""
        return not self._closed and (releases == self._releases or source in self._wanted)

    def release(self, wanted: Collection[SourcePartition]) -> None:
        """Give up every lease; what may come back is kept aside."""
        self._wanted = set(wanted)
        self._releases += 1
        for source, partition in self.owned.items():
            self._parked[source] = partition
        self.owned.clear()
        self._parked = {source: partition for source, partition in self._parked.items() if source in wanted}
        self._notify()

    def revoke(self, source: SourcePartition) -> None:
        """Give up one lease and all that was not stored under it."""
        self._parked.pop(source, None)
        self.owned.pop(source, None)
        self._notify()

    # -- folding -----------------------------------------------------------------------------------------------------

    async def room(self) -> None:
        """Wait while too much waits for the sink: fetching pauses behind this."""
        await self._until(lambda: sum(each.unstored for each in self.owned.values()) < self._max_pending)

    def owns(self, batch: RecordBatch) -> bool:
        """Return whether a batch was fetched under a lease that still holds."""
        if self._closed:
            return False
        partition = self.owned.get(batch.source)
        return partition is not None and partition.owner == batch.owner

    def follows(self, batch: RecordBatch) -> bool:
        """Return whether an owned batch begins where the last one ended."""
        return self.owned[batch.source].position == batch.start

    def fold(self, batch: RecordBatch) -> None:
        """Fold an owned batch; its effects wait for the sink."""
        self.owned[batch.source].fold(batch, self.rules)
        self.work.set()

    def tell(self, controls: Collection[Control]) -> None:
        """Let every owned partition apply control records, where it stands; each only those that it does not know."""
        if self._closed or not controls:
            return
        for partition in self.owned.values():
            partition.tell(controls)
        self.work.set()

    def tick(self, source: SourcePartition, at_ms: int) -> None:
        """Let a partition's event time go on to a moment at which its log had nothing more to read."""
        partition = self.owned.get(source)
        if partition is not None and not self._closed and partition.tick(at_ms, self.rules):
            log.info("partition.ticked", source=str(source), position=partition.position, at_ms=at_ms)
            self.work.set()

    def pass_controls(self, ends: Mapping[SourcePartition, int]) -> None:
        """Apply the control records behind the last records; see :meth:`OwnedPartition.pass_controls`."""
        for source, partition in self.owned.items():
            partition.pass_controls(ends[source], self.rules)
        self.work.set()

    def close(self) -> None:
        """Fold nothing more: the worker is about to stop."""
        self._closed = True

    # -- storing -----------------------------------------------------------------------------------------------------

    def take(self, limit: int, due: Collection[SourcePartition]) -> list[UnitOfWork]:
        """Return what to store next: about ``limit`` rows, and everything of the partitions that are ``due``."""
        self.work.clear()
        units = []
        for source, partition in sorted(self.owned.items(), key=lambda item: -len(item[1].pending)):
            if source in due:
                unit = partition.take_all(self.rules)
            elif limit > 0:
                unit = partition.take(limit)
            else:
                continue
            if unit is not None:
                self._in_flight[source, unit.owner] = partition
                limit -= sum(effects.weight for effects in unit.effects)
                units.append(unit)
        if any(partition.pending for partition in self.owned.values()):
            self.work.set()
        return units

    async def settle(self, units: Iterable[UnitOfWork], hit: Collection[SourcePartition]) -> list[SourcePartition]:
        """Note the outcome of a transaction; return the partitions that are still held here but were refused."""
        refused = []
        for unit in units:
            partition = self._in_flight.pop((unit.source, unit.owner))
            held = self.owned.get(unit.source) is partition
            if unit.source in hit:
                partition.stored(unit)
            elif held:
                refused.append(unit.source)
            else:
                self._parked.pop(unit.source, None)
        self._notify()
        return refused

    def stored(self) -> dict[SourcePartition, int]:
        """Return up to which offset the effects of each owned partition are stored."""
        return {source: partition.effects_mark for source, partition in self.owned.items()}

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()


def _still_right(parked: OwnedPartition, taken: Acquired) -> bool:
    marks = taken.effects, taken.windows, taken.controls_mark, taken.windows_controls
    held = parked.effects_mark, parked.windows_mark, parked.controls_mark, parked.windows_controls
    return (taken.previous_owner, marks, set(taken.skip)) == (parked.owner, held, set(parked.skip))
