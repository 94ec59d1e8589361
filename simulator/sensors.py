"""What the sensors of the reference lab show, and which readings are spiked or dipped."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulator.messages import SENSORS

MEANS = np.array([55.0, 7539.0, 29.36, 22.6, 20.0])
DEVIATIONS = np.array([2.4, 14.0, 1.1, 1.1, 3.5])
SPIKE_FACTOR = 1.8
DIP_FACTOR = 0.6
_HUMIDITY = SENSORS.index("humidity")


def draw(
    random: np.random.Generator, count: int, spike_share: float, dip_share: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Draw the readings of ``count`` messages.

    Each reading is normal around its sensor's mean (humidity rounded to whole per cent), and by itself a spike (× 1.8) or
    a dip (× 0.6), never both.

    Parameters
    ----------
    random
        Where the numbers come from; it moves on by the same number of draws whatever comes out.
    spike_share, dip_share
        Probabilities; together ≤ 1.

    Returns
    -------
    values
        Shape (count, 5), in the order of :data:`simulator.messages.SENSORS`.
    marks
        Shape (count, 5): 1 a spike, −1 a dip, 0 as it should be.

    Examples
    --------
    >>> values, marks = draw(np.random.default_rng(0), 3, 0.0, 0.0)
    >>> values.shape, int(abs(marks).sum())
    ((3, 5), 0)
    """
    shape = (count, len(SENSORS))
    values = random.standard_normal(shape) * DEVIATIONS + MEANS
    values[:, _HUMIDITY] = np.rint(values[:, _HUMIDITY])
    chance = random.random(shape)
    marks = np.zeros(shape, np.int8)
    marks[chance < spike_share] = 1
    marks[chance >= 1.0 - dip_share] = -1
    values *= np.choose(marks + 1, (DIP_FACTOR, 1.0, SPIKE_FACTOR))
    return values, marks


def named(marks: npt.NDArray[np.int8]) -> list[tuple[tuple[str, str], ...]]:
    """Return the anomalies of each message in words.

    Examples
    --------
    >>> named(np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, -1]], np.int8))
    [(), (('temperature', 'spike'), ('humidity', 'dip'))]
    """
    words: list[tuple[tuple[str, str], ...]] = [()] * len(marks)
    for row in np.flatnonzero(marks.any(axis=1)).tolist():
        words[row] = tuple(
            (SENSORS[column], "spike" if mark > 0 else "dip") for column, mark in enumerate(marks[row].tolist()) if mark
        )
    return words
