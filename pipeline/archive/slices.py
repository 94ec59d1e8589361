"""Slices: what the marks say is complete goes into the archive by offsets, each offset of a log once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.archive import files, rows
from pipeline.archive.ids import are_among
from pipeline.archive.layout import SourceLog
from pipeline.archive.manifests import Contents
from pipeline.archive.place import Place
from pipeline.archive.writing import Writer

Connection = psycopg.Connection[Any]

OFFSETS_AT_ONCE = 1_000_000
"""Offsets that the database is asked for at once: it sorts them on its disk."""


class Standing(NamedTuple):
    """How far a log is stored: everything before ``end`` is committed."""

    log: SourceLog
    end: int


# Several groups may read a topic. The one that saw its log begin last knows the present log; of those, the one that is furthest
_STANDINGS = """
SELECT DISTINCT ON (cluster, topic, partition) cluster, topic, partition, log_since, effects_next
FROM source_progress
ORDER BY cluster, topic, partition, log_since DESC NULLS LAST, effects_next DESC
"""


def standings(connection: Connection) -> list[Standing]:
    """Return how far every log is stored."""
    return [Standing(SourceLog(*row[:4]), row[4]) for row in connection.execute(_STANDINGS)]


def missing(contents: Contents, standing: Standing) -> int:
    """Return how many offsets of a log are stored and not archived."""
    return max(0, standing.end - contents.end(standing.log))


class Slicing:
    """Archives what is stored of logs and not archived yet.

    Parameters
    ----------
    told
        Is told how many offsets were archived, now and then.
    """

    def __init__(
        self,
        connection: Connection,
        place: Place,
        contents: Contents,
        writer: Writer,
        told: Callable[[int], None] = lambda _: None,
        at_once: int = OFFSETS_AT_ONCE,
    ) -> None:
        self._connection, self._place, self._contents = connection, place, contents
        self._writer, self._told, self._at_once = writer, told, at_once
        self._done = 0

    def archive(self, standing: Standing) -> None:
        """Archive one log as far as it is stored. A slice ends behind its last event, but the last one at the end."""
        log, end = standing
        # Never back into a hole that a deleted manifest left: its days may be dropped, and an empty slice would hide that
        at = first = self._contents.end(log)
        while at < end:
            to = min(at + self._at_once, end)
            found = False
            for table in rows.batches(self._connection, "event", _within(log, at, to)):
                found = True
                mine = self._fresh(log, rows.chosen(table, rows.are_of(table, log.cluster, log.source)))
                next_ = int(table["source_offset"][-1].as_py()) + 1
                if len(mine):
                    self._add(log, first, next_, mine)
                    first = next_
            at = to if found else self._next(log, to, end)
        if first < end:
            self._add(log, first, end, rows.SCHEMA.empty_table())

    def _add(self, log: SourceLog, first: int, end: int, table: pa.Table) -> None:
        self._writer.add_slice(log, first, end, table)
        self._done += end - first
        self._told(self._done)

    def _next(self, log: SourceLog, at: int, end: int) -> int:
        """Return the first stored offset of ``[at, end)``, else the end: a log may begin late, or have a long hole."""
        query = sql.SQL("SELECT min(source_offset) FROM event WHERE {}").format(_within(log, at, end))
        row = self._connection.execute(query).fetchone()
        return end if row is None or row[0] is None else int(row[0])

    def _fresh(self, log: SourceLog, table: pa.Table) -> pa.Table:
        """Leave out rows that are in the archive already: as those of a log that was thought another, or as remainder."""
        if not len(table):
            return table
        first, last = table["source_offset"][0].as_py(), table["source_offset"][-1].as_py()
        others = [
            files.Ids(files.read(self._place, file, files.Ids.COLUMNS))
            for manifest, file in self._contents.files(log.source, first, last + 1)
            if not (manifest.is_slice and manifest.log == log) and manifest.cluster in {"", log.cluster}
        ]
        if not others:
            return table
        ids, _, stored = files.joined(others)
        known = are_among(rows.ids_of(table), rows.micros(table, "stored_time"), ids, stored)
        return rows.chosen(table, ~known)


def _within(log: SourceLog, first: int, end: int) -> sql.Composed:
    condition = sql.SQL("{} AND source_offset >= {} AND source_offset < {}").format(
        rows.of_partition(log.source), sql.Literal(first), sql.Literal(end)
    )
    return (
        condition if log.since is None else condition + sql.SQL(" AND stored_time >= {}").format(sql.Literal(log.since))
    )


def are_waiting(table: pa.Table, contents: Contents, logs: Sequence[Standing]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows a slice is still to hold, shape (n,): those of a present log, behind what is archived of it.

    Parameters
    ----------
    table
        Rows of one partition.
    logs
        The present ones of that partition, one per cluster.
    """
    waiting = np.zeros(len(table), bool)
    offsets, stored = table["source_offset"].to_numpy(), rows.micros(table, "stored_time")
    for log, _ in logs:
        waiting |= (
            (offsets >= contents.end(log)) & (stored >= log.since_us) & rows.are_of(table, log.cluster, log.source)
        )
    return waiting
