"""Control records: what changes the fold's answer other than the source records, applied between two of them.

A control record is meant for every partition of a group. Each partition applies it once, at the position where it stands when
it hears of it; that place is stored and is the same in every later fold.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from pipeline.core.records import RecordBatch

METADATA = "metadata"
"""Kind of the control records that say what the plant is like."""

TICK = "tick"
"""Kind of those that let the event time of a partition go on from which nothing comes; each is meant for that one alone."""

MODEL = "model"
"""Kind of those that say which learned models predict; see :mod:`pipeline.core.prognosis.model_controls`."""

MAINTAINED = "maintained"
"""Kind of those that tell of maintenance, with which a machine's life begins anew."""

FIRST_INDEX = 2**30
"""Index of what the first control record of a partition brings to light; no array record is so long."""


class Control(NamedTuple):
    """One control record.

    Parameters
    ----------
    id
        Its number; numbers say nothing about order.
    kind
        What it changes, for example :data:`METADATA`.
    body
        What it says, as plain JSON; of a :data:`MODEL` that is to predict also its artefact, bytes.
    xid
        Of the transaction that it came with: what came with one before a horizon, whoever had that horizon knew.
    """

    id: int
    kind: str
    body: Mapping[str, Any]
    xid: int = 0


class PlacedControl(NamedTuple):
    """A control record, and where one partition applied it.

    Parameters
    ----------
    offset
        It holds for records from this offset on.
    ordinal
        How many control records the partition had applied before.
    """

    control: Control
    offset: int
    ordinal: int


class Polled(NamedTuple):
    """Control records of a group that came since somebody looked last.

    Parameters
    ----------
    controls
        Some of them may have been told before.
    horizon
        Where to look from the next time; nothing that comes later is before it.
    """

    controls: list[Control]
    horizon: int


def cut(batch: RecordBatch, offsets: Iterable[int]) -> list[RecordBatch]:
    """Return a batch as batches that cover the same positions, and begin anew at each of some offsets.

    Parameters
    ----------
    offsets
        Rising. Those outside the batch are passed over.

    Examples
    --------
    >>> from pipeline.core.records import Record, SourcePartition
    >>> records = [Record(n, 0, b"") for n in (4, 5, 8)]
    >>> parts = cut(RecordBatch(SourcePartition("t", 0), "owner", 3, 9, records), [3, 5, 5, 7, 9])
    >>> [(part.start, part.next, [record.offset for record in part.records]) for part in parts]
    [(3, 5, [4]), (5, 7, [5]), (7, 9, [8])]
    """
    parts = []
    start, first = batch.start, 0
    for offset in offsets:
        if start < offset < batch.next:
            end = bisect_left(batch.records, offset, first, key=attrgetter("offset"))
            parts.append(replace(batch, start=start, next=offset, records=batch.records[first:end]))
            start, first = offset, end
    parts.append(replace(batch, start=start, records=batch.records[first:]) if parts else batch)
    return parts
