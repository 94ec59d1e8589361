"""Gaps in the numbers that a device gives its messages: how many between the first and the last never came.

A *run* is what a device sends from one start to the next; its numbers rise with its times. Kept of a machine's newest run are
its ends and how many messages between them are missing, so the answer follows from the records in order alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.core.compiling import njit, record

LONGEST_GAP = 1_000_000
"""Most messages that a gap can have; after a longer jump the device has begun anew."""

SEQUENCE = record(
    [
        ("known", np.int64),
        ("first", np.int64),
        ("first_ms", np.int64),
        ("last", np.int64),
        ("last_ms", np.int64),
        ("missing", np.int64),
    ]
)
"""A machine's newest run: number and time of its ends, and how many between are missing; ``known`` is 1 if there is one."""


@njit(cache=True, nogil=True, inline="always")
def take_number(run: Any, seq: int, time_ms: int, unverified: bool) -> int:
    """Take the number of a message that was no duplicate; return how many more messages are missing, < 0: fewer.

    A lower number with a later time is a device that began anew; what was missing before stays missing. A message from
    before the run, and one of which the memory of duplicates cannot tell whether it came before, fill nothing.

    Parameters
    ----------
    run
        One of :data:`SEQUENCE`; changed in place.
    seq
        The number; < 0: none.
    time_ms
        Event time, ms since the epoch, UTC.
    unverified
        Whether the message is older than the memory of duplicates.
    """
    if seq < 0:
        return 0
    change = 0
    begins = run.known == 0 or (seq <= run.last and time_ms > run.last_ms) or seq > run.last + LONGEST_GAP
    if begins:
        run.known, run.missing = 1, 0
        run.first, run.first_ms = seq, time_ms
        run.last, run.last_ms = seq, time_ms
    # The very next number goes on with the run though the device's clock was set back
    elif seq == run.last + 1 or (seq > run.last and time_ms >= run.first_ms):
        change = seq - run.last - 1
        run.last, run.last_ms = seq, time_ms
        run.first_ms = min(run.first_ms, time_ms)
    elif seq < run.first and time_ms <= run.first_ms and seq >= run.first - LONGEST_GAP:
        change = run.first - seq - 1
        run.first, run.first_ms = seq, time_ms
    elif run.first < seq < run.last and time_ms >= run.first_ms and run.missing > 0 and not unverified:
        change = -1
    run.missing += change
    return int(change)
