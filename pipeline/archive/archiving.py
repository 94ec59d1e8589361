"""One run of `pipeline archive`: slices, what no slice holds, and what counts no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa

from pipeline.archive import files, manifests, superseded
from pipeline.archive.comparing import Compared, Comparison
from pipeline.archive.manifests import Contents
from pipeline.archive.partitions import DEFAULT, bounded
from pipeline.archive.place import Place
from pipeline.archive.remembered import Equal, Part, Remembered, Stored
from pipeline.archive.rows import chosen as chosen_rows
from pipeline.archive.slices import Slicing, Standing, are_waiting, missing, standings
from pipeline.archive.writing import Writer, alone
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.records import SourcePartition

Connection = psycopg.Connection[Any]
Told = Callable[[int, int], None]
"""Is told how many offsets are archived and how many there are to archive."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What a run did.

    Parameters
    ----------
    rows, files, bytes, manifests
        What was written.
    remainder_rows
        How many of the rows no slice holds.
    promotions
        Promotions whose superseded events were written.
    compared
        Partitions of ``event`` that were compared with the archive.
    cleaned
        Files of killed runs that were deleted.
    damaged
        A line for each source partition, or partition of ``event``, that could not be archived as a whole because a file of the
        archive is missing or damaged.
    """

    rows: int
    files: int
    bytes: int
    manifests: int
    remainder_rows: int
    promotions: int
    compared: int
    cleaned: int
    damaged: tuple[str, ...]


def archive(
    guard: Connection,
    reading: Connection,
    place: Place,
    *,
    due_days: int | None,
    compare_all: bool = False,
    told: Told = lambda *_: None,
) -> Archived:
    """Archive everything that is stored and not archived yet.

    Parameters
    ----------
    guard, reading
        Two connections in autocommit mode, the first to hold the lock.
    due_days
        Partitions that end so many days ago, or more, are compared with the archive row by row where sums differ, unless
        neither side has changed since; ``None``: none.
    compare_all
        Compare all partitions. So it is, too, after a promotion: that adds events at offsets which are archived already.

    Raises
    ------
    NotOwner
        If another run is at work.
    ArchiveUnavailable, ArchiveDamaged
        If the archive, or a manifest, cannot be read or written. What was written so far counts, and the next run goes on.
    """
    with alone(guard):
        return _Run(guard, reading, place).archive(due_days, told, compare_all=compare_all)


class _Run:
    """One run. A damaged file ends what it is needed for, and nothing else."""

    def __init__(self, guard: Connection, reading: Connection, place: Place) -> None:
        self._guard, self._reading, self._place = guard, reading, place
        self._contents = manifests.load(place)
        self._writer = Writer(guard, place, self._contents)
        self._comparison = Comparison(reading, place, self._contents)
        self._damaged: list[str] = []

    def archive(self, due_days: int | None, told: Told, *, compare_all: bool) -> Archived:
        cleaned = self._writer.clean()
        # Looked at before events are compared, and noted after: a promotion in between, or a kill, is seen by the next run
        promoted = superseded.states(self._guard)
        news: list[int] = []
        with self._noting_damage():
            news = superseded.changed(self._place, promoted)
        known = Remembered.of(self._place)
        due = self._due(due_days, known, everything=compare_all or bool(news))
        logs = standings(self._guard)
        self._slice(logs, told)
        sliced = self._writer.written.rows
        for part, stored in due:
            self._compare(part, logs)
            known.partitions.pop(part.name, None)
            if not self._damaged:
                known.partitions[part.name] = Equal(stored, part.archived(self._contents))
        with self._noting_damage():
            superseded.archive(self._guard, self._place, promoted)
        known.write(self._place, {each.name for each in bounded(self._guard)} | {DEFAULT})
        done = self._writer.written
        counts = (done.rows, done.files, done.bytes, done.manifests, done.rows - sliced, len(news), len(due), cleaned)
        return Archived(*counts, damaged=tuple(dict.fromkeys(self._damaged)))

    @contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            yield
        except ArchiveDamaged as error:
            self._damaged.append(str(error))

    def _due(self, due_days: int | None, known: Remembered, *, everything: bool) -> list[tuple[Part, Stored]]:
        """Return the partitions to compare, with what is stored of them now: what comes later the next run sees."""
        ago = self._guard.execute("SELECT now() - make_interval(days => %s)", [due_days or 0]).fetchone()
        there = bounded(self._guard)
        parts = [
            Part.of(each)
            for each in there
            if everything or (due_days is not None and ago is not None and each.high <= ago[0])
        ]
        found = [(part, part.stored(self._guard)) for part in [*parts, Part.rest(there)]]
        return [
            (part, stored)
            for part, stored in found
            if everything or known.partitions.get(part.name) != Equal(stored, part.archived(self._contents))
        ]

    def _slice(self, logs: list[Standing], told: Told) -> None:
        total = sum(missing(self._contents, standing) for standing in logs)
        slicing = Slicing(self._reading, self._place, self._contents, self._writer, told=lambda done: told(done, total))
        told(0, total)
        for standing in logs:
            with self._noting_damage():
                slicing.archive(standing)

    def _compare(self, part: Part, logs: list[Standing]) -> None:
        for source, of_hours in self._comparison.sums(part.rows).items():
            with self._noting_damage():
                unequal = self._comparison.where_unequal(part.rows, {source: of_hours})
                for _, table in remainders(unequal, self._contents, logs):
                    self._writer.add_remainder(source, table)


def remainders(
    compared: Iterable[Compared], contents: Contents, logs: list[Standing]
) -> Iterator[tuple[SourcePartition, pa.Table]]:
    """Yield the rows that the archive lacks and no slice will hold, by source partition.

    Parameters
    ----------
    logs
        The present logs, from whose rows slices are still to come; none for a table that slices are not made from.
    """
    for source, table, lacking, promoted in compared:
        of_source = [standing for standing in logs if standing.log.source == source]
        wanted = lacking
        if lacking.any() and of_source:
            # What a promotion has added may lie at offsets of a lost log, which the present one never comes to
            wanted = lacking & (promoted | ~are_waiting(table, contents, of_source))
        if wanted.any():
            yield source, chosen_rows(table, wanted)


def verify(place: Place, told: Told = lambda *_: None) -> tuple[int, list[str]]:
    """Read every file again; return how many there are, and a line for each that is missing or not what was written."""
    chosen = [file for _, manifest in manifests.load(place) for file in manifest.files]
    wrong = []
    for number, file in enumerate(chosen):
        try:
            files.check(place, file)
        except ArchiveDamaged as error:
            wrong.append(str(error))
        told(number + 1, len(chosen))
    try:
        return len(chosen) + superseded.check(place), wrong
    except ArchiveDamaged as error:
        return len(chosen), [*wrong, str(error)]
