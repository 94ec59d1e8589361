"""Manifests: what is archived. They alone say so; a data file that none names does not count."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from pipeline.archive.layout import MANIFESTS, SUPERSEDED_MANIFEST, SourceLog
from pipeline.archive.place import Place
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.records import SourcePartition

FORMAT = 1
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

Sums = tuple[int, int]
"""Rows, and the checksum of their ids."""


class HourSum(msgspec.Struct, frozen=True):
    """What a file holds of one hour of event time, 0 to 23, UTC; the checksum is 16 hexadecimal digits."""

    hour: int
    rows: int
    checksum: str


class DataFile(msgspec.Struct, frozen=True):
    """A Parquet file: rows of one factory and day, of one source partition."""

    path: str
    factory: str
    day: dt.date
    rows: int
    offset_min: int
    offset_max: int
    bytes: int
    sha256: str
    checksum: str
    hours: tuple[HourSum, ...]

    def hours_since_epoch(self) -> list[int]:
        """Return of which hours it has rows, counted from the epoch."""
        begin = (self.day - dt.date(1970, 1, 1)).days * 24
        return [begin + each.hour for each in self.hours]


class Manifest(msgspec.Struct, frozen=True, rename={"first": "from", "end": "to"}):
    """What one slice or remainder holds; see docs/archive.md, field by field.

    Parameters
    ----------
    first, end
        A slice holds all events of the offsets ``[first, end)`` of its log. A remainder promises nothing about offsets.
    """

    format: int
    kind: str
    cluster: str
    topic: str
    partition: int
    log_since: dt.datetime | None
    first: int
    end: int
    written_at: dt.datetime
    files: list[DataFile]

    @property
    def is_slice(self) -> bool:
        """Whether its offsets count as archived."""
        return self.kind == "slice"

    @property
    def log(self) -> SourceLog:
        """Whose offsets a slice holds."""
        return SourceLog(self.cluster, self.topic, self.partition, self.log_since)

    @property
    def source(self) -> SourcePartition:
        """The partition its rows are of."""
        return SourcePartition(self.topic, self.partition)


class Pending(msgspec.Struct, frozen=True):
    """Which files are being written; none of them counts yet."""

    paths: list[str]


_MANIFEST = msgspec.json.Decoder(Manifest)


def encode(value: msgspec.Struct) -> bytes:
    """Return a manifest as JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1)


@dataclass
class Contents:
    """All manifests of an archive, to be asked what is archived.

    Parameters
    ----------
    by_source
        Path and manifest of all, by the partition that their rows are of.
    """

    by_source: dict[SourcePartition, list[tuple[str, Manifest]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, path: str, manifest: Manifest) -> None:
        """Count a manifest in."""
        self.by_source[manifest.source].append((path, manifest))

    def __iter__(self) -> Iterator[tuple[str, Manifest]]:
        """Go through all manifests with their paths."""
        for manifests in self.by_source.values():
            yield from manifests

    def covered(self, log: SourceLog) -> list[tuple[int, int]]:
        """Return which offsets ``[first, end)`` of a log are archived, in order; what touches is one."""
        slices = (m for _, m in self.by_source.get(log.source, ()) if m.is_slice and m.log == log)
        return merged((m.first, m.end) for m in slices)

    def end(self, log: SourceLog) -> int:
        """Return the offset behind the last one of a log that is archived; 0 if none is."""
        covered = self.covered(log)
        return covered[-1][1] if covered else 0

    def files(
        self, source: SourcePartition, first: int, end: int, days: tuple[dt.date, dt.date] | None = None
    ) -> list[tuple[Manifest, DataFile]]:
        """Return the files of a partition that may hold offsets of ``[first, end)``, and of days from one to another."""
        return [
            (manifest, file)
            for _, manifest in self.by_source.get(source, ())
            for file in manifest.files
            if file.offset_min < end and file.offset_max >= first and (days is None or days[0] <= file.day <= days[1])
        ]

    def sums(self, source: SourcePartition) -> dict[int, Sums]:
        """Return what is archived of a partition, by hours of event time since the epoch."""
        found: dict[int, Sums] = defaultdict(lambda: (0, 0))
        for _, manifest in self.by_source.get(source, ()):
            for file in manifest.files:
                for hour, each in zip(file.hours_since_epoch(), file.hours, strict=True):
                    rows, checksum = found[hour]
                    found[hour] = (rows + each.rows, (checksum + int(each.checksum, 16)) % 2**64)
        return found


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those that touch or overlap as one.

    Examples
    --------
    >>> merged([(5, 9), (0, 3), (3, 5), (20, 21)])
    [(0, 9), (20, 21)]
    """
    found: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((first, end))
    return found


def load(place: Place) -> Contents:
    """Read all manifests.

    Raises
    ------
    ArchiveDamaged
        If one cannot be read.
    """
    contents = Contents()
    paths = [path for path in place.files(MANIFESTS) if path != SUPERSEDED_MANIFEST]
    for path, content in place.read_all(paths):
        contents.add(path, _decoded(path, content))
    return contents


def _decoded(path: str, content: bytes) -> Manifest:
    try:
        manifest = _MANIFEST.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(
            f"the manifest {path} cannot be read: {error}; delete it, and what it named is archived again"
        ) from error
    if manifest.format != FORMAT:
        raise ArchiveDamaged(f"the manifest {path} has the format {manifest.format}, and this version reads {FORMAT}")
    return manifest
