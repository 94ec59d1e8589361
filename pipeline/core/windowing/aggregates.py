"""Rows about whole factories and operating cycles, with their keys in words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from pipeline.core.windowing.fragments import Closed
from pipeline.core.windowing.moments import Moments


@dataclass(frozen=True, slots=True)
class FactoryRows:
    """Window deltas of whole factories; all of length n.

    Parameters
    ----------
    starts_ms
        Window starts, ms since the epoch, UTC.
    moments
        Of the readings.
    last
        Shape (n,) of :data:`pipeline.core.windowing.windows.DELTA`: the delta that has the last reading.
    late, very_late
        How many readings were; shape (n,).
    """

    starts_ms: npt.NDArray[np.int64]
    factory_ids: list[str]
    sensors: list[str]
    moments: Moments
    last: npt.NDArray[np.void]
    late: npt.NDArray[np.int64]
    very_late: npt.NDArray[np.int64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> FactoryRows:
        """Return the chosen rows; ``chosen`` has shape (n,)."""
        which = chosen.tolist()
        return FactoryRows(
            self.starts_ms[chosen],
            list(compress(self.factory_ids, which)),
            list(compress(self.sensors, which)),
            self.moments.where(chosen),
            self.last[chosen],
            self.late[chosen],
            self.very_late[chosen],
        )


@dataclass(frozen=True, slots=True)
class CycleRows:
    """Closed fragments of operating cycles, with their machines in words.

    Parameters
    ----------
    closed
        The fragments and their readings.
    gap_ms
        Longest time between two messages of a cycle, ms.
    machine_ids, factory_ids
        Whose each fragment is; n texts each.
    sensors
        Which sensor each aggregate of readings is of; m texts.
    """

    closed: Closed
    gap_ms: int
    machine_ids: list[str]
    factory_ids: list[str]
    sensors: list[str]

    def where(self, chosen: npt.NDArray[np.bool_]) -> CycleRows:
        """Return the chosen fragments with their readings; ``chosen`` has shape (n,)."""
        which, of = chosen.tolist(), chosen[self.closed.fragments]
        return CycleRows(
            self.closed.where(chosen),
            self.gap_ms,
            list(compress(self.machine_ids, which)),
            list(compress(self.factory_ids, which)),
            list(compress(self.sensors, of.tolist())),
        )
