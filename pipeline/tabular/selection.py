"""A table of which somebody names only columns: how it is written, and what its times are, is found out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import Final

from pipeline.core.errors import SettingsError
from pipeline.tabular.cells import NumberReader
from pipeline.tabular.csv_table import CsvTable
from pipeline.tabular.mapping import Column, Layout
from pipeline.tabular.parquet_table import ParquetTable, column_names, is_parquet
from pipeline.tabular.rows import Cell

DELIMITERS = (",", ";", "\t", "|")

_SAMPLE_BYTES = 65_536
_SAMPLE_ROWS = 100
_UNDECODABLE = re.compile("[\udc80-\udcff]")
# Another encoding's letters are passed through: in names and remarks, they are far fewer
_MOST_UNDECODABLE = 0.1
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")

_UNITS: Final = (("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", float("inf")))
"""Units of times that count from the epoch, and below which number they are taken: each until the year 5138."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Columns of a table, which is written in some way.

    Parameters
    ----------
    width
        All so many columns are wanted too, by their numbers from 1 on.
    """

    time: Column
    values: tuple[Column, ...]
    file: Layout
    width: int = 0

    def columns(self) -> dict[str, Column]:
        """Return the columns, by the options that name them."""
        named = {"--time": self.time} | {f"--value {each}": each for each in self.values}
        return named | {f"column {number}": number for number in range(1, self.width + 1)}


def open_columns(
    path: Path, time: str, values: Sequence[str], *, whole: bool
) -> tuple[CsvTable | ParquetTable, Selection]:
    """Open a file of which columns are named: Parquet if it begins as such, else CSV.

    A name that is none of the file's, but a number, is the number of a column, from 1 on.

    Parameters
    ----------
    values
        Names, several in one text with commas between them.
    whole
        Whether all columns are wanted, not only as text.

    Raises
    ------
    SettingsError
        If it cannot be read or lacks a column.
    """
    if is_parquet(path):
        names = column_names(path)
        selection = Selection(_column(time, names), _columns(values, names), Layout())
        return ParquetTable(path, selection, whole=True), selection
    layout, names = _layout(path, time, values)
    width = len(names) if whole else 0
    selection = Selection(_column(time, names), _columns(values, names), layout, width)
    return CsvTable(path, selection), selection


def time_format(cells: Iterable[Cell]) -> str:
    """Return the format that most of some times have: ``iso``, or the unit of numbers since the epoch.

    Examples
    --------
    >>> time_format(["2026-11-21 22:00:00", "", "7"]), time_format(["1790000000", "1790000060.5"]), time_format([0, 1, 2])
    ('iso', 's', 's')
    >>> time_format([1_790_000_000_000]), time_format(["1790000000000000000"])
    ('ms', 'ns')
    """
    given = [cell for cell in cells if cell not in (None, "")]
    numbers = [abs(value) for value in NumberReader(Layout()).read(given, "").values if value is not None]
    if 2 * len(numbers) <= len(given):
        return "iso"
    usual = median_low(numbers)
    return next(unit for unit, end in _UNITS if usual < end)


def _layout(path: Path, time: str, values: Sequence[str]) -> tuple[Layout, list[str]]:
    """Return how a CSV file is written, and its header: by the delimiter with which it has the columns."""
    sample = _sample(path)
    found = {delimiter: _rows(sample, delimiter) for delimiter in DELIMITERS}
    headers = {delimiter: rows[0] for delimiter, rows in found.items() if rows}
    if not headers:
        raise SettingsError(f"{path} is empty; its first row has to name the columns")
    fitting = [delimiter for delimiter, header in headers.items() if _has(header, time, values)]
    best = fitting[0] if fitting else max(headers, key=lambda delimiter: len(headers[delimiter]))
    names = headers[best]
    places = (
        [names.index(each) if isinstance(each, str) else each - 1 for each in _columns(values, names)]
        if fitting
        else []
    )
    cells = [row[at] for row in found[best][1:] for at in places if at < len(row)]
    comma = best != "," and any(map(_DECIMAL_COMMA.fullmatch, cells)) and not any("." in cell for cell in cells)
    return Layout(delimiter=best, decimal="," if comma else "."), names


def _sample(path: Path) -> str:
    try:
        with path.open("rb") as file:
            sample = file.read(_SAMPLE_BYTES)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    if sample.startswith(_UTF_16):
        raise SettingsError(f"{path} is UTF-16; save it as UTF-8")
    text = sample.decode("utf-8-sig", errors="surrogateescape")
    if b"\0" in sample.partition(b"\n")[0] or len(_UNDECODABLE.findall(text)) > _MOST_UNDECODABLE * len(text):
        raise SettingsError(f"{path} is neither CSV in UTF-8 nor Parquet; save it as one of them")
    return text


def _rows(sample: str, delimiter: str) -> list[list[str]]:
    """Return the first rows that are not empty."""
    try:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        return list(islice((row for row in reader if row), _SAMPLE_ROWS))
    except csv.Error:
        return []


def _has(names: Sequence[str], time: str, values: Sequence[str]) -> bool:
    """Return whether a header has all columns."""
    wanted = (_column(time, names), *_columns(values, names))
    return all(each in names if isinstance(each, str) else each <= len(names) for each in wanted)


def _columns(texts: Sequence[str], names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns that texts name; a comma stands between two, unless it is part of a name."""
    parts = [part.strip() for text in texts for part in ([text] if text in names else text.split(","))]
    return tuple(dict.fromkeys(_column(part, names) for part in parts))


def _column(text: str, names: Sequence[str]) -> Column:
    is_number = text not in names and text.isdecimal() and int(text) > 0
    return int(text) if is_number else text
