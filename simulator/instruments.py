"""Instruments of machines: they draw what is measured, with its faults, spikes and dips, and with the truth about them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.episodes import Episode
from simulator.faults import Faults, Integers
from simulator.options import PlantOptions
from simulator.sensors import Floats, Marks, Preset, draw_marks, factors, shown


class Measured(NamedTuple):
    """What n messages say, and the truth about it.

    Parameters
    ----------
    values
        Shape (n, sensors), not rounded yet.
    marks
        Shape (n, sensors): 1 a spike, −1 a dip, 0 neither.
    episodes
        In which episode of its machine each message lies.
    """

    values: Floats
    marks: Marks
    episodes: list[Episode | None]


class Instruments:
    """The sensors of machines of one kind.

    Each reading is normal around its sensor's mean, and correlated with the others of its message if the options say so;
    a fault of its machine changes it; and by itself it is a spike (× 1.8) or a dip (× 0.6), but not where it is stuck.

    Parameters
    ----------
    options, preset
        What the plant and its sensors are like.
    random
        For readings, spikes and dips. Faults and correlation have their own, so that they change no other draw.
    common
        For what the sensors of a message have in common.
    faults
        Of these machines.
    spiked
        Whether there are spikes and dips.
    """

    def __init__(
        self,
        options: PlantOptions,
        preset: Preset,
        random: np.random.Generator,
        common: np.random.Generator,
        faults: Faults | None,
        *,
        spiked: bool = True,
    ) -> None:
        self._options, self._preset = options, preset
        self._random, self._common, self._faults = random, common, faults
        self._spiked = spiked

    def measure(self, rows: Integers, times_ms: Integers) -> Measured:
        """Draw the readings of messages.

        Parameters
        ----------
        rows, times_ms
            Machine and event time, ms since the epoch, UTC, of each message; shape (n,), n > 0. No time is before the
            earliest of the last call.
        """
        shape = (len(rows), len(self._preset.sensors))
        scores = self._scores(shape)
        found = self._faults.distort(rows, times_ms, scores) if self._faults else []
        values = shown(self._preset, scores)
        marks = np.zeros(shape, np.int8)
        if self._spiked:
            marks = draw_marks(self._random, shape, self._options.spike_share, self._options.dip_share)
        episodes: list[Episode | None] = [None] * len(rows)
        for within, episode in found:
            # Wide noise may cross zero, which nothing that is measured here does
            values[within] = np.maximum(values[within], 0.0)
            if episode.kind == "stuck":
                marks[within[:, np.newaxis], list(episode.columns)] = 0
            for message in within.tolist():
                episodes[message] = episode
        return Measured(values * factors(marks) if self._spiked else values, marks, episodes)

    def _scores(self, shape: tuple[int, int]) -> Floats:
        scores = self._random.standard_normal(shape)
        shared = self._options.sensor_correlation
        if shared:
            scores = np.sqrt(1.0 - shared) * scores + np.sqrt(shared) * self._common.standard_normal((shape[0], 1))
        return scores
