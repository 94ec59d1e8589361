"""Parquet: rows by number, a stretch of a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.tabular.mapping import Column, Wanted, positions
from pipeline.tabular.rows import CHUNK_ROWS, Cell, Chunk

_MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Return whether a file begins as Parquet does.

    Raises
    ------
    SettingsError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def column_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns; raises :class:`SettingsError` if it is none."""
    with _opened(path) as file:
        names: list[str] = file.schema_arrow.names
        return names


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise SettingsError(f"{path} cannot be read as Parquet: {_said(error)}") from error


class ParquetTable:
    """A Parquet file, of which the columns that are wanted are read once, in bounded memory.

    Times of Parquet's own types become ISO 8601, with Z if their type has a zone. What is nested is text, and no reading.

    Parameters
    ----------
    path
        The file.
    wanted
        Which columns are wanted.
    whole
        Whether chunks also have all columns as they are.

    Attributes
    ----------
    schema
        All columns' names and types, as Arrow has them.

    Raises
    ------
    SettingsError
        If it is no Parquet or lacks a column.
    """

    def __init__(self, path: Path, wanted: Wanted, *, whole: bool = False) -> None:
        self._file, self._path, self._whole = _opened(path), path, whole
        self.schema = schema = self._file.schema_arrow
        self._wanted = positions(wanted, schema.names, path)
        times = [column for column, at in self._wanted.items() if pa.types.is_timestamp(schema.types[at])]
        self.instants: frozenset[Column] = frozenset(times)
        self.total = self._file.metadata.num_rows
        self.done = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows, in order.

        Raises
        ------
        PipelineError
            If the file is damaged; the text says behind which row.
        """
        names = self._file.schema_arrow.names
        wanted = sorted(set(self._wanted.values()))
        read = None if self._whole else [names[at] for at in wanted]
        try:
            for batch in self._file.iter_batches(CHUNK_ROWS, columns=read):
                found = [batch.columns[at] for at in wanted] if self._whole else batch.columns
                cells = dict(zip(wanted, map(_cells, found), strict=True))
                places = range(self.done + 1, self.done + batch.num_rows + 1)
                self.done += batch.num_rows
                columns = {column: cells[at] for column, at in self._wanted.items()}
                yield Chunk(
                    places,
                    columns,
                    lambda i, cells=cells: _row(names, cells, i),  # type: ignore[misc]  # bound now
                    batch=batch if self._whole else None,
                )
        except (OSError, pa.ArrowException) as error:
            raise PipelineError(f"{self._path} is damaged behind row {self.done}: {_said(error)}") from error


def _cells(column: Any) -> Sequence[Cell]:
    """Return a column as text, numbers and nothing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _iso(column)
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        column = pc.cast(column, pa.float64())
    try:
        plain = column.to_pylist()
    except UnicodeDecodeError:
        plain = column.cast(pa.large_binary()).to_pylist()
    return [_plain(each) for each in plain] if not _is_plain(kind) or bytes in set(map(type, plain)) else plain


def _is_plain(kind: Any) -> bool:
    """Return whether values of a type are text or numbers for Python too."""
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
    )
    return any(test(kind) for test in tests)


def _plain(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _iso(column: Any) -> list[str | None]:
    """Return times as text, to the millisecond, rounded down."""
    unit, zone = column.type.unit, "Z" if column.type.tz is not None else ""
    counts = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    texts = np.datetime_as_string(counts.astype(f"datetime64[{unit}]"), unit="ms").tolist()
    valid = column.is_valid().to_pylist()
    return [text + zone if there else None for text, there in zip(texts, valid, strict=True)]


def _row(names: Sequence[str], cells: dict[int, Sequence[Cell]], i: int) -> str:
    """Return the wanted columns of a row as JSON."""
    found = {names[at]: column[i] for at, column in cells.items()}
    # Text that is no UTF-8 is shown by its bytes' numbers
    plain = {
        name: cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
        for name, cell in found.items()
    }
    return orjson.dumps(plain, default=str).decode()


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
