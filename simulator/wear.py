"""What wear does to a compressor: physics by the second, from the health of its two failure modes.

The laws, noise and lengths are those of the data generator in Microsoft's predictive-maintenance solution accelerator (2017),
and fixed: no option changes them, but for the pace of wear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit

SENSORS = ("speed", "temperature", "pressure", "vibration")
"""min⁻¹, °C, kPa and mm/s (root mean square of the velocity)."""

COMPONENTS = ("seal", "governor")
"""What fails in each of the two modes. A worn seal lets pressure off and heats up; a worn governor lets the speed rise."""

LIVES_S = ((5_000, 50_000), (5_000, 90_000))
"""Seconds of operation from new to failure, by mode: every whole number from the first to the second is as likely."""

CYCLE_MINUTES = (1, 5)
"""How long a cycle lasts: every whole number of minutes is as likely."""

COOL_DOWN_S = 20
"""At the end of a cycle no speed is desired any more."""

IDLE_S = 60
"""A compressor that idles sends nothing."""

DESIRED_SPEED = 1_000.0
AMBIENT_TEMPERATURE, HIGHEST_TEMPERATURE, AMBIENT_PRESSURE = 20.0, 120.0, 101.0
NOISE = (5.0, 0.1, 20.0, 0.05)
"""Readings are off by as much at most, evenly distributed."""

ORDERS = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 12.0, 18.0)
AMPLITUDES = (1.0, 5.0, 80.0, 2.0 / 3.0, 8.0, 2.0, 14.0, 50.0)
"""Of the harmonics of the vibration: multiples of the speed, and displacement in tenths of a µm."""

# Of a harmonic, velocity is 2π · frequency · displacement; its mean square is half the square of that; 1e-4 mm is .1 µm
_VIBRATION = (
    1e-4 * 2.0 * np.pi / 60.0 * np.sqrt(sum((w * a) ** 2 for w, a in zip(ORDERS, AMPLITUDES, strict=True)) / 2.0)
)

Floats = npt.NDArray[np.float64]


class Shape(NamedTuple):
    """How a stretch of operation begins.

    Parameters
    ----------
    left_s
        Until each mode fails, s of operation at pace 1.
    pace
        Seconds of wear per second of operation.
    cools_from
        Second from which no speed is desired.
    """

    left_s: tuple[float, float]
    pace: float
    cools_from: int


@njit(cache=True, nogil=True)
def health(left_s: float) -> float:
    """Return the health of a mode, from nearly .95 when new to −.05 at its failure.

    Parameters
    ----------
    left_s
        Until the failure, s of operation at pace 1; ≥ 0.

    Examples
    --------
    >>> [round(health(left_s), 3) for left_s in (50_000.0, 1_260.0, 1.0, 0.0)]
    [0.877, 0.664, 0.209, -0.05]
    """
    return float(1.0 - 0.05 - np.exp(-0.3 * left_s**0.2))


def rested() -> Floats:
    """Return the state of a compressor that has stood still for long: speed, temperature and pressure."""
    return np.array([0.0, AMBIENT_TEMPERATURE, AMBIENT_PRESSURE])


@njit(cache=True, nogil=True)
def operate(state: Floats, shape: Shape, noise: Floats) -> Floats:
    """Operate a compressor second by second; return what its sensors show.

    Parameters
    ----------
    state
        From :func:`rested`, or as the last cycle left it; is changed.
    shape
        No mode may fail before the last second.
    noise
        In [−1, 1); shape (seconds, sensors).

    Returns
    -------
    Shape (seconds, sensors), not rounded yet.
    """
    shown = np.empty_like(noise)
    for second in range(len(noise)):
        h1 = health(shape.left_s[0] - second * shape.pace)
        h2 = health(shape.left_s[1] - second * shape.pace)
        desired = DESIRED_SPEED if second < shape.cools_from else 0.0
        speed = (state[0] + (2.0 - h2) * desired) / 2.0
        warmed = state[1] + (speed / 10.0 - state[1]) * 0.01 * speed / 1000.0
        pressed = state[2] + (2.0 * speed - state[2]) * 0.3 * speed / 1000.0
        state[0] = speed
        state[1] = (2.0 - h1) * min(max(warmed, AMBIENT_TEMPERATURE), HIGHEST_TEMPERATURE)
        state[2] = h1 * max(pressed, AMBIENT_PRESSURE)
        for sensor in range(3):
            shown[second, sensor] = state[sensor] + NOISE[sensor] * noise[second, sensor]
        shown[second, 3] = _VIBRATION * speed + NOISE[3] * noise[second, 3]
    return shown
