"""A worker's membership in the group and its client of the broker, as Faust and aiokafka drive the reader."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from pipeline.broker.ownership import Ownership
from pipeline.broker.reading import Reader
from pipeline.core.marks import LogRange
from pipeline.core.records import Record, RecordBatch, SourcePartition
from tests.simulation.broker import Broker
from tests.simulation.odds import Odds
from tests.simulation.trace import Fault, Trace

FETCH_S = 0.4
BUFFER = 3
"""Batches between fetcher and agent."""


class SimulatedClient:
    """Implements the reader's ``Client``; fetches into a bounded buffer, from which the agent is fed."""

    def __init__(
        self, broker: Broker, ownership: Ownership, name: str, odds: Odds, trace: Trace, rng: random.Random
    ) -> None:
        self._broker = broker
        self._name = name
        self._odds = odds
        self._trace = trace
        self._rng = rng
        self.reader = Reader(self, ownership)
        self.generation = -1
        self._told = -1
        self._assignment: list[SourcePartition] = []
        self._paused: set[SourcePartition] = set()
        self._positions: dict[SourcePartition, int] = {}
        self._incarnations: dict[SourcePartition, int] = {}
        self._buffer: deque[tuple[int, RecordBatch]] = deque()
        self._changed = asyncio.Event()
        self._flow = asyncio.Event()

    # -- what the reader asks for ------------------------------------------------------------------------------------

    @property
    def is_flowing(self) -> bool:
        return self._flow.is_set()

    def assignment(self) -> Collection[SourcePartition]:
        return self._assignment

    def pause(self, sources: Collection[SourcePartition]) -> None:
        self._paused.update(sources)

    def resume(self, source: SourcePartition) -> None:
        self._paused.discard(source)

    async def seek(self, source: SourcePartition, position: int) -> None:
        await self._some_time(0.002)
        if source in self._assignment:
            self._positions[source] = position

    async def available(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, LogRange]:
        return await self._broker.available(sources)

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, Sequence[Record]]:
        active = [source for source in self._assignment if source not in self._paused]
        if not active:
            await asyncio.sleep(0.12)
            return {}
        fetched = self._take(active)
        if not fetched:
            await self._broker.wait_for_records(timeout_s)
            fetched = self._take([source for source in active if source in self._assignment])
        await self._some_time(0.01 + self._broker.slow_s)
        return fetched

    def _take(self, active: list[SourcePartition]) -> dict[SourcePartition, Sequence[Record]]:
        fetched: dict[SourcePartition, Sequence[Record]] = {}
        if self._broker.away:
            return fetched
        for source in self._rng.sample(active, len(active)):
            log = self._broker.logs[source]
            if self._incarnations[source] != log.incarnation:
                continue
            position = self._positions[source]
            if not log.start <= position <= log.end or self._odds.strike(Fault.REDELIVERY, self._name):
                position = log.start
            records = self._broker.read(source, position)
            if records:
                fetched[source] = records
                position = records[-1].offset + 1
            self._positions[source] = position
        return fetched

    # -- what the group tells ----------------------------------------------------------------------------------------

    async def rebalanced(self, generation: int, sources: Sequence[SourcePartition]) -> None:
        """Go through a rebalance as Faust does, step by step; a newer one overtakes it."""
        if generation <= self._told:
            return
        self._told = generation
        self._trace.add(self._name, "revoked", generation)
        self._flow.clear()
        self.pause(self._assignment)
        if not self._odds.strike(Fault.STALE_BATCH, self._name):
            self._buffer.clear()
        self._notify()
        await self._some_time(0.1)
        if self._told != generation:
            return
        self.generation = generation
        self._assign(sources)
        self._trace.add(self._name, "assigned", [str(source) for source in sources])
        await self._some_time(0.1)
        if self._told != generation:
            return
        if sources:
            # Faust resumes first and seeks then
            self._paused.difference_update(sources)
            await self._some_time(0.002)
            self.reader.assigned(self._assignment)
            if self._odds.strike(Fault.SEEK_TWICE, self._name):
                await self._some_time(0.05)
                self.reader.assigned(self._assignment)
        else:
            self.reader.assigned(self._assignment)
        if self._told == generation:
            self._flow.set()

    def _assign(self, sources: Sequence[SourcePartition]) -> None:
        self._assignment = list(sources)
        self._paused.intersection_update(sources)
        logs = self._broker.logs
        self._positions = {source: logs[source].start for source in sources}
        self._incarnations = {source: logs[source].incarnation for source in sources}

    # -- from fetcher to agent ---------------------------------------------------------------------------------------

    async def fetch_for_ever(self) -> None:
        """Read what flows into the buffer."""
        while True:
            await self._flow.wait()
            async for batch in self.reader.read(FETCH_S):
                while len(self._buffer) >= BUFFER and self.is_flowing:
                    await self._changed.wait()
                if self.is_flowing:
                    self._buffer.append((self.generation, batch))
                    self._notify()

    async def batches(self) -> AsyncIterator[RecordBatch]:
        """Yield what the agent gets."""
        while True:
            while not self._buffer:
                await self._changed.wait()
            generation, batch = self._buffer.popleft()
            self._notify()
            stale = generation != self.generation or not self.is_flowing
            if stale and not self._odds.strike(Fault.STALE_BATCH, self._name):
                continue
            if self._odds.strike(Fault.BATCH_LOST, self._name):
                self._broker.unnoticed.add(batch.source)
                continue
            yield batch

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _some_time(self, at_most_s: float) -> None:
        await asyncio.sleep(self._rng.random() * at_most_s)
