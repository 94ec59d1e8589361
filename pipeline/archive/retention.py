"""What of ``event`` is old enough goes, once the archive is seen to have it.

A partition is compared with the archive while it is in use, which may take long; then taken out of ``event``, which takes a
moment; then compared once more, when nobody can write to it any more; what came in between is archived from there; then it
is dropped. Killed anywhere, the next run goes on with what was taken out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.archive import files, manifests
from pipeline.archive.ages import delete_older, mark
from pipeline.archive.archiving import remainders
from pipeline.archive.comparing import Comparison, HourSums, Rows, day_of
from pipeline.archive.partitions import DEFAULT, Bounded, bounded, drop, retire, retired
from pipeline.archive.place import Place
from pipeline.archive.rows import chosen, micros
from pipeline.archive.writing import Writer
from pipeline.core.errors import ArchiveDamaged, DatabaseUnavailable
from pipeline.core.records import SourcePartition

Connection = psycopg.Connection[Any]

# State that was not kept yet is folded again from these, should the log have lost them
_NOT_KEPT = """
SELECT DISTINCT p.consumer_group, p.topic, p.partition
FROM (
    SELECT source_topic, source_partition, stored_time, max(source_offset) AS last FROM {relation} WHERE {condition}
    GROUP BY 1, 2, 3
) AS e
JOIN source_progress AS p ON p.topic = e.source_topic AND p.partition = e.source_partition
LEFT JOIN partition_snapshot AS s
    ON s.cluster = p.cluster AND s.consumer_group = p.consumer_group AND s.topic = p.topic AND s.partition = p.partition
    AND s.fold_version > 0
WHERE e.stored_time >= COALESCE(p.log_since, '-infinity') AND e.last >= LEAST(COALESCE(s.snapshot_offset, 0), p.windows_next)
ORDER BY 1, 2, 3 LIMIT 1
"""

_DELETE = """
DELETE FROM event_default AS e
USING unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[]) AS known (event_id, event_time, stored_time)
WHERE e.event_id = known.event_id AND e.event_time = known.event_time AND e.stored_time = known.stored_time
  AND e.source_topic = %s AND e.source_partition = %s
  AND e.source_offset BETWEEN %s AND %s AND e.event_time BETWEEN %s AND %s
"""
# Pages that these were not told of would be gone through every time
_SUMMARIZE = f"""
SELECT brin_summarize_new_values(i.indexrelid)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
WHERE i.indrelid = '{DEFAULT}'::regclass AND a.amname = 'brin'
"""
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of rows that are old enough, or would become.

    Parameters
    ----------
    what
        Partition or table.
    rows
        How many rows are too old.
    dropped
        Whether they went; in a dry run, whether they would.
    reason
        Why they stay; empty else.
    """

    what: str
    rows: int
    dropped: bool
    reason: str = ""


