"""From a lease to a partition that can be folded on: its snapshot, and what the log no longer has from the stored events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import structlog

from pipeline.core.errors import NotOwner
from pipeline.core.fold import FoldRules, Marks
from pipeline.core.records import RecordBatch, SourcePartition, StoredEvent
from pipeline.core.state import PartitionState
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.takeover import Acquired
from tables import snapshots
from tables.partition import OwnedPartition

log = structlog.get_logger(__name__)

Stored = Callable[[SourcePartition, int, int], Iterable[Sequence[StoredEvent]]]
"""Gives the stored events of the offsets ``[first, end)`` of a partition, in order, some at a time."""

_AT_ONCE = 4000
_BYTES_AT_ONCE = 1_000_000


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
    partition = _at_snapshot(source, taken)
    end = readable_from(taken, log_start)
    # What nobody had read before it was gone is stored nowhere, and to look for it takes long in a large table
    stored_to = min(end, taken.gap.first) if taken.gap is not None else end
    if partition.position < stored_to and taken.previous_owner is not None:
        _rebuild(partition, stored_to, rules, stored, is_wanted)
    partition.move_to(max(partition.position, end))
    if not taken.settle_first:
        partition.tell(taken.waiting)
    return partition


def readable_from(taken: Acquired, log_start: int) -> int:
    """Return the position that a state has to have reached before it can be folded on with what the log has."""
    return taken.effects if taken.settle_first else log_start


def _at_snapshot(source: SourcePartition, taken: Acquired) -> OwnedPartition:
    state, position = _from_snapshot(source, taken)
    recorded = deque(each for each in taken.controls if each.ordinal >= state.registry.applied)
    marks = Marks(taken.effects, taken.windows)
    partition = OwnedPartition(
        source,
        taken.owner,
        state,
        position,
        marks,
        marks.effects,
        marks.windows,
        taken.skip,
        controls_mark=taken.controls_mark,
        recorded=recorded,
        known={each.control.id for each in taken.controls},
    )
    partition.move_to(position)
    return partition


def _from_snapshot(source: SourcePartition, taken: Acquired) -> tuple[PartitionState, int]:
    if taken.snapshot is not None:
        try:
            reached(CrashPoint.LOADING_SNAPSHOT)
            return snapshots.decode(taken.snapshot[1]), taken.snapshot[0]
        except ValueError as error:
            log.warning("snapshot.unreadable", source=str(source), reason=str(error))
    return PartitionState(), 0


def _rebuild(
    partition: OwnedPartition,
    end: int,
    rules: FoldRules,
    stored: Stored,
    is_wanted: Callable[[], bool],
) -> None:
    """Fold the stored events from a partition's position to ``end``."""
    source, first = partition.source, partition.position
    began, messages = time.monotonic(), 0

    def wanted() -> Iterator[StoredEvent]:
        nonlocal messages
        for events in stored(source, first, end):
            if not is_wanted():
                raise NotOwner(f"{source} went to another worker while its state was rebuilt")
            messages += len(events)
            yield from events

    # They were accepted once, with headers and by rules that are not known any more
    codec = replace(rules.codec, max_future_ms=2**60)
    lenient = replace(rules, codec=codec)
    for records in batches(wanted()):
        partition.refold(RecordBatch(source, "", partition.position, records[-1].offset + 1, records), lenient)
        reached(CrashPoint.REBUILDING_STATE)
    log.warning(
        "state.rebuilt",
        source=str(source),
        from_offset=first,
        to_offset=end,
        messages=messages,
        seconds=round(time.monotonic() - began, 1),
    )


def batches(events: Iterable[StoredEvent], most: int = _AT_ONCE) -> Iterator[list[StoredEvent]]:
    """Yield events in batches that can be folded; all of an offset are in one.

    Parameters
    ----------
    most
        Events of one, about; or a megabyte of their bodies.

    Examples
    --------
    >>> events = [StoredEvent(at, place, 0, b"{}") for at, place in [(7, 0), (8, 1), (8, 3)]]
    >>> [[(event.offset, event.place) for event in batch] for batch in batches(events)]
    [[(7, 0), (8, 1), (8, 3)]]
    """
    batch: list[StoredEvent] = []
    held = 0
    for event in events:
        if (len(batch) >= most or held >= _BYTES_AT_ONCE) and event.offset != batch[-1].offset:
            yield batch
            batch, held = [], 0
        batch.append(event)
        held += len(event.value)
    if batch:
        yield batch
