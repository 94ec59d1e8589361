"""The flusher: hands what was folded to the sink, one transaction after the other, for as long as the worker lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog

from pipeline.broker.ownership import Ownership
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import CommitUnknown, PipelineError, Unstorable
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.snapshots import Snapshot
from tables import snapshots
from tables.partitions import Partitions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FlushRules:
    """When what is stored.

    Parameters
    ----------
    min_interval_s
        Shortest time from the beginning of one transaction to the next, s.
    max_records
        Rows of one transaction, about.
    windows_interval_s
        How often a partition's window deltas and machine states are merged, s.
    snapshot_interval_s
        How often a partition's state is kept, s; at the merge that follows.
    max_retry_s
        Longest pause before the sink is tried again, s.
    """

    min_interval_s: float = 0.05
    max_records: int = 20_000
    windows_interval_s: float = 5.0
    snapshot_interval_s: float = 30.0
    max_retry_s: float = 5.0


class Vault(Protocol):
    """Where effects, snapshots and control records are kept; each call may take long and raises ``PipelineError``."""

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Store units in one transaction; return the partitions whose marks were hit."""

    async def save(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot; return whether its owner still owned the partition."""

    async def skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        """Decide for good that a record becomes a dead letter, if the partition still has this owner."""


class _Cut(NamedTuple):
    """A partition's state at an offset, not encoded yet."""

    source: SourcePartition
    owner: str
    offset: int
    arrays: dict[str, Any]


class Flusher:
    """Stores what the partitions have, self-clocking: the next transaction begins when the last one is done.

    Merges are staggered: one transaction carries the windows of at most one partition, so that no flush waits for all.

    Parameters
    ----------
    partitions, ownership, vault
        Whence, who decides ownership, and whither.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, partitions: Partitions, ownership: Ownership, vault: Vault, rules: FlushRules, clock: Callable[[], float]
    ) -> None:
        self._partitions = partitions
        self._ownership = ownership
        self._vault = vault
        self._rules = rules
        self._clock = clock
        self._merged_at: dict[SourcePartition, float] = {}
        self._kept_at: dict[SourcePartition, float] = {}
        self._kept: dict[SourcePartition, tuple[str, int]] = {}
        self._saving: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._finishing = False

    async def run(self) -> None:
        """Flush until :meth:`finish` is called."""
        while not self._finishing:
            began = self._clock()
            await self.flush(self._due(began))
            rest = self._rules.min_interval_s - (self._clock() - began)
            if rest > 0:
                await asyncio.sleep(rest)
            if not self._due(self._clock()):
                await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(self._rules.windows_interval_s / 8):
                await self._partitions.work.wait()
        except TimeoutError:
            pass

    def _due(self, now: float) -> list[SourcePartition]:
        """Return the partition whose windows wait longest, if they wait long enough; the first wait is staggered."""
        owned = sorted(self._partitions.owned)
        interval = self._rules.windows_interval_s
        for place, source in enumerate(owned):
            self._merged_at.setdefault(source, now - interval * place / len(owned))
            self._kept_at.setdefault(source, now - self._rules.snapshot_interval_s * place / len(owned))
        late = min(owned, key=lambda source: self._merged_at[source], default=None)
        return [late] if late is not None and now - self._merged_at[late] >= interval else []

    async def flush(self, due: Collection[SourcePartition]) -> None:
        """Store what waits, with the windows of the partitions that are due."""
        async with self._one_at_a_time:
            units = self._partitions.take(self._rules.max_records, due)
            now = self._clock()
            self._merged_at.update(dict.fromkeys(due, now))
            cuts = [self._cut(unit.source) for unit in units if self._keeps(unit, now)]
            if units:
                await self._store(units)
        if cuts:
            self._saving = asyncio.create_task(self._save(cuts))

    async def finish(self) -> None:
        """Store all that waits and keep every state, so that whoever comes next need not fold it again."""
        self._finishing = True
        owned = self._partitions.owned
        while any(partition.pending for partition in owned.values()):
            await self.flush(())
        await self.flush(list(owned))
        if self._saving is not None:
            await self._saving
        reached(CrashPoint.DRAINED)
        stored = [source for source, partition in owned.items() if partition.is_stored]
        await self._save([self._cut(source) for source in stored])

    def _keeps(self, unit: UnitOfWork, now: float) -> bool:
        saving = self._saving is not None and not self._saving.done()
        if unit.projections is None or saving or self._finishing:
            return False
        partition = self._partitions.owned[unit.source]
        if self._kept.get(unit.source) == (partition.owner, partition.position):
            return False
        return now - self._kept_at.get(unit.source, -self._rules.snapshot_interval_s) >= self._rules.snapshot_interval_s

    def _cut(self, source: SourcePartition) -> _Cut:
        """Return the state where it stands, after all its deltas were taken.

        That is the position and no mark: while records are folded again, the effects mark is ahead of the state.
        """
        self._kept_at[source] = self._clock()
        partition = self._partitions.owned[source]
        return _Cut(source, partition.owner, partition.position, partition.state.to_arrays())

    async def _save(self, cuts: Sequence[_Cut]) -> None:
        for cut in cuts:
            reached(CrashPoint.SNAPSHOT_CUT)
            state, raw_bytes = await asyncio.to_thread(snapshots.encode, cut.arrays)
            held = cut.arrays["controls"]
            snapshot = Snapshot(cut.source, cut.owner, cut.offset, snapshots.FORMAT_VERSION, state, raw_bytes, held)
            try:
                kept = await self._vault.save(snapshot)
            except PipelineError as error:
                log.warning("snapshot.not_kept", source=str(cut.source), reason=str(error))
            else:
                log.info("snapshot.kept" if kept else "snapshot.refused", source=str(cut.source), offset=cut.offset)
                if kept:
                    self._kept[cut.source] = cut.owner, cut.offset

    async def _store(self, units: list[UnitOfWork]) -> None:
        pause = self._rules.min_interval_s
        while units:
            try:
                hit = await self._vault.store(units)
            except Unstorable as error:
                units = await self._set_aside(units, error)
            except CommitUnknown as error:
                log.warning("flush.unknown", reason=str(error))
                await self._refuse(units)
                return
            except PipelineError as error:
                if not error.retriable:
                    raise
                log.warning("flush.waiting", reason=str(error), retry_s=round(pause, 2))
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._rules.max_retry_s)
            else:
                reached(CrashPoint.BEFORE_SETTLING)
                await self._settle(units, hit)
                return

    async def _settle(self, units: Sequence[UnitOfWork], hit: Collection[SourcePartition]) -> None:
        for source in await self._partitions.settle(units, hit):
            log.warning("flush.refused", source=str(source))
            self._ownership.want_again(source)

    async def _refuse(self, units: Sequence[UnitOfWork]) -> None:
        for unit in units:
            if unit.source in await self._partitions.settle([unit], ()):
                self._ownership.want_again(unit.source)

    async def _set_aside(self, units: list[UnitOfWork], error: Unstorable) -> list[UnitOfWork]:
        """Note a record that can never be stored, give its partition up, and return the other units."""
        log.error("record.unstorable", reason=str(error))
        try:
            source = SourcePartition(error.topic, error.partition)
            owner = next(unit.owner for unit in units if unit.source == source)
            await self._vault.skip(source, owner, error.offset, DeadLetterReason.UNSTORABLE, error.reason)
        except PipelineError as unavailable:
            log.warning("record.unstorable.not_noted", reason=str(unavailable))
            await asyncio.sleep(self._rules.min_interval_s)
            return units
        await self._refuse([unit for unit in units if unit.source == source])
        return [unit for unit in units if unit.source != source]
