"""What comes in: source partitions, raw records and the batch they are delivered in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeGuard

from pipeline.core.facts import MESSAGE_TYPES, TELEMETRY_INGEST


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
        """Not stored, but for what they had to say about the type of a fact."""
        said = MESSAGE_TYPES.get(self.event_type)
        return () if said is None else (("type", said.encode()),)


def are_stored(records: Sequence[SourceRecord]) -> TypeGuard[Sequence[StoredEvent]]:
    """Return whether records are messages that were accepted and stored before; a batch has all of one kind."""
    return bool(records) and isinstance(records[0], StoredEvent)


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
        The raw records, by rising offset; or stored events, by rising offset and place, all of an offset in one batch.
    """

    source: SourcePartition
    owner: str
    start: int
    next: int
    records: Sequence[SourceRecord]
