"""What one machine measures, as arrays and without a broker: for trying detectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from simulator.episodes import Episode
from simulator.faults import Integers
from simulator.instruments import Measured
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.pumps import PUMP, pump_blocks
from simulator.sensors import LAB, Floats, Marks

MACHINES = {"stamping_press": "press-00000", "cnc_machine": "cnc-00001", "hvac_pump": "pump-00000"}
"""A machine of each type that every plant has: of two machines, or of one with a share of pumps."""

_MS_PER_DAY = 86_400_000


class Series(NamedTuple):
    """The n messages of one machine, in the order of event time, and the truth about them.

    Parameters
    ----------
    times_ms
        Event time, ms since the epoch, UTC; shape (n,).
    values
        As they are sent, with the decimals of their sensors; shape (n, sensors).
    sensors
        Their names.
    episodes
        The faults in which something was measured, in their order.
    marks
        1 a spike, −1 a dip, 0 neither; shape (n, sensors).
    """

    times_ms: Integers
    values: Floats
    sensors: tuple[str, ...]
    episodes: tuple[Episode, ...]
    marks: Marks


def series(options: PlantOptions, machine_id: str, days: float = 1.0) -> Series:
    """Return what a machine or pump of a plant measures in its first days.

    The numbers are those that :class:`simulator.plant.Plant` sends with the same options, and without an end of its
    schedule; late, lost and doubled records are there once and in order. The whole plant is drawn: use few machines.

    Parameters
    ----------
    options
        The plant; ``messages`` means nothing here.
    days
        Of event time, from ``start_ms`` on; > 0, and more than the machine waits for its first turn.

    Raises
    ------
    KeyError
        If the plant has no such machine.

    Examples
    --------
    >>> found = series(PlantOptions(machines=1, interval_ms=60_000), "press-00000", days=0.5)
    >>> found.values.shape, found.sensors[0], found.episodes
    ((720, 5), 'temperature', ())
    """
    plant = Plant(replace(options, messages=0))
    machines = {machine.machine_id: row for row, machine in enumerate(plant.machines)}
    pumps = {pump.pump_id: row for row, pump in enumerate(plant.pumps)}
    until_ms = int(options.start_ms + days * _MS_PER_DAY)
    if machine_id in machines:
        preset, row = LAB, machines[machine_id]
        blocks: Iterator[tuple[Integers, Integers, Measured]] = (
            (rows, block.times_ms, measured) for block, rows, measured in plant.blocks()
        )
    else:
        preset, row = PUMP, pumps[machine_id]
        blocks = ((block.rows, block.times_ms, block.measured) for block in pump_blocks(options, plant.pumps))
    times_ms, values, marks, episodes = _own(blocks, row, until_ms)
    rounded = np.stack([np.round(values[:, at], decimals) for at, decimals in enumerate(preset.decimals)], axis=1)
    return Series(times_ms, rounded, preset.sensors, episodes, marks)


def _own(
    blocks: Iterator[tuple[Integers, Integers, Measured]], row: int, until_ms: int
) -> tuple[Integers, Floats, Marks, tuple[Episode, ...]]:
    """Return times, readings, marks and episodes of one machine before a time."""
    times, values, marks, episodes = [], [], [], dict[Episode, None]()
    for rows, times_ms, measured in blocks:
        if times_ms.min() >= until_ms:
            break
        own = np.flatnonzero((rows == row) & (times_ms < until_ms))
        times.append(times_ms[own])
        values.append(measured.values[own])
        marks.append(measured.marks[own])
        found = (measured.episodes[message] for message in own.tolist())
        episodes.update(dict.fromkeys(episode for episode in found if episode is not None))
    return np.concatenate(times), np.concatenate(values), np.concatenate(marks), tuple(episodes)
