"""Partitions that were found in the archive as a whole: until either side changes, nobody has to look again."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from pipeline.archive.comparing import Rows
from pipeline.archive.layout import COMPARED, microseconds
from pipeline.archive.manifests import HOUR_US, Contents, encode
from pipeline.archive.partitions import DEFAULT, Bounded
from pipeline.archive.place import Place

Connection = psycopg.Connection[Any]


class Stored(msgspec.Struct, frozen=True):
    """What tells whether rows came to a partition, or left it."""

    rows: int
    last_stored: dt.datetime | None


class Equal(msgspec.Struct, frozen=True):
    """A partition as it was when the archive was found to have all of it; ``archived`` stands for what the archive had."""

    stored: Stored
    archived: str


class _File(msgspec.Struct, frozen=True):
    partitions: dict[str, Equal]


class Part(NamedTuple):
    """A partition to be compared, and its hours of event time since the epoch.

    Parameters
    ----------
    hours
        Ranges ``[first, end)``.
    inside
        Whether its hours are those, or all others.
    """

    name: str
    rows: Rows
    hours: Sequence[range]
    inside: bool

    @classmethod
    def of(cls, partition: Bounded) -> Part:
        """Return a partition with bounds. Its rows are asked of ``event``, which workers may read: the planner finds it."""
        condition = sql.SQL("event_time >= {} AND event_time < {}").format(
            sql.Literal(partition.low), sql.Literal(partition.high)
        )
        low, high = microseconds(partition.low), microseconds(partition.high)
        hours = range(low // HOUR_US, -(-high // HOUR_US))
        return cls(partition.name, Rows("event", condition), [hours], inside=True)

    @classmethod
    def rest(cls, partitions: Sequence[Bounded]) -> Part:
        """Return the default partition: what is left by those with bounds."""
        whole = [
            range(-(-microseconds(each.low) // HOUR_US), microseconds(each.high) // HOUR_US) for each in partitions
        ]
        return cls(DEFAULT, Rows(DEFAULT), whole, inside=False)

    def stored(self, connection: Connection) -> Stored:
        """Return what is stored now."""
        query = sql.SQL("SELECT count(*), max(stored_time) FROM {} WHERE {}")
        row = connection.execute(query.format(sql.Identifier(self.rows.relation), self.rows.condition)).fetchone()
        assert row is not None  # noqa: S101  # an aggregate always gives a row
        return Stored(*row)

    def archived(self, contents: Contents) -> str:
        """Return a digest of what is archived of its hours."""
        digest = hashlib.blake2b(digest_size=16)
        for source in sorted(contents.by_source):
            for hour, sums in sorted(contents.sums(source).items()):
                if any(hour in each for each in self.hours) == self.inside:
                    digest.update(f"{source} {hour} {sums}\n".encode())
        return digest.hexdigest()


@dataclass
class Remembered:
    """What a file of the archive says about it. Without that file, everything is compared once more."""

    partitions: dict[str, Equal]

    @classmethod
    def of(cls, place: Place) -> Remembered:
        """Read it."""
        try:
            return cls(msgspec.json.decode(place.read(COMPARED), type=_File).partitions)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return cls({})

    def write(self, place: Place, names: set[str]) -> None:
        """Write what is known of some partitions, and forget the others."""
        kept = {name: equal for name, equal in sorted(self.partitions.items()) if name in names}
        if kept != Remembered.of(place).partitions:
            place.write(COMPARED, encode(_File(kept)))
