"""The archive as a log: the events of a source partition, in the order they were read in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.archive import files, manifests, rows
from pipeline.archive.ids import halves
from pipeline.archive.layout import SourceLog
from pipeline.archive.manifests import DataFile, Manifest
from pipeline.archive.place import Place
from pipeline.archive.superseded import Superseded
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.facts import INGESTED, TELEMETRY_INGEST
from pipeline.core.records import SourcePartition, StoredEvent

_EVENTS_AT_ONCE = 10_000
_TYPES = pa.array(INGESTED)
_PLAIN = ["event_type", "source_offset", "source_index", "ingest_time", "body"]
_WHOLE = [*_PLAIN, "event_id", "entity_id", "event_time", "stored_time"]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Accepted messages column by column, by rising (offset, place), each once.

    Parameters
    ----------
    offsets, places
        Source record and place in an array record; shape (n,).
    ingest_ms
        The broker's time, ms since the epoch, UTC; shape (n,).
    bodies
        n JSON objects, as they were stored.
    types
        Event types, n of them.
    """

    offsets: npt.NDArray[np.int64]
    places: npt.NDArray[np.int32]
    ingest_ms: npt.NDArray[np.int64]
    bodies: list[bytes]
    types: list[str]

    def __len__(self) -> int:
        return len(self.bodies)

    def events(self, begin: int = 0, end: int | None = None) -> list[StoredEvent]:
        """Return those of some rows one by one."""
        numbers = (column[begin:end].tolist() for column in (self.offsets, self.places, self.ingest_ms))
        texts: tuple[list[bytes], list[str]] = (self.bodies[begin:end], self.types[begin:end])
        return list(map(tuple.__new__, repeat(StoredEvent), zip(*numbers, *texts, strict=True)))


class Archive:
    """What is archived, for reading.

    The manifests are read once, so what is archived later is not seen.

    Parameters
    ----------
    place
        Where the archive lies.
    superseded
        Events that are left out; default: those the archive says. Give the database's own, if it may know of more.

    Raises
    ------
    ArchiveUnavailable, ArchiveDamaged
        If it cannot be read.

    Examples
    --------
    ::

        archive = Archive(Place("s3://plant/archive"))
        for first, end in archive.ranges("local", source):
            for events in archive.events("local", source, first, end):
                fold(state, events)
    """

    def __init__(self, place: Place, superseded: Superseded | None = None) -> None:
        self._place = place
        self._contents = manifests.load(place)
        self._superseded = Superseded.of(place) if superseded is None else superseded

    def ranges(
        self, cluster: str, source: SourcePartition, log_since: dt.datetime | None = None
    ) -> list[tuple[int, int]]:
        """Return which offsets ``[first, end)`` are archived, in order: everything that was stored of them can be read.

        Parameters
        ----------
        log_since
            Of which log, as ``source_progress`` has it.
        """
        return self._contents.covered(SourceLog(cluster, *source, log_since))

    def has_rows_behind(self, source: SourcePartition, end: int) -> bool:
        """Return whether there are rows of a partition at or behind an offset that no slice holds: the next run makes one."""
        return any(not manifest.is_slice for manifest, _ in self._contents.files(source, end, 2**63))

    def events(
        self, cluster: str, source: SourcePartition, first: int, end: int, log_since: dt.datetime | None = None
    ) -> Iterator[list[StoredEvent]]:
        """Yield the accepted messages of ``[first, end)`` like :meth:`columns`, but some thousands at a time."""
        for columns in self.columns(cluster, source, first, end, log_since):
            for begin in range(0, len(columns), _EVENTS_AT_ONCE):
                yield columns.events(begin, begin + _EVENTS_AT_ONCE)

    def columns(
        self, cluster: str, source: SourcePartition, first: int, end: int, log_since: dt.datetime | None = None
    ) -> Iterator[EventColumns]:
        """Yield the accepted messages of ``[first, end)``, those of a slice at a time: at most about 128 MB of them.

        Raises
        ------
        ArchiveDamaged
            If a file is missing, or not what was written, or if some of the offsets are not archived. What was yielded
            before is sound.
        """
        log = SourceLog(cluster, *source, log_since)
        if not any(begin <= first and end <= to for begin, to in self._contents.covered(log)) and first < end:
            raise ArchiveDamaged(f"{source} [{first}, {end}) is not in the archive at {self._place.address} as a whole")
        at = first
        for begin, to in self._slices(log):
            if at < min(to, end) and begin <= at:
                yield from self._read(log, at, min(to, end))
                at = to

    def _slices(self, log: SourceLog) -> list[tuple[int, int]]:
        found = (m for _, m in self._contents.by_source.get(log.source, ()) if m.is_slice and m.log == log)
        return sorted((m.first, m.end) for m in found)

    def _read(self, log: SourceLog, first: int, end: int) -> Iterator[EventColumns]:
        """Read one slice, with what other manifests have of its offsets."""
        chosen = [
            (manifest, file)
            for manifest, file in self._contents.files(log.source, first, end)
            if manifest.cluster in {"", log.cluster}
        ]
        plain = all(manifest.is_slice and manifest.log == log for manifest, _ in chosen) and not len(self._superseded)
        tables = [self._table(log, manifest, file, plain=plain) for manifest, file in chosen]
        if not tables:
            return
        table = pa.concat_tables(tables) if len(tables) > 1 else tables[0]
        offsets, places = table["source_offset"].to_numpy(), table["source_index"].to_numpy()
        wanted = (offsets >= first) & (offsets < end)
        if not plain:
            wanted &= ~self._superseded.contain(halves(table["event_id"]), rows.micros(table, "stored_time"))
        columns = _columns(table, offsets, places, np.flatnonzero(wanted), in_order=plain and len(tables) == 1)
        if len(columns):
            yield columns

    def _table(self, log: SourceLog, manifest: Manifest, file: DataFile, *, plain: bool) -> pa.Table:
        """Return the accepted messages in a file that are of this log."""
        table = files.read(self._place, file, _PLAIN if plain else _WHOLE)
        of_type = pc.is_in(table["event_type"], _TYPES)
        if not pc.all(of_type).as_py():
            table = table.filter(of_type)
        if manifest.is_slice and manifest.log == log:
            return table
        mine = rows.are_of(table, log.cluster, log.source) & (rows.micros(table, "stored_time") >= log.since_us)
        return rows.chosen(table, mine)


def _columns(
    table: pa.Table,
    offsets: npt.NDArray[np.int64],
    places: npt.NDArray[np.int32],
    chosen: npt.NDArray[np.int64],
    *,
    in_order: bool,
) -> EventColumns:
    if not in_order:
        chosen = chosen[np.lexsort((places[chosen], offsets[chosen]))]
    offsets, places = offsets[chosen], places[chosen]
    # Two groups that read the same topic have stored the same message twice
    first = np.r_[True, (np.diff(offsets) != 0) | (np.diff(places) != 0)][: len(chosen)]
    if not first.all():
        chosen, offsets, places = chosen[first], offsets[first], places[first]
    if len(chosen) < len(table) or not in_order:
        table = table.select(["ingest_time", "event_type", "body"]).take(chosen)
    bodies: list[bytes] = table["body"].cast(pa.binary()).to_numpy().tolist()
    is_telemetry = pc.all(pc.equal(table["event_type"], TELEMETRY_INGEST)).as_py()
    types = [TELEMETRY_INGEST] * len(table) if is_telemetry else table["event_type"].to_pylist()
    return EventColumns(offsets, places, rows.micros(table, "ingest_time") // 1000, bodies, types)
