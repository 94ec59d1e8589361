"""What is done to the pipeline, when: drawn from a seed's odds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline.core.records import SourcePartition
from tests.simulation.broker import Broker
from tests.simulation.database import Database
from tests.simulation.trace import Fault
from tests.simulation.worker import SimulatedWorker, World
from tests.simulation.workload import POISON, UNSTORABLE, Plant, now_ms


class Chaos:
    """Keeps workers running and lets faults happen to them.

    Parameters
    ----------
    workers
        How many run when nothing happens to them.
    """

    def __init__(self, world: World, plant: Plant, workers: int) -> None:
        self._world = world
        self._plant = plant
        self._workers: list[SimulatedWorker] = []
        self._count = workers
        self._made = 0
        self._versions: dict[str, int] = {}
        self._fed = self._quiet = False
        self._actions: dict[Fault, Callable[[], None]] = {
            Fault.REBALANCE: world.group.rebalance,
            Fault.HEARTBEATS_LOST: self._lose_heartbeats,
            Fault.HOLE: lambda: self._append(hole=world.rng.randint(1, 5)),
            Fault.BROKER_AWAY: lambda: self._take_away(world.broker),
            Fault.BROKER_SLOW: lambda: self._slow_down(world.broker),
            Fault.RETENTION: self._drop_oldest,
            Fault.RECREATION: self._recreate,
            Fault.KILL: self._kill,
            Fault.STOP: self._stop,
            Fault.FREEZE: self._freeze,
            Fault.DATABASE_AWAY: self._take_database_away,
            Fault.DATABASE_SLOW: lambda: self._slow_down(world.database),
            Fault.RESTORE: self._restore,
            Fault.UNSTORABLE: lambda: self._append(poison=UNSTORABLE),
            Fault.CONTROL: self._write_control,
            Fault.TICK: self._tick,
            Fault.POISON: lambda: self._append(poison=POISON),
        }
        self._uncounted = {
            Fault.UNSTORABLE, Fault.POISON, Fault.STOP, Fault.FREEZE, Fault.KILL, Fault.RESTORE, Fault.TICK
        }  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Whether no fault happens any more and everything was sent."""
        return self._fed and self._quiet

    def start(self) -> None:
        """Start the workers, and what the plant sends."""
        for _ in range(self._count):
            self._start_worker()

    async def feed(self, messages: int) -> None:
        """Append what the plant sends, in bursts."""
        rng, sent = self._world.rng, 0
        while sent < messages:
            for _ in range(rng.randint(1, 10)):
                self._append()
                sent += 1
            await asyncio.sleep(rng.expovariate(4.0))
        self._fed = True

    async def run(self, until_s: float) -> None:
        """Let faults happen until a moment, then let everything come back."""
        world = self._world
        loop, odds = world.loop, world.odds
        while True:
            await asyncio.sleep(world.rng.expovariate(1 / odds.pause_s))
            if loop.time() >= until_s:
                break
            if world.rng.random() < 0.3 and world.database.began.keys() == world.broker.logs.keys():
                world.database.back_up()
            kind = world.rng.choice(odds.active)
            if kind not in self._uncounted:
                world.trace.fault(kind)
            self._actions[kind]()
        odds.end()
        for source in sorted(world.broker.unnoticed):
            self._append(source)
        self._quiet = True
        world.trace.add("", "faults are over")

    def _start_worker(self) -> None:
        self._made += 1
        worker = SimulatedWorker(self._world, f"w{self._made}", self._failed)
        self._world.trace.add(worker.name, "started")
        self._workers.append(worker)

    def _failed(self, worker: SimulatedWorker, error: Exception) -> None:
        self._world.trace.add(worker.name, "failed", repr(error))
        worker.kill()
        self._start_later(worker)

    def _start_later(self, worker: SimulatedWorker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self._later(self._world.rng.random() * 2.0, self._start_worker)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        async def act() -> None:
            await asyncio.sleep(delay_s)
            action()

        # The world's doing, whoever asks for it
        self._world.loop.spawn(None, act(), "later")

    def _some_worker(self) -> SimulatedWorker | None:
        running = [worker for worker in self._workers if not worker.process.stopped]
        return self._world.rng.choice(running) if running else None

    # -- faults ------------------------------------------------------------------------------------------------------

    def _append(self, source: SourcePartition | None = None, hole: int = 0, poison: str = "") -> None:
        broker, now = self._world.broker, self._world.loop.time()
        source = source or self._world.rng.choice(list(broker.logs))
        broker.append(source, self._plant.message(now, source.partition, poison), hole)

    def _write_control(self) -> None:
        world = self._world
        places = [source.partition for source in world.broker.logs]
        machine = world.rng.choice(("shared", *(f"{name}{place}" for place in places for name in "mn")))
        version = self._versions[machine] = self._versions.get(machine, 0) + 1
        said = {"entity": "machine", "id": machine, "version": version, "removed": False}
        status = {"status": world.rng.choice(("enabled", "disabled", "disabled"))}
        world.database.write_control("metadata", said | {"body": status, "changed_ms": 0, "command_id": ""})

    def _tick(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            worker.tick(now_ms(self._world.loop.time()))

    def _lose_heartbeats(self) -> None:
        members = self._world.group.members
        if members:
            self._world.group.leave(self._world.rng.choice(members))

    def _take_away(self, service: Broker | Database) -> None:
        service.away = True  # type: ignore[attr-defined]
        self._later(self._world.rng.uniform(0.2, 1.5), lambda: setattr(service, "away", False))

    def _take_database_away(self) -> None:
        self._world.database.end_all()
        self._take_away(self._world.database)

    def _slow_down(self, service: Broker | Database) -> None:
        service.slow_s = self._world.rng.uniform(0.1, 1.0)
        self._later(self._world.rng.uniform(0.5, 2.0), lambda: setattr(service, "slow_s", 0.0))

    def _drop_oldest(self) -> None:
        broker, rng = self._world.broker, self._world.rng
        source = rng.choice(list(broker.logs))
        log = broker.logs[source]
        # A reader that waits behind the last record meets the new start with the next one
        broker.unnoticed.add(source)
        broker.drop_before(source, log.start + rng.randint(0, log.end - log.start))

    def _recreate(self) -> None:
        broker, group, rng = self._world.broker, self._world.group, self._world.rng
        broker.recreate(rng.choice(list(broker.logs)))
        # Whoever reads it learns of it with the next metadata
        self._later(rng.random(), group.rebalance)

    def _kill(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            self._world.trace.fault(Fault.KILL, worker.name)
            worker.kill()
            self._start_later(worker)

    def _stop(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            self._world.trace.fault(Fault.STOP, worker.name)
            worker.stop(then=lambda: self._start_later(worker))

    def _freeze(self) -> None:
        self._world.loop.spawn(None, self._freeze_somebody(), "freeze")

    async def _freeze_somebody(self) -> None:
        """Stop a worker: at once, or when one is in the middle of a transaction, where it holds locks."""
        worker, locks = None, self._world.database.locks
        for _ in range(self._world.rng.choice((0, 40))):
            holders = {transaction.holder for transaction in locks.values()}
            worker = next((each for each in self._workers if each.name in holders and not each.process.stopped), None)
            if worker is not None:
                break
            await asyncio.sleep(0.005)
        worker = worker or self._some_worker()
        if worker is not None:
            self._world.trace.fault(Fault.FREEZE, worker.name)
            self._world.loop.stop_process(worker.process)
            self._later(self._world.rng.uniform(0.5, 4.0), lambda: self._thaw(worker))

    def _thaw(self, worker: SimulatedWorker) -> None:
        self._world.trace.add(worker.name, "continued")
        self._world.loop.continue_process(worker.process)

    def _restore(self) -> None:
        if self._world.database.restore():
            self._world.trace.fault(Fault.RESTORE)
