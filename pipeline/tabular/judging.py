"""From a table to accepted messages and rejects: every row is judged by the codec that judges a worker's records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.decoding.codec import decode
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.records import Record
from pipeline.tabular.candidates import Builder, Candidates, HeadReader, WideBuilder
from pipeline.tabular.csv_table import CsvTable
from pipeline.tabular.long import LongBuilder
from pipeline.tabular.mapping import Mapping
from pipeline.tabular.parquet_table import ParquetTable, is_parquet
from pipeline.tabular.rows import Reject


@dataclass(slots=True)
class Judged:
    """A stretch of a file: its messages, column by column, and its rejects.

    Parameters
    ----------
    places
        Of each message's first row, as in :class:`pipeline.tabular.rows.Reject`.
    times_ms
        Event times, ms since the epoch, UTC.
    machine_ids, bodies
        Keys and bodies of the messages' records.
    rejects
        By place.
    rows
        How many rows the stretch has.
    """

    places: list[int]
    times_ms: list[int]
    machine_ids: list[str]
    bodies: list[bytes]
    rejects: list[Reject]
    rows: int = 0


def open_table(path: Path, mapping: Mapping) -> CsvTable | ParquetTable:
    """Open a file: Parquet if it begins as such, else CSV.

    Raises
    ------
    SettingsError
        If it cannot be read or lacks a column.
    """
    return ParquetTable(path, mapping) if is_parquet(path) else CsvTable(path, mapping)


def judge(
    table: CsvTable | ParquetTable, mapping: Mapping, rules: CodecRules, seq_base: int, now_ms: int
) -> Iterator[Judged]:
    """Yield a table stretch by stretch; each row is in one message or one reject.

    Parameters
    ----------
    seq_base
        As in :class:`pipeline.tabular.candidates.HeadReader`.
    now_ms
        Against which times in the future are judged, ms since the epoch, UTC.
    """
    heads = HeadReader(mapping, table.instants, seq_base)
    make: Builder = WideBuilder(mapping, heads)
    if mapping.long is not None:
        make = LongBuilder(mapping, mapping.long, heads, rules)
    for chunk in table.chunks():
        judged = _judged(make.build(chunk), rules, now_ms)
        judged.rows = len(chunk.places) + len(chunk.rejects)
        judged.rejects += chunk.rejects
        judged.rejects.sort()
        yield judged
    yield _judged(make.finish(), rules, now_ms)


def _judged(candidates: Candidates, rules: CodecRules, now_ms: int) -> Judged:
    bodies, times, rows = candidates.bodies, candidates.times_ms, candidates.rows
    # The record's time, as it will be when the broker keeps the producer's: nothing is appended before it was
    record_times = [min(max(at, 0), now_ms) for at in times]
    columns, letters = decode(list(map(Record, range(len(bodies)), record_times, bodies)), rules, {})
    judged = Judged(
        [rows(i)[0].place for i in columns.offsets.tolist()],
        columns.times_ms.tolist(),
        columns.machine_ids,
        columns.bodies,
        candidates.rejects,
    )
    for letter in letters:
        bad = str(letter.reason), letter.detail
        judged.rejects += [row.refused(bad) for row in rows(letter.offset)]
    return judged
