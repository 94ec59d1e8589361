"""Anomalies of machines that were found silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.anomalies import Anomaly
from pipeline.core.silence import SILENT
from pipeline.core.state import PartitionState


@dataclass(frozen=True, slots=True)
class Moment:
    """Where and when something was found: source offset, place there, event time and the broker's time, ms since the epoch."""

    offset: int
    index: int
    time_ms: int
    ingest_ms: int


def silent_machines(
    state: PartitionState, found: npt.NDArray[np.void], moment: Callable[[int], Moment], after_ms: int
) -> list[Anomaly]:
    """Return the anomalies of machines that were found silent, of those from which something was to come.

    Parameters
    ----------
    found
        Shape (n,) of :data:`pipeline.core.silence.FOUND_SILENT`.
    moment
        Says it of a message by its number.
    after_ms
        How long a machine may be silent, ms.
    """
    return [
        Anomaly(
            **asdict(moment(message)),
            sensor="",
            kind=SILENT,
            machine_id=state.machine_ids[row],
            factory_id=state.factory_of(row, layout),
            value=silence_ms / 1000,
            expected=after_ms / 1000,
            score=silence_ms / after_ms,
        )
        for message, row, layout, silence_ms in found.tolist()
        if state.registry.is_expected(state.machine_ids[row])
    ]