class Retention:
    """Drops what of ``event`` is too old.

    Parameters
    ----------
    guard, reading
        Two connections in autocommit mode of a user who owns the tables; the first holds the lock of
        :func:`pipeline.archive.writing.alone`.
    place
        The archive; ``None``: drop without one.
    thorough
        Whether files are read again, and not only looked for.
    """

    def __init__(self, guard: Connection, reading: Connection, place: Place | None, *, thorough: bool = False) -> None:
        self._guard, self._reading, self._place, self._thorough = guard, reading, place, thorough
        if place is not None:
            self._contents = manifests.load(place)
            self._writer = Writer(guard, place, self._contents)
            self._comparison = Comparison(reading, place, self._contents)

    def apply(self, before: dt.datetime, *, dry_run: bool = False) -> Iterator[Verdict]:
        """Drop events whose time is before an instant; yield what became of each partition."""
        if self._place is not None and not dry_run:
            self._writer.clean()
        for name in retired(self._guard):
            yield self._finish(name, name, dry_run=dry_run)
        for partition in bounded(self._guard):
            if partition.high <= before:
                yield self._partition(partition, dry_run=dry_run)
        yield from self._default(before, dry_run=dry_run)

    def _partition(self, partition: Bounded, *, dry_run: bool) -> Verdict:
        name = partition.name
        verdict = self._judge(name, Rows(name))
        if not verdict.dropped or dry_run:
            return verdict
        # Before it is gone, so that whoever misses it knows; a late row may yet come to an empty one
        mark(self._guard, "event", partition.high, for_good=self._place is None)
        try:
            out = retire(self._guard, name)
        except DatabaseUnavailable as error:
            return replace(verdict, dropped=False, reason=str(error))
        return self._finish(out, name, dry_run=False)

    def _finish(self, name: str, called: str, *, dry_run: bool) -> Verdict:
        """Drop a table that was taken out, after what the archive lacks of it was archived."""
        verdict = self._judge(called, Rows(name), taken_out=True, dry_run=dry_run)
        if verdict.dropped and not dry_run:
            drop(self._guard, name)
        return verdict

    def _judge(self, called: str, rows: Rows, *, taken_out: bool = False, dry_run: bool = True) -> Verdict:
        """Say whether rows may go.

        Parameters
        ----------
        taken_out
            Whether nobody can add to them any more: what the archive lacks of them is then archived, but in a dry run.
        """
        if self._place is None:
            count = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(rows.relation), rows.condition)
            row, reason = self._guard.execute(count).fetchone(), self._not_kept(rows)
            return Verdict(called, row[0] if row else 0, not reason, reason)
        sums = self._comparison.sums(rows)
        total = sum(count for of_hours in sums.values() for count, _ in of_hours.values())
        try:
            lacking = self._lacking(rows, sums, add=taken_out and not dry_run)
            if lacking and not taken_out:
                reason = f"{lacking} row(s) are not archived: run `pipeline archive --compare`"
                return Verdict(called, total, False, reason)
            self._require_files(self._place, sums)
        except ArchiveDamaged as error:
            return Verdict(called, total, False, str(error))
        return Verdict(called, total, True)

    def _lacking(self, rows: Rows, sums: HourSums, *, add: bool) -> int:
        """Return how many rows the archive lacked; ``add`` them to it."""
        lacking = 0
        for source, table in remainders(self._comparison.where_unequal(rows, sums), self._contents, []):
            lacking += len(table)
            if add:
                self._writer.add_remainder(source, table)
        return lacking

    def _require_files(self, place: Place, sums: HourSums) -> None:
        for source, of_hours in sums.items():
            days = {day_of(hour) for hour in of_hours}
            for _, file in self._contents.files(source, 0, 2**63):
                if file.day in days:
                    (files.check if self._thorough else files.require)(place, file)

    def _not_kept(self, rows: Rows) -> str:
        query = sql.SQL(_NOT_KEPT).format(relation=sql.Identifier(rows.relation), condition=rows.condition)
        found = self._guard.execute(query).fetchone()
        if found is None:
            return ""
        return (
            f"the state of {SourcePartition(*found[1:])} that the group {found[0]} keeps does not contain all of them yet: let"
            " its worker keep it, or delete the row of source_progress of a group that is no more"
        )

    def _default(self, before: dt.datetime, *, dry_run: bool) -> Iterator[Verdict]:
        """Delete old rows of the default partition, which cannot be dropped: exactly those that the archive has."""
        old = Rows(DEFAULT, sql.SQL("event_time < {}").format(sql.Literal(before)))
        verdict = self._judge(f"{DEFAULT}, rows before the limit", old)
        if not verdict.rows:
            return
        if verdict.dropped and not dry_run:
            mark(self._guard, "event", before, for_good=self._place is None)
            if self._place is None:
                delete_older(self._guard, DEFAULT, "event_time", before)
            else:
                try:
                    self._delete_archived(old)
                except ArchiveDamaged as error:
                    verdict = replace(verdict, dropped=False, reason=str(error))
        yield verdict

    def _delete_archived(self, old: Rows) -> None:
        self._guard.execute(_SUMMARIZE)
        for source, table, lacking, _ in self._comparison.all_rows(old, self._comparison.sums(old)):
            known = chosen(table, ~lacking)
            for at in range(0, len(known), _ROWS_AT_ONCE):
                self._delete(source, known.slice(at, _ROWS_AT_ONCE))

    def _delete(self, source: SourcePartition, known: pa.Table) -> None:
        ids, offsets = known["event_id"].to_pylist(), known["source_offset"]
        times, stored = (list(map(_time, micros(known, name).tolist())) for name in ("event_time", "stored_time"))
        bounds = (offsets[0].as_py(), offsets[-1].as_py(), min(times), max(times))
        with self._guard.transaction():
            # By the indexes, also as long as nobody has analysed the table, and by a plan that knows the bounds
            self._guard.execute("SET LOCAL enable_seqscan = off")
            self._guard.execute(_DELETE, [ids, times, stored, *source, *bounds], prepare=False)


def _time(us: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)
