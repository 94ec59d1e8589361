"""Simulated fleets of compressors as rows of features: one for every operating cycle, of readings that are not rounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.prognosis import features
from simulator.compressors import cycles
from simulator.lives import Life
from simulator.options import PlantOptions
from simulator.wear import SENSORS

_SLOTS = {sensor: slot for slot, sensor in enumerate(SENSORS)}


class Lived(NamedTuple):
    """What is known after each of a life's n cycles.

    Parameters
    ----------
    life
        That it is of.
    rows
        Features; shape (n, features).
    ends_ms
        Last message of each cycle, ms since the epoch, UTC; shape (n,).
    left_s
        Seconds of operation until each mode fails, in truth; shape (n, modes).
    """

    life: Life
    rows: npt.NDArray[np.float64]
    ends_ms: npt.NDArray[np.int64]
    left_s: npt.NDArray[np.int64]


def lived(options: PlantOptions, number: int, lives: int, names: Sequence[str]) -> Iterator[Lived]:
    """Yield a compressor's first lives.

    Parameters
    ----------
    number
        Of the compressor, from 0 on.
    lives
        How many; ≥ 1.
    names
        Features, in the order of the columns.
    """
    plan = features.plan(names, _SLOTS)
    life, wears = np.zeros(1, features.LIFE), np.zeros(len(SENSORS), features.WEAR)
    for nth, (truth, found) in enumerate(groupby(cycles(options, number), key=lambda cycle: cycle.life)):
        if nth == lives:
            return
        if nth:
            features.begin_life(life, wears, truth.began_ms - 1)
        rows = np.empty((len(truth.cycles_s), len(names)))
        for cycle in found:
            end_ms = cycle.start_ms + 1_000 * (len(cycle.values) - 1)
            features.take_cycle(life[0], cycle.start_ms, end_ms)
            for wear, mean, most in zip(wears, cycle.values.mean(axis=0), cycle.values.max(axis=0), strict=True):
                features.take_sensor(wear, mean, most)
            features.gather(life[0], wears, plan.slots, plan.kinds, rows[cycle.number])
        starts_ms, lengths_s = np.array(truth.starts_ms), np.array(truth.cycles_s)
        left_s = np.array(truth.fails_s) - truth.age_s - np.cumsum(lengths_s)[:, np.newaxis]
        yield Lived(truth, rows, starts_ms + 1_000 * (lengths_s - 1), left_s)
