"""From a lease to a partition that can be folded on: its snapshot, and what the log no longer has from the stored events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import structlog

from pipeline.core.controls import PlacedControl
from pipeline.core.errors import NotOwner, NotReproducible
from pipeline.core.fold import FoldRules, Marks
from pipeline.core.records import RecordBatch, SourcePartition, StoredEvents
from pipeline.core.state import PartitionState
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.takeover import Acquired
from tables import snapshots
from tables.partition import OwnedPartition

log = structlog.get_logger(__name__)

Stored = Callable[[SourcePartition, int, int], Iterable[StoredEvents]]
"""Gives the stored events of the offsets ``[first, end)`` of a partition, in order, some at a time."""

Placed = Callable[[SourcePartition, int], Sequence[PlacedControl]]
"""Gives the control records that a partition applied in its log, in this order, but for so many of the first."""

_AT_ONCE = 4000
_BYTES_AT_ONCE = 1_000_000


def load(
    source: SourcePartition,
    taken: Acquired,
    log_start: int,
    rules: FoldRules,
    stored: Stored,
    is_wanted: Callable[[], bool],
    placed: Placed,
) -> OwnedPartition:
    """Return a partition as its new owner goes on with it.

    The state comes from the snapshot; what lies between that and the log's start (all of it, if no snapshot can be read) is
    folded from the stored events, by the same fold with the same marks, so that windows which were not merged yet are complete.
    Of control records, those are read that the state does not hold.

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
    NotReproducible
        If control records are missing that the partition applied.
    """
    partition = _at_snapshot(source, taken, rules, placed, is_wanted)
    end = readable_from(taken, log_start)
    # What nobody had read before it was gone is stored nowhere, and to look for it takes long in a large table
    stored_to = min(end, taken.gap.first) if taken.gap is not None else end
    if partition.position < stored_to and taken.previous_owner is not None:
        _rebuild(partition, stored_to, rules, stored, is_wanted)
    partition.move_to(max(partition.position, end), rules)
    if not taken.settle_first:
        partition.take_in(taken.waiting)
    return partition


def readable_from(taken: Acquired, log_start: int) -> int:
    """Return the position that a state has to have reached before it can be folded on with what the log has."""
    return taken.effects if taken.settle_first else log_start


def _at_snapshot(
    source: SourcePartition, taken: Acquired, rules: FoldRules, placed: Placed, is_wanted: Callable[[], bool]
) -> OwnedPartition:
    state, position = _from_snapshot(source, taken)
    recorded = deque(_recorded(source, taken, state.registry.applied, placed, is_wanted))
    marks = Marks(taken.effects, taken.windows, taken.controls_mark, taken.windows_controls)
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
        windows_controls=taken.windows_controls,
        recorded=recorded,
        horizon=taken.horizon,
        known=set(taken.heard),
    )
    partition.move_to(position, rules)
    return partition


def _from_snapshot(source: SourcePartition, taken: Acquired) -> tuple[PartitionState, int]:
    if taken.snapshot is not None:
        try:
            reached(CrashPoint.LOADING_SNAPSHOT)
            state = snapshots.decode(taken.snapshot[1])
            _require_not_ahead(state.registry.applied, taken)
            return state, taken.snapshot[0]
        except ValueError as error:
            log.warning("snapshot.unreadable", source=str(source), reason=str(error))
    return PartitionState(), 0


def _require_not_ahead(applied: int, taken: Acquired) -> None:
    known = min(taken.controls_mark, taken.windows_controls)
    if applied > known:
        msg = f"it holds {applied} control records, and the database knows of {known}"
        raise ValueError(msg)


def _recorded(
    source: SourcePartition, taken: Acquired, applied: int, placed: Placed, is_wanted: Callable[[], bool]
) -> Sequence[PlacedControl]:
    """Return the control records that a partition applied and its state does not hold; a replay is told of later ones too."""
    found = placed(source, applied)
    if not is_wanted():
        raise NotOwner(f"{source} went to another worker while its state was loaded")
    if [each.ordinal for each in found] != list(range(applied, max(taken.controls_mark, applied + len(found)))):
        raise NotReproducible(
            f"{source} applied {taken.controls_mark} control records, and {len(found)} are stored from number {applied} on:"
            " its state cannot be made again without them; restore control_record and control_effect"
        )
    return found


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

    def wanted() -> Iterator[StoredEvents]:
        nonlocal messages
        for events in stored(source, first, end):
            if not is_wanted():
                raise NotOwner(f"{source} went to another worker while its state was rebuilt")
            messages += len(events)
            yield events

    accepting = lenient(rules)
    for records in batches(wanted()):
        partition.refold(RecordBatch(source, "", partition.position, records[-1].offset + 1, records), accepting)
        reached(CrashPoint.REBUILDING_STATE)
    log.warning(
        "state.rebuilt",
        source=str(source),
        from_offset=first,
        to_offset=end,
        messages=messages,
        seconds=round(time.monotonic() - began, 1),
    )


def lenient(rules: FoldRules) -> FoldRules:
    """Return rules by which stored events are folded: they were accepted once, by rules that are not known any more."""
    return replace(rules, codec=replace(rules.codec, max_future_ms=2**60))


def batches(some: Iterable[StoredEvents], most: int = _AT_ONCE) -> Iterator[StoredEvents]:
    """Yield events in batches that can be folded; all of an offset are in one.

    Parameters
    ----------
    some
        By rising offset and place, cut anywhere.
    most
        Events of one, about; or a megabyte of their bodies.

    Examples
    --------
    >>> from pipeline.core.records import StoredEvent
    >>> places = [(7, 0), (8, 1), (8, 3), (9, 0)]
    >>> events = StoredEvents.of(StoredEvent(at, place, 0, b"{}") for at, place in places)
    >>> [batch.offsets.tolist() for batch in batches([events[:2], events[2:]], 2)]
    [[7, 8, 8], [9]]
    """
    held: list[StoredEvents] = []
    waiting = size = 0
    for events in some:
        held.append(events)
        waiting, size = waiting + len(events), size + sum(map(len, events.bodies))
        if waiting > most or size > _BYTES_AT_ONCE:
            joined = StoredEvents.joined(held)
            at = 0
            for end in _ends(joined, most):
                yield joined[at:end]
                at = end
            # What comes next may be of the last offset too
            held = [joined[at:]]
            waiting, size = len(held[0]), sum(map(len, held[0].bodies))
    if waiting:
        yield StoredEvents.joined(held)


def _ends(events: StoredEvents, most: int) -> Iterator[int]:
    """Yield where batches end that are as long as they are to be, but for one that ends with the last event."""
    sizes = np.cumsum(np.fromiter(map(len, events.bodies), np.int64, len(events)))
    end = held = 0
    while end < len(events):
        full = min(end + most, int(np.searchsorted(sizes, held + _BYTES_AT_ONCE)) + 1, len(events))
        end = int(np.searchsorted(events.offsets, events.offsets[full - 1], "right"))
        held = int(sizes[end - 1])
        if end < len(events):
            yield end
