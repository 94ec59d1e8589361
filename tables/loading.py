"""From a lease to a partition that can be folded on: its snapshot, and what the log no longer has from the stored events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import structlog

from pipeline.core.errors import NotOwner
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvent
from pipeline.core.state import PartitionState
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.takeover import Acquired
from tables import snapshots
from tables.partition import OwnedPartition

log = structlog.get_logger(__name__)

Stored = Callable[[SourcePartition, int, int], Iterable[Sequence[StoredEvent]]]
"""Gives the stored events of the offsets ``[first, end)`` of a partition, in order, some at a time."""

_AT_ONCE = 4000
"""Events that are folded at once, at most; or a megabyte of their bodies."""

_BYTES_AT_ONCE = 1_000_000
_ABSENT = b"0"
"""Stands in an array for an element that was not accepted; it is refused again, without effect."""


def load(
    source: SourcePartition,
    taken: Acquired,
    log_start: int,
    rules: FoldRules,
    stored: Stored,
    is_wanted: Callable[[], bool],
) -> OwnedPartition:
    """Return a partition as its new owner goes on with it.

    The state comes from the snapshot; what lies between that and the log's start (all of it, if no snapshot can be read) is
    folded from the stored events, by the same fold with the same marks, so that windows which were not merged yet are complete.

    Parameters
    ----------
    log_start
        Where the log begins.
    is_wanted
        Whether the partition still is to be loaded; asked now and then.

    Raises
    ------
    NotOwner
        If it is not wanted any more.
    """
    state, position = _from_snapshot(source, taken)
    marks = Marks(taken.effects, taken.windows)
    end = readable_from(taken, log_start)
    # What nobody had read before it was gone is stored nowhere, and to look for it takes long in a large table
    stored_to = min(end, taken.gap.first) if taken.gap is not None else end
    if position < stored_to and taken.previous_owner is not None:
        _rebuild(state, source, (position, stored_to), marks, rules, stored, is_wanted)
    position = max(position, end)
    return OwnedPartition(source, taken.owner, state, position, marks, taken.effects, taken.windows, taken.skip)


def readable_from(taken: Acquired, log_start: int) -> int:
    """Return the position that a state has to have reached before it can be folded on with what the log has."""
    return taken.effects if taken.settle_first else log_start


def _from_snapshot(source: SourcePartition, taken: Acquired) -> tuple[PartitionState, int]:
    if taken.snapshot is not None:
        try:
            reached(CrashPoint.LOADING_SNAPSHOT)
            return snapshots.decode(taken.snapshot[1]), taken.snapshot[0]
        except ValueError as error:
            log.warning("snapshot.unreadable", source=str(source), reason=str(error))
    return PartitionState(), 0


def _rebuild(
    state: PartitionState,
    source: SourcePartition,
    offsets: tuple[int, int],
    marks: Marks,
    rules: FoldRules,
    stored: Stored,
    is_wanted: Callable[[], bool],
) -> None:
    """Fold the stored events of ``[first, end)`` into a state that holds what is before."""
    first, end = offsets
    began, messages = time.monotonic(), 0

    def wanted() -> Iterator[StoredEvent]:
        nonlocal messages
        for events in stored(source, first, end):
            if not is_wanted():
                raise NotOwner(f"{source} went to another worker while its state was rebuilt")
            messages += len(events)
            yield from events

    # They were accepted once, with headers and by rules that are not known any more
    codec = replace(rules.codec, max_future_ms=2**60, max_body_bytes=2**60, max_elements=2**60)
    lenient = replace(rules, codec=codec)
    for records in _batches(as_records(wanted())):
        fold(state, RecordBatch(source, "", first, records[-1].offset + 1, records), lenient, marks)
        reached(CrashPoint.REBUILDING_STATE)
    log.warning(
        "state.rebuilt",
        source=str(source),
        from_offset=first,
        to_offset=end,
        messages=messages,
        seconds=round(time.monotonic() - began, 1),
    )


def as_records(events: Iterable[StoredEvent]) -> Iterator[Record]:
    """Yield records that decode to stored events, at the same offsets and places.

    Parameters
    ----------
    events
        By rising offset and place; places may have holes, where elements of an array were not accepted.

    Examples
    --------
    >>> events = [StoredEvent(7, 0, 0, b"{}"), StoredEvent(8, 1, 0, b'{"a":1}'), StoredEvent(8, 3, 0, b'{"b":1}')]
    >>> [(record.offset, record.value) for record in as_records(events)]
    [(7, b'{}'), (8, b'[0,{"a":1},0,{"b":1}]')]
    """
    for offset, of_one_record in groupby(events, key=lambda event: event.offset):
        elements = list(of_one_record)
        last = elements[-1]
        if last.place == 0:
            yield Record(offset, last.ingest_ms, last.body)
            continue
        bodies = {element.place: element.body for element in elements}
        array = b",".join(bodies.get(index, _ABSENT) for index in range(last.place + 1))
        yield Record(offset, last.ingest_ms, b"[" + array + b"]")


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    held = 0
    for record in records:
        batch.append(record)
        held += len(record.value or b"")
        if len(batch) >= _AT_ONCE or held >= _BYTES_AT_ONCE:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
