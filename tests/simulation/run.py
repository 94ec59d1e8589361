"""One run of the simulation: a seed decides everything that happens in it."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from pipeline.core.records import SourcePartition
from tests.simulation import oracle
from tests.simulation.broker import Broker
from tests.simulation.chaos import Chaos
from tests.simulation.database import Violation
from tests.simulation.group import Group
from tests.simulation.loop import PROCESS, Loop, Stalled
from tests.simulation.odds import LOSSY, Odds
from tests.simulation.trace import Fault, Trace
from tests.simulation.worker import Parts, World
from tests.simulation.workload import Plant

CHAOS_S = 5.0
"""How long faults happen, virtual s."""

QUIET_S = 60.0
"""How long the pipeline may take afterwards until everything is stored, virtual s."""

LINES = 60
"""Lines of the trace that a failure shows."""


class Failed(Exception):
    """A run that broke a promise; its text says how to repeat it."""


@dataclass(frozen=True)
class Result:
    """What is to be said of a run that went well."""

    faults: Counter[Fault]
    digest: str
    steps: int
    took_s: float


def run(seed: int, parts: Parts | None = None, only: Sequence[Fault] = ()) -> Result:
    """Simulate one seed.

    Parameters
    ----------
    parts
        Of the pipeline, for those who want to see a broken one caught.
    only
        Faults to choose from, if not all.

    Raises
    ------
    Failed
        With the seed, the command that repeats it and the end of the trace.
    """
    rng = random.Random(seed)
    loop = Loop(rng, in_order=rng.random() < 0.3, thread_s=rng.choice((0.002, 0.05, 0.4)))
    trace = Trace(loop.time)
    errors: list[BaseException] = []

    def fail(_: Any, context: dict[str, Any]) -> None:
        if "exception" in context:
            errors.append(context["exception"])
            loop.stop()

    loop.set_exception_handler(fail)
    try:
        with _logs_into(trace):
            faults = _simulate(loop, rng, trace, Odds(rng, trace, only), parts or Parts(), errors)
    except (Violation, Stalled) as error:
        lines = "\n".join(trace.lines(LINES))
        again = f"python -m tests.simulation --seed {seed}"
        raise Failed(f"seed {seed}: {error!r}\n{lines}\nrepeat with: {again}") from error
    finally:
        loop.end()
    return Result(faults, trace.digest(), loop.steps, loop.time())


def run_all(seeds: Iterable[int]) -> Iterator[tuple[int, Result | Failed]]:
    """Simulate seed after seed; yield what became of each."""
    # What was there before is not looked at again by each collection of a run's garbage
    gc.freeze()
    try:
        for seed in seeds:
            try:
                yield seed, run(seed)
            except Failed as failed:
                yield seed, failed
    finally:
        gc.unfreeze()


def _simulate(
    loop: Loop, rng: random.Random, trace: Trace, odds: Odds, parts: Parts, errors: list[BaseException]
) -> Counter[Fault]:
    sources = [SourcePartition("t", n) for n in range(rng.randint(1, 3))]
    broker = Broker(rng, trace, sources)
    group = Group(rng, trace, sources)
    database = parts.database(rng, trace)
    world = World(loop, rng, trace, odds, broker, group, database, parts)
    chaos = Chaos(world, Plant(rng, repeats=not odds.lossy), rng.randint(2, 3))

    async def begin() -> None:
        chaos.start()
        for part in (group.watch(), chaos.feed(rng.randint(30, 100)), chaos.run(CHAOS_S)):
            loop.spawn(None, part)

    def until(at_s: float) -> None:
        loop.call_at(at_s, loop.stop)
        loop.run_forever()
        if errors:
            raise errors[0] if isinstance(errors[0], Violation) else Violation(repr(errors[0])) from errors[0]

    loop.spawn(None, begin())
    until(CHAOS_S)
    while not (oracle.is_caught_up(broker, database) and chaos.is_over):
        if loop.time() > CHAOS_S + QUIET_S:
            ends = {str(source): log.reached for source, log in broker.logs.items()}
            raise Violation(f"no progress: logs reach {ends}, marks {database.tables.progress}")
        until(loop.time() + 0.25)
    oracle.check(broker, database, lossy=bool(LOSSY & trace.faults.keys()))
    return trace.faults


@contextmanager
def _logs_into(trace: Trace) -> Iterator[None]:
    """Let what the pipeline logs become lines of the trace."""

    def take(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        process = PROCESS.get()
        trace.add(process.name if process is not None else "", event.pop("event"), event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
