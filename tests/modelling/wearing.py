"""Compressors that wear out, as records of one partition: the simulator's machines, of which every 20th message is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from pipeline.core.records import Record
from simulator.compressors import Cycle, compressor, cycles
from simulator.options import PlantOptions
from simulator.wear import SENSORS

EVERY_S = 20
"""Less than the gap that ends a cycle."""


def wearing(options: PlantOptions, hours: float) -> list[Record]:
    """Return what the compressors of a plant send in its first hours, in order of time: messages and maintenance records."""
    end_ms = options.start_ms + int(3_600_000 * hours)
    sent = [each for number in range(options.wear_machines) for each in _sent(options, number, end_ms)]
    sent.sort(key=lambda each: each[0])
    return [Record(offset, at_ms, orjson.dumps(said)) for offset, (at_ms, said) in enumerate(sent)]


def _sent(options: PlantOptions, number: int, end_ms: int) -> Iterator[tuple[int, dict[str, Any]]]:
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
