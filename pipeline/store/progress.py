"""The marks: how far each source partition has come, and who may move them.

Correctness rests on the row lock and the compare-and-set of owner and mark at READ COMMITTED; nothing else is needed, and
nothing else (group membership, heartbeats, clocks) is trusted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from pipeline.core.effects import UnitOfWork
from pipeline.core.records import SourcePartition

Cursor = psycopg.Cursor[Any]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """In whose name progress is made.

    Parameters
    ----------
    cluster, group
        Name of the broker's cluster and consumer group: parts of every key, so that two groups, or two sites in one
        database, do not meet.
    worker
        Name of this worker, for people.
    """

    cluster: str
    group: str
    worker: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A database connection as the server knows it."""

    pid: int
    started: dt.datetime


KEY = "cluster = %(cluster)s AND consumer_group = %(group)s AND topic = %(topic)s AND partition = %(partition)s"
"""Condition on the key columns, of the parameters that :meth:`Progress.key` gives."""

_COMPARE_AND_SET = f"""
UPDATE source_progress
SET effects_next = %(next)s, windows_next = COALESCE(%(windows_next)s, windows_next),
    backend_pid = %(pid)s, backend_start = %(started)s,
    checksum = COALESCE(%(checksum)s, checksum), checksum_offset = COALESCE(%(checksum_offset)s, checksum_offset),
    effects_time = GREATEST(effects_time, %(effects_time)s), watermark = COALESCE(%(watermark)s, watermark),
    events_watermark = COALESCE(%(events_watermark)s, events_watermark), cycles_to = COALESCE(%(cycles_to)s, cycles_to),
    duplicates = duplicates + %(duplicates)s, controls_next = %(controls_next)s,
    windows_controls = COALESCE(%(windows_controls)s, windows_controls), updated_at = clock_timestamp()
WHERE {KEY} AND owner = %(owner)s AND effects_next = %(expected)s
  AND windows_next = COALESCE(%(windows_expected)s, windows_next) AND controls_next = %(controls)s
  AND windows_controls = COALESCE(%(windows_controls_expected)s, windows_controls)
"""

_PASS = f"""
UPDATE source_progress SET effects_next = %(end)s, windows_next = %(end)s, updated_at = clock_timestamp()
WHERE {KEY} AND effects_next = %(position)s AND windows_next = %(position)s AND owner = %(owner)s
"""


class Progress:
    """The rows of ``source_progress`` on behalf of one subscriber.

    Parameters
    ----------
    subscriber
        In whose name.
    fold_version
        Version of the fold whose snapshots can be loaded.
    config_version
        Stands for the rules that the fold is given.
    """

    def __init__(self, subscriber: Subscriber, fold_version: int, config_version: str = "") -> None:
        self.subscriber = subscriber
        self.fold_version = fold_version
        self.config_version = config_version

    def of_all(self) -> dict[str, Any]:
        """Return the key columns that all partitions share as query parameters."""
        return {"cluster": self.subscriber.cluster, "group": self.subscriber.group}

    def key(self, source: SourcePartition) -> dict[str, Any]:
        """Return the key columns of a partition as query parameters."""
        return self.of_all() | {"topic": source.topic, "partition": source.partition}


def compare_and_set(
    cursor: Cursor, progress: Progress, backend: Backend, units: Sequence[UnitOfWork]
) -> set[SourcePartition]:
    """Move marks, in (topic, partition) order so that workers cannot deadlock; return the partitions that were hit.

    Parameters
    ----------
    units
        What moves them, one per partition.
    """
    hit = set()
    for unit in sorted(units, key=lambda unit: unit.source):
        parameters = progress.key(unit.source) | _move(unit) | {"pid": backend.pid, "started": backend.started}
        if cursor.execute(_COMPARE_AND_SET, parameters).rowcount == 1:
            hit.add(unit.source)
    return hit


def _move(unit: UnitOfWork) -> dict[str, Any]:
    projections, checksum = unit.projections, unit.checksum
    latest = max((at_ms for e in unit.effects if (at_ms := e.latest_ms) is not None), default=None)
    return {
        "owner": unit.owner,
        "expected": unit.expected,
        "next": unit.next,
        "checksum": checksum[0] if checksum else None,
        "checksum_offset": checksum[1] if checksum else None,
        "effects_time": _timestamp(latest),
        "events_watermark": _timestamp(unit.effects[-1].watermark_ms if unit.effects else None),
        "windows_expected": projections.expected if projections else None,
        "windows_next": projections.next if projections else None,
        "windows_controls_expected": projections.controls_expected if projections else None,
        "windows_controls": projections.controls if projections else None,
        "watermark": _timestamp(projections.watermark_ms) if projections else None,
        "cycles_to": _timestamp(projections.cycles_to_ms) if projections else None,
        "duplicates": sum(m.duplicates for m in projections.machines) if projections else 0,
        "controls": unit.controls,
        "controls_next": unit.controls_next,
    }


def _timestamp(at_ms: int | None) -> dt.datetime | None:
    if at_ms is None or at_ms < 0:
        return None
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)


def pass_by(
    connection: psycopg.Connection[Any],
    progress: Progress,
    source: SourcePartition,
    owner: str,
    offsets: tuple[int, int],
) -> None:
    """Move both marks over offsets ``[position, end)`` that are known to hold no record.

    Parameters
    ----------
    connection
        In autocommit mode.
    """
    position, end = offsets
    connection.execute(_PASS, progress.key(source) | {"owner": owner, "position": position, "end": end})
