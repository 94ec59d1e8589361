"""The archive as a log: the events of a source partition, in the order they were read in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.archive import files, manifests, rows
from pipeline.archive.ids import halves
from pipeline.archive.layout import SourceLog
from pipeline.archive.manifests import DataFile, Manifest
from pipeline.archive.place import Place
from pipeline.archive.superseded import Superseded
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.facts import INGESTED
from pipeline.core.records import SourcePartition, StoredEvents

_EVENTS_AT_ONCE = 10_000
_PLAIN = ["event_type", "source_offset", "source_index", "ingest_time", "body"]
_WHOLE = [*_PLAIN, "event_id", "entity_id", "event_time", "stored_time"]


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
    ) -> Iterator[StoredEvents]:
        """Yield the accepted messages of ``[first, end)`` by rising (offset, place), each once, some thousands at a time.

        Those of a slice are in memory together: at most about 128 MB of them.

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
                yield from _pieces(self._read(log, at, min(to, end)))
                at = to

    def _slices(self, log: SourceLog) -> list[tuple[int, int]]:
        found = (m for _, m in self._contents.by_source.get(log.source, ()) if m.is_slice and m.log == log)
        return sorted((m.first, m.end) for m in found)

    def _read(self, log: SourceLog, first: int, end: int) -> StoredEvents:
        """Read one slice, with what other manifests have of its offsets."""
        chosen = [
            (manifest, file)
            for manifest, file in self._contents.files(log.source, first, end)
            if manifest.cluster in {"", log.cluster}
        ]
        plain = all(manifest.is_slice and manifest.log == log for manifest, _ in chosen) and not len(self._superseded)
        read = [self._table(log, manifest, file, plain=plain) for manifest, file in chosen]
        if not read:
            return StoredEvents.of(())
        table = pa.concat_tables([each for each, _ in read])
        offsets, places = table["source_offset"].to_numpy(), table["source_index"].to_numpy()
        kinds = np.concatenate([kinds for _, kinds in read])
        wanted = (kinds >= 0) & (offsets >= first) & (offsets < end)
        if not plain:
            wanted &= ~self._superseded.contain(halves(table["event_id"]), rows.micros(table, "stored_time"))
        return _ordered(table, offsets, places, kinds, np.flatnonzero(wanted))

    def _table(
        self, log: SourceLog, manifest: Manifest, file: DataFile, *, plain: bool
    ) -> tuple[pa.Table, npt.NDArray[np.int8]]:
        """Return what is in a file of this log, and as what each row came in."""
        table = files.read(self._place, file, _PLAIN if plain else _WHOLE)
        if not (manifest.is_slice and manifest.log == log):
            mine = rows.are_of(table, log.cluster, log.source) & (rows.micros(table, "stored_time") >= log.since_us)
            table = rows.chosen(table, mine)
        return table.drop_columns(["event_type"]), _kinds(table["event_type"])


def _kinds(types: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    """Return the number of each event type among those of accepted messages, -1 of others; shape (n,)."""
    numbers = {event_type: number for number, event_type in enumerate(INGESTED)}
    found = [np.empty(0, np.int8)]
    for chunk in types.chunks:
        of_dictionary = np.array([numbers.get(each, -1) for each in chunk.dictionary.to_pylist()], np.int8)
        found.append(of_dictionary[chunk.indices.to_numpy()])
    return np.concatenate(found)


def _pieces(events: StoredEvents) -> Iterator[StoredEvents]:
    for begin in range(0, len(events), _EVENTS_AT_ONCE):
        yield events[begin : begin + _EVENTS_AT_ONCE]


def _ordered(
    table: pa.Table,
    offsets: npt.NDArray[np.int64],
    places: npt.NDArray[np.int32],
    kinds: npt.NDArray[np.int8],
    chosen: npt.NDArray[np.int64],
) -> StoredEvents:
    """Return some rows by rising offset and place, each message once."""
    chosen = chosen[np.lexsort((places[chosen], offsets[chosen]))]
    offsets, places = offsets[chosen], places[chosen]
    # Two groups that read the same topic have stored the same message twice
    first = np.r_[True, (np.diff(offsets) != 0) | (np.diff(places) != 0)][: len(chosen)]
    if not first.all():
        chosen, offsets, places = chosen[first], offsets[first], places[first]
    # References to the bodies are put in order: Arrow would copy the bodies themselves
    bodies: list[bytes] = table["body"].cast(pa.binary()).to_numpy()[chosen].tolist()
    return StoredEvents(offsets, places, (rows.micros(table, "ingest_time") // 1000)[chosen], bodies, kinds[chosen])
