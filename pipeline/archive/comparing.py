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
from pipeline.archive.ids import CHECKSUM, are_among, surplus
from pipeline.archive.layout import microseconds
from pipeline.archive.manifests import Contents, DataFile, Sums
from pipeline.archive.place import Place
from pipeline.core.records import SourcePartition
from pipeline.store.identity import Uuids

Connection = psycopg.Connection[Any]

Times = npt.NDArray[np.int64]

_FILES_KEPT = 8
_HOUR_S = 3600

HourSums = dict[SourcePartition, dict[int, Sums]]

_SUMS = sql.SQL(
    f"SELECT source_topic, source_partition, (extract(epoch FROM hour) / {_HOUR_S})::bigint, count, sum, promoted, first, last"
    " FROM ("
    "SELECT source_topic, source_partition, date_trunc('hour', event_time) AS hour, count(*) AS count,"
    f" {CHECKSUM} AS sum, bool_or(stored_time = ANY({{promotions}})) AS promoted,"
    " min(stored_time) AS first, max(stored_time) AS last"
    " FROM {relation} WHERE {condition} GROUP BY 1, 2, 3) AS by_hour ORDER BY 1, 2, 3"
)
_PROMOTIONS = "SELECT DISTINCT promoted_at FROM promotion"
_LOGS = "SELECT topic, partition, log_since FROM source_progress WHERE log_since IS NOT NULL"
_UNKNOWN = -1
"""Stands for a checksum that says too little: what was promoted has the ids of what it supersedes, and a recreated topic may
have been sent the same messages again, which matters where rows of both are of one hour."""


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
    promoted
        Which of them a promotion has added, shape (n,).
    """

    source: SourcePartition
    table: pa.Table
    lacking: npt.NDArray[np.bool_]
    promoted: npt.NDArray[np.bool_]


class Comparison:
    """What an archive has, to compare rows with."""

    def __init__(self, connection: Connection, place: Place, contents: Contents) -> None:
        self._connection, self._place, self._contents = connection, place, contents
        self._promoted = np.empty(0, np.int64)
        self._logs: dict[SourcePartition, Times] = {}
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
        times = [at for (at,) in self._connection.execute(_PROMOTIONS)]
        self._promoted = np.array([microseconds(at) for at in times], np.int64)
        promotions = sql.SQL("{}::timestamptz[]").format(sql.Literal(times))
        self._logs = self._log_beginnings()
        query = _SUMS.format(relation=sql.Identifier(given.relation), condition=given.condition, promotions=promotions)
        found: HourSums = {}
        archived: dict[SourcePartition, dict[int, set[int]]] = {}
        for topic, partition, hour, count, checksum, promoted, *stored in self._connection.execute(query):
            source = SourcePartition(topic, partition)
            unknown = promoted
            if source in self._logs and not unknown:
                if source not in archived:
                    archived[source] = self._archived_logs(source)
                here = {self._log(source, microseconds(at)) for at in stored}
                unknown = len(here | archived[source].get(hour, set())) > 1
            found.setdefault(source, {})[hour] = (count, _UNKNOWN if unknown else int(checksum) % 2**64)
        return found

    def _log(self, source: SourcePartition, at: int) -> int:
        """Return which log of a partition rows are of that were stored at an instant, counted from 0."""
        return int(np.searchsorted(self._logs[source], at, side="right"))

    def _archived_logs(self, source: SourcePartition) -> dict[int, set[int]]:
        """Return of which logs rows are archived, by hour since the epoch; -1 if that is not known."""
        found: dict[int, set[int]] = {}
        for _, manifest in self._contents.by_source.get(source, ()):
            log = self._log(source, manifest.log.since_us) if manifest.is_slice else -1
            for file in manifest.files:
                for hour in file.hours_since_epoch():
                    found.setdefault(hour, set()).add(log)
        return found

    def _log_beginnings(self) -> dict[SourcePartition, Times]:
        """Return when logs began that were not the first, by the database and by the archive, which may know of more."""
        found: dict[SourcePartition, set[int]] = {}
        for topic, partition, since in self._connection.execute(_LOGS):
            found.setdefault(SourcePartition(topic, partition), set()).add(microseconds(since))
        for _, manifest in self._contents:
            if manifest.log_since is not None:
                found.setdefault(manifest.source, set()).add(microseconds(manifest.log_since))
        return {source: np.array(sorted(times), np.int64) for source, times in found.items()}

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
            there = (Uuids(ids.high[near], ids.low[near]), stored[near])
            here = (rows.ids_of(table), rows.micros(table, "stored_time"))
            lacking = self._lacking(source, *here, *there)
            yield Compared(source, table, lacking, np.isin(here[1], self._promoted))

    def _lacking(
        self, source: SourcePartition, here: Uuids, here_stored: Times, there: Uuids, there_stored: Times
    ) -> npt.NDArray[np.bool_]:
        """Return which rows here are not there.

        What was promoted is another row than what it supersedes, though it has its id; so is what came from another log. Any
        other row may be one that was stored again, at another time, after the database was restored.
        """
        promoted, promoted_there = np.isin(here_stored, self._promoted), np.isin(there_stored, self._promoted)
        lacking = np.empty(len(here_stored), bool)
        plain, plain_there = ~promoted, ~promoted_there
        lacking[promoted] = ~are_among(_of(here, promoted), here_stored[promoted], there, there_stored)
        lacking[plain] = surplus(
            _of(here, plain),
            here_stored[plain],
            _of(there, plain_there),
            there_stored[plain_there],
            self._logs.get(source, np.empty(0, np.int64)),
        )
        return lacking

    def _load(self, file: DataFile) -> files.Ids:
        return files.Ids(files.read(self._place, file, files.Ids.COLUMNS))


def _of(ids: Uuids, chosen: npt.NDArray[np.bool_]) -> Uuids:
    return Uuids(ids.high[chosen], ids.low[chosen])


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
