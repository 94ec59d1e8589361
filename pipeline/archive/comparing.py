"""Tables against the archive: which of their rows it lacks.

Counts and checksums by hour of event time say where they agree; only where they do not, ids are compared.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.archive import files, rows
from pipeline.archive.ids import CHECKSUM, surplus
from pipeline.archive.manifests import Contents, DataFile, Sums
from pipeline.archive.place import Place
from pipeline.core.records import SourcePartition

Connection = psycopg.Connection[Any]

_FILES_KEPT = 8
_HOUR_S = 3600

HourSums = dict[SourcePartition, dict[int, Sums]]

_SUMS = sql.SQL(
    f"SELECT source_topic, source_partition, (extract(epoch FROM hour) / {_HOUR_S})::bigint, count, sum FROM ("
    "SELECT source_topic, source_partition, date_trunc('hour', event_time) AS hour, count(*) AS count,"
    f" {CHECKSUM} AS sum FROM {{relation}} WHERE {{condition}} GROUP BY 1, 2, 3) AS by_hour ORDER BY 1, 2, 3"
)


class Rows(NamedTuple):
    """Some rows of ``event`` or of a table that was a partition of it."""

    relation: str
    condition: sql.Composable = sql.SQL("true")

    def also(self, condition: sql.Composable) -> sql.Composed:
        """Return the condition on those of them for which another holds too."""
        return sql.SQL("{} AND {}").format(self.condition, condition)


class Compared(NamedTuple):
    """Rows of one partition beside the archive.

    Parameters
    ----------
    lacking
        Which of them it lacks, shape (n,).
    """

    source: SourcePartition
    table: pa.Table
    lacking: npt.NDArray[np.bool_]


class Comparison:
    """What an archive has, to compare rows with."""

    def __init__(self, connection: Connection, place: Place, contents: Contents) -> None:
        self._connection, self._place, self._contents = connection, place, contents
        self._ids = functools.lru_cache(maxsize=_FILES_KEPT)(self._load)

    def where_unequal(self, given: Rows, sums: HourSums | None = None) -> Iterator[Compared]:
        """Yield rows of the hours whose counts or checksums are not those of the archive; which of them it lacks is exact.

        Parameters
        ----------
        sums
            From :meth:`sums`, if they are known already.
        """
        for source, of_hours in (self.sums(given) if sums is None else sums).items():
            archived = self._contents.sums(source)
            for first, end in _runs([hour for hour, sum_ in of_hours.items() if archived.get(hour) != sum_]):
                yield from self._compared(given, source, first, end)

    def all_rows(self, given: Rows, sums: HourSums) -> Iterator[Compared]:
        """Yield all rows."""
        for source, of_hours in sums.items():
            for first, end in _runs(list(of_hours)):
                yield from self._compared(given, source, first, end)

    def sums(self, given: Rows) -> HourSums:
        """Return counts and checksums by source partition and hour of event time since the epoch, in order."""
        query = _SUMS.format(relation=sql.Identifier(given.relation), condition=given.condition)
        found: HourSums = {}
        for topic, partition, hour, count, checksum in self._connection.execute(query):
            found.setdefault(SourcePartition(topic, partition), {})[hour] = (count, int(checksum) % 2**64)
        return found

    def _compared(self, given: Rows, source: SourcePartition, first_hour: int, end_hour: int) -> Iterator[Compared]:
        within = sql.SQL("{} AND event_time >= to_timestamp({}) AND event_time < to_timestamp({})").format(
            rows.of_partition(source), sql.Literal(first_hour * _HOUR_S), sql.Literal(end_hour * _HOUR_S)
        )
        days = (day_of(first_hour), day_of(end_hour - 1))
        for table in rows.batches(self._connection, given.relation, given.also(within)):
            first, last = table["source_offset"][0].as_py(), table["source_offset"][-1].as_py()
            some = [self._ids(file) for _, file in self._contents.files(source, first, last + 1, days)]
            ids, offsets, stored = files.joined(some)
            near = (offsets >= first) & (offsets <= last)
            there = ids._replace(high=ids.high[near], low=ids.low[near])
            lacking = surplus(rows.ids_of(table), rows.micros(table, "stored_time"), there, stored[near])
            yield Compared(source, table, lacking)

    def _load(self, file: DataFile) -> files.Ids:
        return files.Ids(files.read(self._place, file, files.Ids.COLUMNS))


def _runs(hours: Sequence[int]) -> list[tuple[int, int]]:
    """Return hours, which rise, as ranges without holes."""
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + 1)
        else:
            found.append((hour, hour + 1))
    return found


def day_of(hour: int) -> dt.date:
    """Return the day of an hour since the epoch, UTC."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=hour // 24)
