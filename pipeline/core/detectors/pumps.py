"""What is wrong with a pump, told by which of its sensors are off and which way."""

from __future__ import annotations

import math
from collections.abc import Mapping

SENSORS = ("power", "temperature", "suction_pressure", "discharge_pressure", "vibration")

CAVITATION, SEAL_FAILURE, COUPLING_FAILURE = "cavitation", "seal_failure", "coupling_failure"

_SIGNATURES: Mapping[str, tuple[int, int, int, int, int]] = {
    CAVITATION: (-1, 0, -2, -2, 2),
    SEAL_FAILURE: (0, 2, 0, -2, 0),
    COUPLING_FAILURE: (-2, 0, 1, -1, 2),
}
"""Which way each of :data:`SENSORS` goes, and whether strongly."""

LEAST = 0.75
"""Least cosine between what is off and a signature for that to be the class."""


def pump_class(deviations: Mapping[str, float]) -> str | None:
    """Return the class of a pump's fault; ``None``: it is like none, or the machine is no pump.

    The class is that of the signature at the smallest angle to the deviations, if that is small enough; how large they are
    does not matter, an alarm has said that they are. Directions of the signatures after McKee, Forbes, Mazhar, Entwistle and
    Howard 2011, *A review of major centrifugal pump failure modes with application to the water supply and sewerage
    industries*, and Brennen 1994, *Hydrodynamics of Pumps*: a pump that cavitates has low suction pressure, delivers
    less and vibrates; a leaking seal rubs, warms up and loses discharge pressure; behind a broken coupling the motor runs
    free, less is drawn, and what is left vibrates.

    It fails on faults that begin together, and before the slow ones are off enough to tell them from noise.

    Parameters
    ----------
    deviations
        By sensor, the smoothed distance from normal in standard deviations.

    Examples
    --------
    >>> far = {"power": -1.0, "temperature": 0.2, "suction_pressure": -2.1, "discharge_pressure": -2.0, "vibration": 3.0}
    >>> pump_class(far)
    'cavitation'
    >>> pump_class(far | {"suction_pressure": 3.0, "vibration": -3.0}) is None
    True
    >>> pump_class({"temperature": 9.0}) is None
    True
    """
    if not all(name in deviations for name in SENSORS):
        return None
    off = [deviations[name] for name in SENSORS]
    size = math.hypot(*off)
    if size == 0.0:
        return None
    cosines = {
        name: math.fsum(a * b for a, b in zip(off, signature, strict=True)) / (size * math.hypot(*signature))
        for name, signature in _SIGNATURES.items()
    }
    best = max(cosines, key=cosines.__getitem__)
    return best if cosines[best] >= LEAST else None
