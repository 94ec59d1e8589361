"""Simulated readings of one sensor without a fault, made inside a kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

PERIOD_MS = 5_000
PER_DAY = 86_400_000 // PERIOD_MS


class Plant(NamedTuple):
    """How a sensor of mean 20 and deviation 1 behaves.

    Parameters
    ----------
    correlation
        Autocorrelation of neighbouring readings, in [0, 1).
    freedom
        Degrees of freedom of Student's t of the noise, > 2; 0: Gaussian.
    quantum
        Readings are rounded to multiples of it; 0: not.
    season
        Amplitude of a daily sine, standard deviations.
    spikes
        Share of readings that are multiplied by 1.8 or, as many, by 0.6.
    """

    correlation: float = 0.0
    freedom: int = 0
    quantum: float = 0.0
    season: float = 0.0
    spikes: float = 0.0


PLANTS = {
    "Gaussian": Plant(),
    "quantised 0.5 σ": Plant(quantum=0.5),
    "AR(1) 0.3": Plant(correlation=0.3),
    "AR(1) 0.5": Plant(correlation=0.5),
    "daily season 0.5 σ": Plant(season=0.5),
    "Student t, 10": Plant(freedom=10),
    "Student t, 5": Plant(freedom=5),
    "spikes 6 %": Plant(spikes=0.06),
}


@njit(cache=True, nogil=True)
def noise(plant: Any) -> float:
    """Return a draw of the plant's noise: mean 0, deviation 1."""
    drawn = np.random.standard_normal()
    if plant.freedom == 0:
        return float(drawn)
    squares = 0.0
    for _ in range(plant.freedom):
        squares += np.random.standard_normal() ** 2
    return float(drawn * np.sqrt((plant.freedom - 2) / squares))


@njit(cache=True, nogil=True)
def reading(plant: Any, n: int, deviation: float) -> float:
    """Return reading number ``n``, whose noise, correlated already, is ``deviation`` standard deviations."""
    value = 20.0 + deviation + plant.season * np.sin(2.0 * np.pi * n / PER_DAY)
    if plant.spikes > 0.0:
        chance = np.random.random()
        value *= 1.8 if chance < plant.spikes / 2 else 0.6 if chance < plant.spikes else 1.0
    return float(np.round(value / plant.quantum) * plant.quantum if plant.quantum > 0.0 else value)
