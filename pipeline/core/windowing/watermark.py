"""How far a partition's event time has come."""

from __future__ import annotations

import numpy as np

from pipeline.core.compiling import njit

BEGINNING_MS = int(np.iinfo(np.int64).min // 2)
"""Watermark of a partition that has seen nothing, ms."""


@njit(cache=True, nogil=True, inline="always")
def advance(watermark_ms: int, event_ms: int, ingest_ms: int, delay_ms: int) -> int:
    """Return the watermark after a message, ms since the epoch, UTC; it never goes back.

    It follows the latest event time less a delay for messages that come out of order. A device clock that runs ahead of
    the broker's is not believed: such a message moves the watermark no further than its ingest time.

    Parameters
    ----------
    watermark_ms, event_ms, ingest_ms
        Watermark so far, time of the message at the device and at the broker; ms since the epoch, UTC.
    delay_ms
        How long after a window's end its readings are still on time, ms; ≥ 0.

    Examples
    --------
    >>> advance(0, 50_000, 60_000, 10_000), advance(45_000, 50_000, 60_000, 10_000)
    (40000, 45000)
    >>> advance(0, 99_000, 60_000, 10_000)
    50000
    """
    return int(max(watermark_ms, min(event_ms, ingest_ms) - delay_ms))
