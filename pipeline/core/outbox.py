"""Messages of our own: what is published about the effects of a fold, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from pipeline.core.records import SourcePartition


@dataclass(frozen=True, slots=True)
class AlertRules:
    """Where anomalies are published.

    Parameters
    ----------
    topic
        Full name of the topic.
    expiry_ms
        Age, counted from the event time, beyond which an alert is of no use to anybody, ms; 0: never.
    """

    topic: str
    expiry_ms: int = 0


class Outcome(StrEnum):
    """What became of a message of our own."""

    PUBLISHED = auto()
    """The broker has taken it."""
    FOUND = auto()
    """The topic had it already: published before a crash, or before the database was restored."""
    EXPIRED = auto()
    """It was too old when its turn came, and is passed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which source record, and which element of an array in it, a message tells of."""

    source: SourcePartition
    offset: int
    index: int

    def __str__(self) -> str:
        return f"{self.source.topic}:{self.source.partition}:{self.offset}:{self.index}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that waits to be published.

    Parameters
    ----------
    seq
        Rises in the order in which the messages of a source partition are to be published.
    owner
        Token of the lease under which it is published.
    id
        The same for the same effect, however often that is stored or published.
    topic, key, body
        Whither and what.
    ingest_ms
        Broker's time of the source record, ms since the epoch, UTC: before it, nobody can have published this.
    expired
        Whether it is too old by now.
    """

    seq: int
    owner: str
    place: Place
    id: str
    topic: str
    key: str
    body: bytes
    ingest_ms: int
    expired: bool = False

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """What consumers drop repeats by.

        Examples
        --------
        >>> place = Place(SourcePartition("telemetry.machine", 3), 17, 0)
        >>> Outgoing(1, "", place, "0199", "alert", "press-1", b"{}", 0).headers
        [('id', b'0199'), ('source', b'telemetry.machine:3:17:0')]
        """
        return [("id", self.id.encode()), ("source", str(self.place).encode())]

    @property
    def timestamp_ms(self) -> int:
        """The record's time: 0 stands for when it is published."""
        return 0


def read_headers(headers: Mapping[str, str | bytes | None]) -> tuple[str, SourcePartition] | None:
    """Return id and source partition of a message of ours; ``None`` for somebody else's.

    Examples
    --------
    >>> read_headers({"id": b"0199", "source": b"telemetry.machine:3:17:0"})
    ('0199', SourcePartition(topic='telemetry.machine', partition=3))
    >>> read_headers({"id": b"0199"}) is read_headers({"id": b"0199", "source": b"elsewhere"}) is None
    True
    """
    found, source = headers.get("id"), headers.get("source")
    if not isinstance(found, bytes) or not isinstance(source, bytes):
        return None
    try:
        topic, partition, _, _ = source.decode().rsplit(":", 3)
        return found.decode(), SourcePartition(topic, int(partition))
    except ValueError:
        return None
