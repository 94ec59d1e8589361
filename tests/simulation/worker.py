"""A simulated worker: the pipeline's own partitions, ownership, agent and flusher on a simulated client and database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agents.controls import ControlPoll
from agents.flush import Flusher, FlushRules
from agents.leases import PartitionLeases
from agents.telemetry import Telemetry
from pipeline.broker.ownership import Ownership
from pipeline.core.errors import PipelineError
from pipeline.core.fold import FoldRules, fold
from pipeline.core.records import RecordBatch
from pipeline.core.spikes import SpikeRules
from tables.partitions import Partitions
from tests.simulation.broker import Broker
from tests.simulation.client import SimulatedClient
from tests.simulation.database import Database
from tests.simulation.group import Group
from tests.simulation.loop import Loop, Process
from tests.simulation.odds import Odds
from tests.simulation.trace import Fault, Trace
from tests.simulation.vault import SimulatedVault
from tests.simulation.workload import POISON

RULES = FoldRules(spikes=SpikeRules(threshold=3.0, warm_up=4))
FLUSH = FlushRules(min_interval_s=0.05, max_records=8, windows_interval_s=1.6, snapshot_interval_s=2.0, max_retry_s=0.4)
MAX_PENDING = 20
HEARTBEAT_S = 0.4
FINISH_S = 2.0
"""How long a stopping worker may take to store what it has, s."""


class FoldError(Exception):
    """The fold fails, as it never should."""


class FailingPartitions(Partitions):
    """Partitions whose fold fails on poisoned records, and now and then on batches; it leaves them half folded."""

    odds: Odds
    trace: Trace
    name: str

    def fold(self, batch: RecordBatch) -> None:
        partition = self.owned[batch.source]
        for at, record in enumerate(batch.records):
            if POISON.encode() in (record.value or b"") and record.offset not in partition.skip:
                self.trace.fault(Fault.POISON, self.name, record.offset)
                self._fold_half(batch, at)
        if len(batch.records) > 1 and self.odds.strike(Fault.FOLD_FAILS, self.name):
            self._fold_half(batch, len(batch.records) // 2)
        super().fold(batch)

    def _fold_half(self, batch: RecordBatch, records: int) -> None:
        partition = self.owned[batch.source]
        half = RecordBatch(batch.source, batch.owner, batch.start, batch.next, batch.records[:records])
        fold(partition.state, half, self.rules, partition.marks, partition.skip)
        raise FoldError


@dataclass(frozen=True)
class Parts:
    """The classes that workers and the world are made of; tests of the simulation put broken ones in their place."""

    database: type[Database] = Database
    vault: type[SimulatedVault] = SimulatedVault
    client: type[SimulatedClient] = SimulatedClient
    ownership: type[Ownership] = Ownership
    partitions: type[FailingPartitions] = FailingPartitions
    telemetry: type[Telemetry] = Telemetry
    flusher: type[Flusher] = Flusher


@dataclass(frozen=True)
class World:
    """What workers share."""

    loop: Loop
    rng: random.Random
    trace: Trace
    odds: Odds
    broker: Broker
    group: Group
    database: Database
    parts: Parts


class SimulatedWorker:
    """One process.

    Parameters
    ----------
    ended
        Called when the worker ends by itself, with the reason.
    """

    def __init__(self, world: World, name: str, ended: Callable[[SimulatedWorker, Exception], None]) -> None:
        self._world = world
        self.name = name
        self._ended = ended
        self.process = Process(name)
        parts, odds, trace = world.parts, world.odds, world.trace
        self._vault = parts.vault(world.loop, world.database, name, odds, trace)
        self._partitions = parts.partitions(
            self._vault.take_over, self._vault.stored_events, self._vault.placed_controls, RULES, MAX_PENDING
        )
        self._partitions.odds, self._partitions.trace, self._partitions.name = odds, trace, name
        ownership = parts.ownership(PartitionLeases(self._partitions, self._vault.peek), retry_s=0.15)
        self._client = client = parts.client(world.broker, ownership, name, odds, trace, world.rng)
        self._flusher = parts.flusher(self._partitions, ownership, self._vault, FLUSH, world.loop.time)
        telemetry = parts.telemetry(self._partitions, ownership, self._vault)
        for name_, part in {
            "agent": telemetry.run(client.batches()),
            "fetcher": client.fetch_for_ever(),
            "acquiring": ownership.acquire_for_ever(lambda: client.generation, world.broker.ask),
            "flusher": self._flusher.run(),
            "heartbeat": self._beat(),
            "controls": ControlPoll(self._partitions, self._vault.controls_since, ownership.want_again, 0.3).run(),
        }.items():
            self._run(self._guard(part), name_)

    def _run(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        self._world.loop.spawn(self.process, work, f"{self.name} {name}")

    async def _guard(self, part: Coroutine[Any, Any, Any]) -> None:
        try:
            await part
        except PipelineError as error:
            self._ended(self, error)

    async def _beat(self) -> None:
        while True:
            self._world.group.heartbeat(self.name, self._told)
            await asyncio.sleep(HEARTBEAT_S)

    def _told(self, generation: int, sources: Any) -> None:
        if not self.process.dead:
            self._run(self._client.rebalanced(generation, sources), f"generation {generation}")

    def tick(self, at_ms: int) -> None:
        """Let time go on in the partitions that have everything their logs have."""
        for source, partition in list(self._partitions.owned.items()):
            before = partition.state.registry.applied
            if partition.position == self._world.broker.logs[source].reached:
                self._partitions.tick(source, at_ms)
            if partition.state.registry.applied > before:
                self._world.trace.fault(Fault.TICK, self.name, source)

    def kill(self) -> None:
        """End at once; what was sent to the database may still take effect there."""
        self._world.loop.kill(self.process)
        self._world.database.end_all(self.name)

    def stop(self, then: Callable[[], None]) -> None:
        """Stop in order: fold no more, store what there is, leave."""
        self._run(self._drain(then), "stopping")

    async def _drain(self, then: Callable[[], None]) -> None:
        self._partitions.close()
        try:
            async with asyncio.timeout(FINISH_S):
                await self._flusher.finish()
        except (PipelineError, TimeoutError) as error:
            self._world.trace.add(self.name, "not drained", repr(error))
        self.kill()
        self._world.group.leave(self.name)
        then()
