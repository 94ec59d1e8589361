"""HVAC pumps: which machines each of them keeps cool, and what it says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.episodes import Episode
from simulator.faults import faults_of
from simulator.instruments import Instruments, Measured
from simulator.messages import Message, Sent
from simulator.options import PlantOptions
from simulator.sensors import Preset

SENSORS = ("power", "temperature", "suction_pressure", "discharge_pressure", "vibration")
PUMP = Preset(
    SENSORS,
    means=np.array([11.0, 40.0, 1.2, 3.9, 0.8]),
    deviations=np.array([0.4, 1.5, 0.05, 0.1, 0.05]),
    decimals=(2, 2, 3, 3, 3),
)

_READINGS = '"power":%.2f,"temperature":%.2f,"suction_pressure":%.3f,"discharge_pressure":%.3f,"vibration":%.3f'
_AT_ONCE = 1024


class Pump(NamedTuple):
    """A pump, and the numbers of the machines that it keeps cool."""

    pump_id: str
    factory_id: str
    machines: tuple[int, ...]


def pump_count(options: PlantOptions) -> int:
    """Return how many pumps a plant has; none without ``pump_share``, else at least one in every factory that has machines."""
    if not options.pump_share:
        return 0
    factories = min(len(options.factories), options.machines)
    return max(factories, math.ceil(options.machines * options.pump_share))


def pump_number(machine: int, options: PlantOptions) -> int:
    """Return the number of the pump that keeps a machine cool: one of its own factory.

    Pumps are dealt out to the factories as machines are, and a factory's machines to its pumps.

    Parameters
    ----------
    machine
        Its number, from 0 on.

    Examples
    --------
    >>> options = PlantOptions(machines=8, factories=("a", "b"), pump_share=0.5)
    >>> [pump_number(machine, options) for machine in range(8)]
    [0, 1, 2, 3, 0, 1, 2, 3]
    """
    factories = len(options.factories)
    place, nth = machine % factories, machine // factories
    own = len(range(place, pump_count(options), factories))
    return place + nth % own * factories


def pumps(options: PlantOptions) -> list[Pump]:
    """Return a plant's pumps."""
    of: list[list[int]] = [[] for _ in range(pump_count(options))]
    for machine in range(options.machines if of else 0):
        of[pump_number(machine, options)].append(machine)
    return [
        Pump(f"pump-{number:05d}", options.factories[number % len(options.factories)], tuple(kept))
        for number, kept in enumerate(of)
    ]


class PumpBlock(NamedTuple):
    """Messages of pumps in the order in which they are due; arrays of shape (n,).

    Parameters
    ----------
    first
        Number of the first among all messages of pumps.
    rows
        Which pump each comes from.
    times_ms
        Event time, ms since the epoch, UTC.
    measured
        What they say.
    """

    first: int
    rows: npt.NDArray[np.int64]
    times_ms: npt.NDArray[np.int64]
    measured: Measured


def pump_blocks(options: PlantOptions, found: Sequence[Pump]) -> Iterator[PumpBlock]:
    """Yield what the pumps measure, for ever; pumps take turns, evenly spread over the interval.

    Their chance is their own, so that machines send the same without them.
    """
    faults = faults_of(
        options,
        SENSORS,
        [(pump.pump_id, pump.factory_id) for pump in found],
        np.random.default_rng([options.seed, 5]),
        pumps=True,
    )
    random, common = np.random.default_rng([options.seed, 1]), np.random.default_rng([options.seed, 7])
    instruments = Instruments(options, PUMP, random, common, faults, spiked=False)
    step_ms = options.interval_ms / len(found)
    for first in range(0, 2**62, _AT_ONCE):
        nth = np.arange(first, first + _AT_ONCE)
        rows, times_ms = nth % len(found), (options.start_ms + nth * step_ms).astype(np.int64)
        yield PumpBlock(first, rows, times_ms, instruments.measure(rows, times_ms))


def pump_records(options: PlantOptions, found: Sequence[Pump]) -> Iterator[Sent]:
    """Yield what the pumps send, in the order in which it is due, for ever.

    Every other pump speaks the flat form, the others the canonical one.
    """
    for block in pump_blocks(options, found):
        columns = zip(
            block.rows.tolist(),
            block.times_ms.tolist(),
            block.measured.values.tolist(),
            block.measured.episodes,
            strict=True,
        )
        for nth, (row, at_ms, numbers, episode) in enumerate(columns, start=block.first):
            yield _sent(options, row, found[row], nth // len(found), at_ms, tuple(numbers), episode)


def _sent(
    options: PlantOptions,
    number: int,
    pump: Pump,
    seq: int,
    at_ms: int,
    numbers: tuple[float, ...],
    episode: Episode | None,
) -> Sent:
    time = np.datetime_as_string(np.datetime64(at_ms, "ms"), unit="ms")
    readings, key = _READINGS % numbers, pump.pump_id.encode()
    if number % 2:
        who = f'"factory_id":"{pump.factory_id}","machine_id":"{pump.pump_id}","machine_type":"hvac_pump"'
        body = f'{{"type":"pump",{who},"time":"{time}Z","seq":{seq},"readings":{{{readings}}}}}'
    else:
        who = f'"factory_id":"{pump.factory_id}","pump_id":"{pump.pump_id}"'
        body = f'{{"type":"pump",{who},"time":"{time}Z","seq":{seq},{readings}}}'
    headers = (("iothub-connection-device-id", key),) if options.device_headers else ()
    message = Message(pump.pump_id, pump.factory_id, seq, at_ms, (), f"{{{readings}}}", episode)
    return Sent(key, body.encode(), headers, "sent", "", at_ms, (message,), "pump")
