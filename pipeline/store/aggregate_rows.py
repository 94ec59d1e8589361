"""Windows of factories and operating cycles as rows of the sink tables, in binary COPY form; see :mod:`pipeline.store.rows`."""

from __future__ import annotations

import numpy as np

from pipeline.core.records import SourcePartition
from pipeline.core.windowing.aggregates import CycleRows, FactoryRows
from pipeline.core.windowing.moments import Moments
from pipeline.store import copy_binary as copy
from pipeline.store.identity import source_id

FACTORY_WINDOW = (
    "window_start, count, mean, m2, min, max, last, last_time, last_source, last_offset, last_index, late_count,"
    " very_late_count, source_id, factory_id, sensor"
)
FRAGMENT = "fragment, started, ended, messages, gap_ms, goes_on, source_id, machine_id, factory_id"
FRAGMENT_READING = "fragment, count, mean, m2, min, max, last_time, sensor"


def factories(cluster: str, source: SourcePartition, merged: FactoryRows) -> bytes:
    """Return window deltas of factories as rows of ``factory_window``."""
    n, number, last = len(merged.sensors), copy.int4(source_id(cluster, source)), merged.last
    if not n:
        return b""
    return copy.rows(
        [
            copy.timestamps(merged.starts_ms),
            *_moments(merged.moments),
            copy.fixed(last["last"], ">f8"),
            copy.timestamps(last["last_time_ms"]),
            copy.constant(number, n),
            copy.fixed(last["last_offset"], ">i8"),
            copy.fixed(last["last_index"], ">i4"),
            copy.fixed(merged.late, ">i8"),
            copy.fixed(merged.very_late, ">i8"),
            copy.constant(number, n),
            copy.texts(merged.factory_ids),
            copy.texts(merged.sensors),
        ]
    )


def fragments(cluster: str, source: SourcePartition, merged: CycleRows) -> bytes:
    """Return closed fragments of cycles as rows to be joined with ``operating_cycle``."""
    closed, n = merged.closed, len(merged.machine_ids)
    return copy.rows(
        [
            copy.fixed(np.arange(n), ">i4"),
            copy.timestamps(closed.started_ms),
            copy.timestamps(closed.ended_ms),
            copy.fixed(closed.messages, ">i8"),
            copy.fixed(np.full(n, merged.gap_ms), ">i8"),
            copy.fixed(closed.goes_on, "i1"),
            copy.constant(copy.int4(source_id(cluster, source)), n),
            copy.texts(merged.machine_ids),
            copy.texts(merged.factory_ids),
        ]
    )


def fragment_readings(merged: CycleRows) -> bytes:
    """Return the readings of closed fragments as rows to be joined with ``cycle_reading``."""
    closed = merged.closed
    return copy.rows(
        [
            copy.fixed(closed.fragments, ">i4"),
            *_moments(closed.moments),
            copy.timestamps(closed.last_time_ms),
            copy.texts(merged.sensors),
        ]
    )


def _moments(of: Moments) -> list[copy.Column]:
    return [copy.fixed(of.count, ">i8"), *(copy.fixed(each, ">f8") for each in (of.mean, of.m2, of.min, of.max))]
