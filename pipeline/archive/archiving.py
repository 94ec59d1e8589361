"""One run of `pipeline archive`: slices, what no slice holds, and what counts no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.archive import files, manifests, superseded
from pipeline.archive.comparing import Compared, Comparison, Rows
from pipeline.archive.manifests import Contents
from pipeline.archive.partitions import DEFAULT, bounded
from pipeline.archive.place import Place
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
    """

    rows: int
    files: int
    bytes: int
    manifests: int
    remainder_rows: int
    promotions: int
    compared: int
    cleaned: int


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
        Partitions that end so many days ago, or more, are compared with the archive row by row where sums differ; ``None``:
        none.
    compare_all
        Compare all partitions. So it is, too, after a promotion: that adds events at offsets which are archived already.

    Raises
    ------
    NotOwner
        If another run is at work.
    ArchiveUnavailable, ArchiveDamaged
        If the archive cannot be read or written. What was written so far counts, and the next run goes on.
    """
    with alone(guard):
        contents = manifests.load(place)
        writer = Writer(guard, place, contents)
        cleaned = writer.clean()
        logs = standings(guard)
        total = sum(missing(contents, standing) for standing in logs)
        slicing = Slicing(reading, place, contents, writer, told=lambda done: told(done, total))
        told(0, total)
        for standing in logs:
            slicing.archive(standing)
        sliced = writer.written.rows
        # Looked at before events are compared, and noted after: a promotion in between, or a kill, is seen by the next run
        promoted = superseded.states(guard)
        news = superseded.changed(place, promoted)
        chosen = _to_compare(guard, due_days, compare_all=compare_all or bool(news))
        comparison = Comparison(reading, place, contents)
        for rows in chosen:
            for source, table in remainders(comparison.where_unequal(rows), contents, logs):
                writer.add_remainder(source, table)
        superseded.archive(guard, place, promoted)
        done = writer.written
        return Archived(
            done.rows, done.files, done.bytes, done.manifests, done.rows - sliced, len(news), len(chosen), cleaned
        )


def _to_compare(connection: Connection, due_days: int | None, *, compare_all: bool) -> list[Rows]:
    ago = connection.execute("SELECT now() - make_interval(days => %s)", [due_days or 0]).fetchone()
    found = [
        # By event, which workers may read, and its bounds: the planner then reads that partition alone
        Rows(
            "event",
            sql.SQL("event_time >= {} AND event_time < {}").format(sql.Literal(each.low), sql.Literal(each.high)),
        )
        for each in bounded(connection)
        if compare_all or (due_days is not None and ago is not None and each.high <= ago[0])
    ]
    return [*found, Rows(DEFAULT)]


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
