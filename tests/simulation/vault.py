"""One worker's connections to the database: what a call may meet before, in and after its COMMIT."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterator, Sequence
from contextvars import Context

from pipeline.core.controls import PlacedControl, Polled
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import CommitUnknown, DatabaseUnavailable, PipelineError, Unstorable
from pipeline.core.marks import Evidence, StoredMarks, reconcile
from pipeline.core.records import SourcePartition, StoredEvent, StoredEvents
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import Acquired
from tests.simulation.database import Database, Transaction
from tests.simulation.loop import Busy, Loop
from tests.simulation.odds import Odds
from tests.simulation.trace import Fault, Trace
from tests.simulation.workload import UNSTORABLE

LOCK_TIMEOUT_S = 1.0


class SimulatedVault:
    """Implements the flusher's ``Vault``, and ``take_over`` for the partitions.

    A call goes on when its caller is cancelled, as one in a thread does.
    """

    def __init__(self, loop: Loop, database: Database, name: str, odds: Odds, trace: Trace) -> None:
        self._loop = loop
        self.database = database
        self._name = name
        self._odds = odds
        self._trace = trace
        self._rng: random.Random = database.rng
        self._lock_deadlines: dict[SourcePartition, float] = {}

    async def _some_time(self) -> None:
        await asyncio.sleep(self._rng.random() * (0.004 + self.database.slow_s))

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Store units in one transaction; return the partitions whose marks were hit."""
        return await asyncio.shield(self._loop.create_task(self._store(list(units))))

    async def _store(self, units: list[UnitOfWork]) -> set[SourcePartition]:
        await self._some_time()
        transaction = self.database.begin(self._name)
        try:
            hit = await self._write(transaction, units)
        except PipelineError:
            transaction.end()
            raise
        await self._commit(transaction)
        moves = {f"{u.source.partition}": f"{u.expected}→{u.next}" for u in units if u.source in hit}
        self._trace.add(self._name, "stored", moves)
        return hit

    async def _write(self, transaction: Transaction, units: list[UnitOfWork]) -> set[SourcePartition]:
        hit = set()
        for unit in sorted(units, key=lambda each: each.source):
            await transaction.lock(unit.source)
            if transaction.compare_and_set(unit):
                hit.add(unit.source)
        await self._some_time()
        transaction.require_alive()
        found = self.database.find_unstorable([u for u in units if u.source in hit], UNSTORABLE.encode())
        if found is not None:
            source, offset = found
            self._trace.fault(Fault.UNSTORABLE, self._name, found)
            raise Unstorable(*source, offset, "no table takes it")
        if self._odds.strike(Fault.ROLLED_BACK, self._name):
            raise DatabaseUnavailable("the connection was lost before COMMIT")
        return hit

    async def _commit(self, transaction: Transaction) -> None:
        stored_unheard = self._odds.strike(Fault.UNKNOWN_STORED, self._name)
        lost = not stored_unheard and self._odds.strike(Fault.UNKNOWN_NOT_STORED, self._name)
        answer = self._loop.create_future()

        def arrive() -> None:
            """Commit at the server, which does so even if the worker is dead by now."""
            known = not (stored_unheard or lost or transaction.ended)
            if lost:
                transaction.end()
            elif not transaction.ended:
                transaction.apply()
            answer.set_result(known)

        # Before the worker knows that its COMMIT was sent, it may be killed
        await self._some_time()
        self._loop.call_later(self._rng.random() * 0.01, arrive, context=Context())
        known = await answer
        await self._some_time()
        if not known:
            raise CommitUnknown("the connection was lost inside COMMIT")

    async def save(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot if its owner still owns the partition and both marks have reached it."""
        return await asyncio.shield(self._loop.create_task(self._save(snapshot)))

    async def _save(self, snapshot: Snapshot) -> bool:
        await self._some_time()
        self.database.require_available()
        kept = self._keep(snapshot)
        await self._some_time()
        if self._odds.strike(Fault.SNAPSHOT_LOST, self._name):
            raise DatabaseUnavailable("the connection was lost while a snapshot was kept")
        return kept

    def _keep(self, snapshot: Snapshot) -> bool:
        tables, source = self.database.tables, snapshot.source
        row = tables.progress.get(source)
        if row is None or row.owner != snapshot.owner or min(row.effects, row.windows) < snapshot.offset:
            return False
        if min(len(tables.placed.get(source, ())), tables.windows_controls.get(source, 0)) < snapshot.controls:
            return False
        tables.snapshots[source] = (snapshot.offset, snapshot.state)
        return True

    async def skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        """Decide for good that a record becomes a dead letter."""
        await asyncio.shield(self._loop.create_task(self._skip(source, owner, offset, reason, detail)))

    async def _skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        await self._some_time()
        self.database.require_available()
        row = self.database.tables.progress.get(source)
        if row is not None and row.owner == owner:
            self.database.tables.skips.append((source, offset, reason, detail, self._loop.time()))
        await self._some_time()

    async def peek(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, StoredMarks]:
        """Return the marks of those partitions that have any."""
        await self._some_time()
        self.database.require_available()
        progress = self.database.tables.progress
        return {source: progress[source] for source in sources if source in progress}

    async def controls_since(self, horizon: int) -> Polled:
        """Return control records that came since."""
        await self._some_time()
        self.database.require_available()
        polled = self.database.polled(horizon)
        await self._some_time()
        return polled

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        """Take a partition over, whoever has it; runs in a thread."""
        database, start = self.database, evidence.held.start
        database.require_available()
        self._wait_for_lock(source)
        tables = database.tables
        database.began.setdefault(source, start)
        present = tables.progress.setdefault(source, StoredMarks(None, start, start))
        found = reconcile(evidence, present)
        if found.gap is not None:
            tables.gaps.append((source, found.gap))
            self._trace.add(self._name, "gap", found.gap)
        owner = f"{self._rng.getrandbits(64):016x}"
        taken = present._replace(owner=owner, effects=found.effects, windows=found.windows)
        if found.begins_anew:
            tables.snapshots.pop(source, None)
            tables.placed.pop(source, None)
            tables.windows_controls.pop(source, None)
            tables.log_since[source] = self._loop.time()
            taken = taken._replace(checksum=None, checksum_offset=None)
        tables.progress[source] = taken
        if self._odds.strike(Fault.LEASE_ANSWER_LOST, self._name):
            raise DatabaseUnavailable("the connection was lost when the lease was taken")
        snapshot = tables.snapshots.get(source)
        since = tables.log_since.get(source, 0.0)
        skip = {
            offset: (reason, why) for at, offset, reason, why, when in tables.skips if at == source and when >= since
        }
        placed, polled = tables.placed.get(source, ()), database.polled(0)
        known = {each.control.id for each in placed}
        return Acquired(
            owner,
            present.owner,
            found.effects,
            found.windows,
            snapshot,
            skip,
            found.gap,
            found.settle_first,
            len(placed),
            tables.windows_controls.get(source, 0),
            tuple(each for each in polled.controls if each.id not in known),
            polled.horizon,
            frozenset(each.id for each in polled.controls if each.id in known and each.xid >= polled.horizon),
        )

    def placed_controls(self, source: SourcePartition, first: int) -> tuple[PlacedControl, ...]:
        """Return the control records that a partition applied in the present log, but for the first; runs in a thread."""
        self.database.require_available()
        return self.database.tables.placed.get(source, ())[first:]

    def stored_events(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        """Yield what is stored of some offsets in the present log; runs in a thread."""
        self.database.require_available()
        tables = self.database.tables
        since = tables.log_since.get(source, 0.0)
        found = [
            (offset, place, written.ingest_ms, body)
            for (at, offset, place, body), written in tables.events.items()
            if at == source and first <= offset < end and written.at_s > since
        ]
        self._trace.add(self._name, "reads events", {"source": source, "first": first, "end": end, "found": len(found)})
        lost = self._odds.strike(Fault.EVENTS_NOT_READ, self._name)
        for event in sorted(found):
            yield StoredEvents.of([StoredEvent(*event)])
            if lost:
                raise DatabaseUnavailable("the connection was lost while events were read")

    def _wait_for_lock(self, source: SourcePartition) -> None:
        """Wait for a row's lock as long as ``lock_timeout``, then end the connection that holds it."""
        holder = self.database.locks.get(source)
        if holder is None:
            self._lock_deadlines.pop(source, None)
            return
        now = self._loop.time()
        if now < self._lock_deadlines.setdefault(source, now + LOCK_TIMEOUT_S):
            raise Busy(0.1)
        del self._lock_deadlines[source]
        holder.end()
        self._trace.fault(Fault.HOLDER_ENDED, self._name, holder.holder)
        raise DatabaseUnavailable(f"the previous owner of {source} held its progress row")
