"""A worker of which one part hangs as soon as a record of the machine ``hang`` comes, for tests of the watchdog.

The part ``fault`` raises what nobody expects.

Run as ``python hanging_worker.py PART worker …``; the parts are the names of :data:`PARTS`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from agents.controls import ControlPoll
from agents.telemetry import Telemetry
from pipeline.broker import transport
from pipeline.store.sink import Sink

FOR_EVER_S = 3600.0


def contains(records: Any) -> bool:
    return any(b'"hang"' in (record.value or b"") for record in records)


def hang_the_agent() -> None:
    fold = Telemetry._fold

    async def hanging(self: Telemetry, batch: Any) -> None:
        if contains(batch.records):
            await asyncio.sleep(FOR_EVER_S)
        await fold(self, batch)

    Telemetry._fold = hanging


def block_the_loop() -> None:
    fold = Telemetry._fold

    async def blocking(self: Telemetry, batch: Any) -> None:
        if contains(batch.records):
            time.sleep(FOR_EVER_S)  # noqa: ASYNC251  # this is the fault
        await fold(self, batch)

    Telemetry._fold = blocking


def hang_the_consumer() -> None:
    fetch = transport._FaustClient.fetch

    async def hanging(self: Any, timeout_s: float) -> Any:
        fetched = await fetch(self, timeout_s)
        if any(contains(records) for records in fetched.values()):
            await asyncio.sleep(FOR_EVER_S)
        return fetched

    transport._FaustClient.fetch = hanging


def hang_inside_a_transaction() -> None:
    write = Sink.write

    def hanging(self: Sink, cursor: Any, units: Any) -> Any:
        hit = write(self, cursor, units)
        if any(b'"hang"' in body for unit in units for effects in unit.effects for body in effects.events.bodies):
            time.sleep(FOR_EVER_S)
        return hit

    Sink.write = hanging


def never_join() -> None:
    async def joining(self: Any) -> None:
        await asyncio.sleep(FOR_EVER_S)

    CoordinatorGroupRebalance.perform_group_join = joining


def raise_what_nobody_expects() -> None:
    async def raising(self: ControlPoll) -> None:
        raise LookupError("of the test")

    ControlPoll.look = raising


PARTS: dict[str, Callable[[], None]] = {
    "agent": hang_the_agent,
    "loop": block_the_loop,
    "consumer": hang_the_consumer,
    "transaction": hang_inside_a_transaction,
    "join": never_join,
    "fault": raise_what_nobody_expects,
}

if __name__ == "__main__":
    PARTS[sys.argv.pop(1)]()
    from pipeline.cli import main

    main()
