"""What comes in: source partitions, raw records and the batch they are delivered in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import NamedTuple, Protocol, TypeGuard, overload

import numpy as np
import numpy.typing as npt

from pipeline.core.facts import INGESTED, MESSAGE_TYPES, TELEMETRY_INGEST


class SourcePartition(NamedTuple):
    """One partition of one source topic; the unit of ownership, state and progress."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


Shape = tuple[str, str, str, tuple[str, ...]]
"""Machine id, factory id, machine type and the names of the readings: all of a message but its numbers."""


class SourceRecord(Protocol):
    """A raw record as the broker's client gives it (aiokafka's ``ConsumerRecord`` is one)."""

    @property
    def offset(self) -> int:
        """Position in the partition."""

    @property
    def timestamp(self) -> int:
        """Broker's append time (or the producer's time, as the topic is configured), ms since the epoch, UTC."""

    @property
    def key(self) -> bytes | None:
        """Partitioning key, normally the machine id."""

    @property
    def value(self) -> bytes | None:
        """The body; ``None`` is a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Application and system properties."""


class Record(NamedTuple):
    """A raw record of our own making: replay, the offline scorer and tests feed the fold with these.

    Examples
    --------
    >>> Record(offset=7, timestamp=0, value=b"{}").headers
    ()
    """

    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


class StoredEvent(NamedTuple):
    """An accepted message as it was stored; a record for the fold, which has it at the place where it was.

    Parameters
    ----------
    offset, place
        Where it came from: its record, and its place in an array record.
    timestamp
        The broker's time, ms since the epoch, UTC.
    value
        Its own JSON, also if it was one of an array.
    event_type
        As what it was stored.
    """

    offset: int
    place: int
    timestamp: int
    value: bytes
    event_type: str = TELEMETRY_INGEST

    @property
    def key(self) -> bytes | None:
        """Not stored."""
        return None

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Not stored."""
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class StoredEvents(Sequence[StoredEvent]):
    """Stored events column by column: millions are read again, and an object for each costs as much as decoding its body.

    Parameters
    ----------
    offsets, places
        Source record, and place in an array record; shape (n,).
    ingest_ms
        The broker's time, ms since the epoch, UTC; shape (n,).
    bodies
        n JSON objects.
    kinds
        As what each was stored: its place in :data:`pipeline.core.facts.INGESTED`; shape (n,).

    Examples
    --------
    >>> events = StoredEvents.of([StoredEvent(7, 0, 0, b"{}"), StoredEvent(8, 1, 0, b"{}")])
    >>> events[-1].offset, len(events[:1]), events.offsets.tolist()
    (8, 1, [7, 8])
    """

    offsets: npt.NDArray[np.int64]
    places: npt.NDArray[np.int32]
    ingest_ms: npt.NDArray[np.int64]
    bodies: list[bytes]
    kinds: npt.NDArray[np.int8]

    @classmethod
    def of(cls, events: Iterable[tuple[int, int, int, bytes] | tuple[int, int, int, bytes, str]]) -> StoredEvents:
        """Return events that came one by one, each as :class:`StoredEvent` has it."""
        columns = list(zip(*(StoredEvent(*each) for each in events), strict=True)) or [(), (), (), (), ()]
        numbers = np.array(columns[0], np.int64), np.array(columns[1], np.int32), np.array(columns[2], np.int64)
        return cls(*numbers, list(columns[3]), np.array([INGESTED.index(each) for each in columns[4]], np.int8))

    @classmethod
    def joined(cls, some: Sequence[StoredEvents]) -> StoredEvents:
        """Return the events of some, at least one, one after the other."""
        if len(some) == 1:
            return some[0]
        return cls(
            np.concatenate([each.offsets for each in some]),
            np.concatenate([each.places for each in some]),
            np.concatenate([each.ingest_ms for each in some]),
            list(chain.from_iterable(each.bodies for each in some)),
            np.concatenate([each.kinds for each in some]),
        )

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, at: int) -> StoredEvent: ...

    @overload
    def __getitem__(self, at: slice) -> StoredEvents: ...

    def __getitem__(self, at: int | slice) -> StoredEvent | StoredEvents:
        if isinstance(at, slice):
            numbers = self.offsets[at], self.places[at], self.ingest_ms[at]
            return StoredEvents(*numbers, self.bodies[at], self.kinds[at])
        place = int(self.offsets[at]), int(self.places[at]), int(self.ingest_ms[at])
        return StoredEvent(*place, self.bodies[at], INGESTED[self.kinds[at]])

    def __iter__(self) -> Iterator[StoredEvent]:
        numbers = (column.tolist() for column in (self.offsets, self.places, self.ingest_ms))
        types = map(INGESTED.__getitem__, self.kinds.tolist())
        return map(tuple.__new__, repeat(StoredEvent), zip(*numbers, self.bodies, types, strict=True))

    @property
    def said(self) -> list[str | None]:
        """What their headers had to say about their type, as far as it follows from what they were stored as."""
        if not self.kinds.any():
            return []
        types = [MESSAGE_TYPES.get(each) for each in INGESTED]
        return [types[kind] for kind in self.kinds.tolist()]


def are_stored(records: Sequence[SourceRecord]) -> TypeGuard[StoredEvents]:
    """Return whether records are messages that were accepted and stored before."""
    return isinstance(records, StoredEvents)


def offsets_of(records: Sequence[SourceRecord]) -> npt.NDArray[np.int64]:
    """Return the offset of each record, shape (n,)."""
    return records.offsets if are_stored(records) else np.array([record.offset for record in records], np.int64)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The records one fetch gave for one partition.

    Parameters
    ----------
    source
        The partition.
    owner
        Token of the ownership under which the batch was fetched; the fold's driver refuses a batch of another owner.
    start, next
        Positions ``[start, next)`` that the batch covers. Holes are allowed (compaction, transaction markers): ``start``
        may be before the first record's offset.
    records
        The raw records, by rising offset; or :class:`StoredEvents`, by rising offset and place, all of an offset in one
        batch.
    """

    source: SourcePartition
    owner: str
    start: int
    next: int
    records: Sequence[SourceRecord]
