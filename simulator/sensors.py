"""What sensors show: the preset of the reference lab, and how scores become readings that are spiked or dipped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.messages import SENSORS

SPIKE_FACTOR = 1.8
DIP_FACTOR = 0.6

Floats = npt.NDArray[np.float64]
Marks = npt.NDArray[np.int8]


class Preset(NamedTuple):
    """The sensors of a kind of machine; arrays of shape (sensors,).

    Parameters
    ----------
    sensors
        Their names, in the order of the columns.
    means, deviations
        Of their readings, in their units.
    decimals
        With how many they are sent.
    whole
        Which of them read whole numbers only.
    """

    sensors: tuple[str, ...]
    means: Floats
    deviations: Floats
    decimals: tuple[int, ...]
    whole: tuple[int, ...] = ()


LAB = Preset(
    SENSORS,
    means=np.array([55.0, 7539.0, 29.36, 22.6, 20.0]),
    deviations=np.array([2.4, 14.0, 1.1, 1.1, 3.5]),
    decimals=(2, 2, 2, 2, 1),
    whole=(SENSORS.index("humidity"),),
)


def draw_marks(random: np.random.Generator, shape: tuple[int, int], spike_share: float, dip_share: float) -> Marks:
    """Draw which readings are a spike (1) and which a dip (−1), each by itself and never both; 0 as it should be.

    Parameters
    ----------
    random
        Where the numbers come from; it moves on by the same number of draws whatever comes out.
    spike_share, dip_share
        Probabilities; together ≤ 1.

    Examples
    --------
    >>> draw_marks(np.random.default_rng(0), (1, 4), 0.3, 0.3).tolist()
    [[0, 1, 1, 1]]
    """
    chance = random.random(shape)
    marks = np.zeros(shape, np.int8)
    marks[chance < spike_share] = 1
    marks[chance >= 1.0 - dip_share] = -1
    return marks


def shown(preset: Preset, scores: Floats) -> Floats:
    """Return the readings of scores, the distances from the means in deviations; both of shape (n, sensors).

    Examples
    --------
    >>> shown(LAB, np.array([[0.0, 1.0, -1.0, 0.0, 0.5]])).round(2).tolist()
    [[55.0, 7553.0, 28.26, 22.6, 22.0]]
    """
    values = scores * preset.deviations + preset.means
    for column in preset.whole:
        values[:, column] = np.rint(values[:, column])
    return values


def factors(marks: Marks) -> Floats:
    """Return what marked readings are multiplied by: 1.8 a spike, 0.6 a dip."""
    return np.choose(marks + 1, (DIP_FACTOR, 1.0, SPIKE_FACTOR))


def named(marks: Marks) -> list[tuple[tuple[str, str], ...]]:
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
