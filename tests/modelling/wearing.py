"""Machines that wear out, or are looked at now and then, as records of one partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from pipeline.core.records import Record
from simulator.compressors import Cycle, compressor, cycles
from simulator.options import PlantOptions
from simulator.wear import SENSORS

EVERY_S = 20
"""Less than the gap that ends a cycle."""


Sent = tuple[int, dict[str, Any]]
"""Event time, ms since the epoch, UTC, and what is sent then."""


def in_order(sent: Iterable[Sent]) -> list[Record]:
    """Return records by time."""
    ordered = sorted(sent, key=lambda each: each[0])
    return [Record(offset, at_ms, orjson.dumps(said)) for offset, (at_ms, said) in enumerate(ordered)]


def compressors(options: PlantOptions, hours: float) -> Iterator[Sent]:
    """Yield every 20th message of the simulator's compressors in a plant's first hours, and their maintenance records."""
    end_ms = options.start_ms + int(3_600_000 * hours)
    for number in range(options.wear_machines):
        yield from _sent(options, number, end_ms)


def presses(start_ms: int, count: int, looks: int) -> Iterator[Sent]:
    """Yield presses that somebody looks at again and again, right behind a message; above 100 they want class 4, else 0."""
    for number in range(count):
        who = {"factory_id": "aurora", "machine_id": f"press-{number}"}
        for look in range(looks):
            at_ms, heat = start_ms + 60_000 * look + number, 80.0 + (7 * number + 11 * look) % 40
            readings = {"heat": heat, "noise": float((13 * number + look) % 17)}
            yield at_ms, who | {"machine_type": "press", "time": _time(at_ms), "readings": readings}
            said = {"type": "maintenance", "kind": "planned", "component": "die", "class": 4 if heat >= 100.0 else 0}
            yield at_ms + 1_000, who | said | {"time": _time(at_ms + 1_000)}


def _sent(options: PlantOptions, number: int, end_ms: int) -> Iterator[Sent]:
    machine = compressor(options, number)
    who = {"factory_id": machine.factory_id, "machine_id": machine.machine_id}
    for cycle in cycles(options, number):
        for second in range(0, len(cycle.values), EVERY_S):
            at_ms = cycle.start_ms + 1_000 * second
            if at_ms >= end_ms:
                return
            readings = dict(zip(SENSORS, cycle.values[second].round(3).tolist(), strict=True))
            yield at_ms, who | {"machine_type": machine.machine_type, "time": _time(at_ms), "readings": readings}
        if cycle.number == len(cycle.life.cycles_s) - 1:
            if cycle.life.repaired_ms >= end_ms:
                return
            yield cycle.life.repaired_ms, who | _repair(cycle)


def _repair(cycle: Cycle) -> dict[str, Any]:
    life = cycle.life
    return {"type": "maintenance", "kind": life.kind, "component": life.component, "time": _time(life.repaired_ms)}


def _time(at_ms: int) -> str:
    return f"{np.datetime_as_string(np.datetime64(at_ms, 'ms'), unit='ms')}Z"
