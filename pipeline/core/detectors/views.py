"""What all detectors of one sensor share behind River's interface."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from river import base

TIME = "time_ms"
"""Feature that is the event time in ms since the epoch, UTC, and no sensor."""


class OneSensor(base.AnomalyDetector):
    """A one-row view on the kernels of a detector of single sensors.

    A sample holds at most one sensor, and the event time as ``time_ms`` if the detector is to see gaps. A sample without a
    finite reading scores 0 and teaches nothing.

    Parameters
    ----------
    state
        The detector's record.
    """

    def __init__(self, state: np.dtype[Any]) -> None:
        self._row = np.zeros(1, state)
        self._time_ms = 0

    @abstractmethod
    def _score(self, time_ms: int, value: float) -> float: ...

    @abstractmethod
    def _learn(self, time_ms: int, value: float) -> None: ...

    def score_one(self, x: Mapping[base.typing.FeatureName, float]) -> float:
        """Return the score, ≥ 0, of a reading that was not learned yet."""
        value = _reading(x)
        if value is None:
            return 0.0
        return abs(self._score(int(x.get(TIME, self._time_ms)), value))

    def learn_one(self, x: Mapping[base.typing.FeatureName, float]) -> None:
        """Learn a reading."""
        value = _reading(x)
        if value is not None:
            self._time_ms = int(x.get(TIME, self._time_ms))
            self._learn(self._time_ms, value)


def _reading(x: Mapping[base.typing.FeatureName, float]) -> float | None:
    values = [float(value) for name, value in x.items() if name != TIME]
    if len(values) > 1:
        raise ValueError(f"one sensor expected, not {len(values)}")
    return values[0] if values and math.isfinite(values[0]) else None
