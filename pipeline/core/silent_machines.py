"""Anomalies of machines that were found silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
        _silent(state, moment(message), row, layout, silence_ms, after_ms)
        for message, row, layout, silence_ms in found.tolist()
        if state.registry.is_expected(state.machine_ids[row])
    ]


def _silent(state: PartitionState, at: Moment, row: int, layout: int, silence_ms: int, after_ms: int) -> Anomaly:
    return Anomaly(
        offset=at.offset,
        index=at.index,
        sensor="",
        kind=SILENT,
        machine_id=state.machine_ids[row],
        factory_id=state.factory_of(row, layout),
        # It is another machine's clock: where that is ahead of the broker's, nobody believes it
        time_ms=min(at.time_ms, at.ingest_ms),
        ingest_ms=at.ingest_ms,
        message_ms=at.time_ms,
        value=silence_ms / 1000,
        expected=after_ms / 1000,
        score=silence_ms / after_ms,
    )
