"""A table's rows once more, as CSV or Parquet, each with its score and whether it is an anomaly."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.core.errors import SettingsError
from pipeline.tabular.csv_table import CsvTable
from pipeline.tabular.parquet_table import ParquetTable
from pipeline.tabular.rows import Chunk, Reject
from pipeline.tabular.selection import Selection

ENDINGS = (".csv", ".parquet")
"""What the name of a file may end with that is written."""

ADDED = ("score", "is_anomaly")
"""Columns that are added behind the others."""

_BOM: Final = b"\xef\xbb\xbf"
_GROUP_ROWS = 131_072

T = TypeVar("T")


class Writer(Protocol):
    """Writes rows with what is said of them."""

    def write(self, chunk: Chunk, scores: npt.NDArray[np.float64], anomalies: npt.NDArray[np.bool_]) -> None:
        """Write a chunk's rows and, in their places among them, those that cannot be taken apart, which have no score.

        Parameters
        ----------
        scores, anomalies
            Of the chunk's rows, shape (n,); a score that is NaN is none.
        """

    def finish(self) -> None:
        """Write what still waits."""


@contextmanager
def writing(out: Path, file: Path, table: CsvTable | ParquetTable, selection: Selection) -> Iterator[Writer]:
    """Give what writes a table's rows; the file is there, whole, once the block has ended, and not at all if it fails.

    Parameters
    ----------
    out
        Where to; by its ending, CSV or Parquet.
    file
        Which the table is of.

    Raises
    ------
    SettingsError
        If it cannot be written, or the table has a column by the name of one that is added.
    """
    new = out.with_name(f"{out.name}.{os.getpid()}.new")
    with _told(out):
        target = new.open("xb")
    try:
        with target:
            writer = _writer(target, out, file, table, selection)
            yield writer
            with _told(out):
                writer.finish()
                target.flush()
        with _told(out):
            new.replace(out)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Say in one line why a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"--out {out} cannot be written: {error.strerror or error}") from error
    except pa.ArrowException as error:
        said = " ".join(str(error).split())[:200]
        raise SettingsError(f"--out {out} cannot hold a column: {said}; the other format may") from error


def _writer(target: BinaryIO, out: Path, file: Path, table: CsvTable | ParquetTable, selection: Selection) -> Writer:
    to_csv = out.suffix.lower() == ".csv"
    if isinstance(table, ParquetTable):
        _check_names(file, table.schema.names)
        return _Columns(target, out, table.schema, lambda chunk: chunk.batch.columns, to_csv=to_csv)
    (header,) = _fields(table.head, selection.file.delimiter)
    _check_names(file, header)
    if to_csv:
        with file.open("rb") as begin:
            bom = begin.read(len(_BOM)) == _BOM
        return _Lines(target, out, table.head, selection.file.delimiter, len(header), bom=bom)
    schema = pa.schema([(name, pa.string()) for name in header])
    return _Columns(target, out, schema, lambda chunk: _texts(chunk, len(header)), to_csv=False)


def _check_names(file: Path, names: Sequence[str]) -> None:
    for name in ADDED:
        if name in names:
            raise SettingsError(f"{file} has a column {name!r}, which would be there twice; rename it")


def _fields(text: str, delimiter: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]


class _Lines:
    """CSV as it was, with two more fields in each row."""

    def __init__(self, target: BinaryIO, out: Path, head: str, between: str, width: int, *, bom: bool) -> None:
        self._target, self._out, self._between, self._width = target, out, between, width
        names = head.lstrip("\r\n").rstrip("\r\n")
        self._end = head[len(head.rstrip("\r\n")) :] or "\n"
        self._add([self._between.join((names, *ADDED))], _BOM if bom else b"")

    def write(self, chunk: Chunk, scores: npt.NDArray[np.float64], anomalies: npt.NDArray[np.bool_]) -> None:
        between, row = self._between, chunk.as_it_was
        said = [f"{between}{'' if score != score else score}" for score in scores.tolist()]  # noqa: PLR0124  # NaN
        lines = [f"{row(i)}{said[i]}{between}{anomaly:d}" for i, anomaly in enumerate(anomalies.tolist())]
        self._add(_in_order(chunk, lines, self._unscored))

    def _unscored(self, reject: Reject) -> str:
        """Return a row that cannot be taken apart, with as many fields as the header has if it has fewer."""
        fields = _fields(reject.row, self._between) if reject.reason == "wrong_field_count" else []
        missing = max(self._width - len(fields[0]), 0) if len(fields) == 1 else 0
        return f"{reject.row}{self._between * (missing + 1)}{self._between}0"

    def _add(self, lines: Sequence[str], before: bytes = b"") -> None:
        text = "".join(f"{line}{self._end}" for line in lines)
        with _told(self._out):
            self._target.write(before + text.encode(errors="surrogateescape"))

    def finish(self) -> None:
        """Nothing waits."""


class _Columns:
    """Columns of Arrow and two more, as Parquet or CSV."""

    def __init__(
        self, target: BinaryIO, out: Path, schema: Any, columns: Callable[[Chunk], Sequence[Any]], *, to_csv: bool
    ) -> None:
        self._out, self._columns = out, columns
        self._schema = schema.append(pa.field(ADDED[0], pa.float64())).append(pa.field(ADDED[1], pa.int8()))
        self._waiting: list[Any] = []
        with _told(out):
            self._file = (pacsv.CSVWriter if to_csv else pq.ParquetWriter)(target, self._schema)

    def write(self, chunk: Chunk, scores: npt.NDArray[np.float64], anomalies: npt.NDArray[np.bool_]) -> None:
        said = [None if score != score else score for score in scores.tolist()]  # noqa: PLR0124  # NaN
        added = (
            pa.array(_in_order(chunk, said, lambda _: None), pa.float64()),
            pa.array(_in_order(chunk, anomalies.tolist(), lambda _: False), pa.bool_()).cast(pa.int8()),
        )
        self._waiting.append(pa.record_batch([*self._columns(chunk), *added], schema=self._schema))
        # A group of rows for every chunk would be many
        if sum(each.num_rows for each in self._waiting) >= _GROUP_ROWS:
            self._write_waiting()

    def _write_waiting(self) -> None:
        with _told(self._out):
            self._file.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting.clear()

    def finish(self) -> None:
        self._write_waiting()
        with _told(self._out):
            self._file.close()


def _texts(chunk: Chunk, width: int) -> list[Any]:
    """Return the cells of CSV as columns of text; a row that cannot be taken apart is in the first of them alone."""
    columns = []
    for at in range(width):
        cells = _in_order(chunk, list(chunk.columns[at + 1]), lambda reject, at=at: None if at else reject.row)  # type: ignore[misc]  # bound now
        columns.append(pa.array(map(_unicode, cells), pa.string()))
    return columns


def _unicode(cell: Any) -> str | None:
    """Return text that every format takes: bytes that are no UTF-8 are shown by their numbers."""
    return None if cell is None else str(cell).encode(errors="backslashreplace").decode()


def _in_order(chunk: Chunk, rows: list[T], made: Callable[[Reject], T]) -> list[T]:
    """Return what is said of a chunk's rows, and between them what is made of those that cannot be taken apart."""
    if not chunk.rejects:
        return rows
    placed = [*zip(chunk.places, rows, strict=True), *((reject.place, made(reject)) for reject in chunk.rejects)]
    return [row for _, row in sorted(placed, key=itemgetter(0))]
