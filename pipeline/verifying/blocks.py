"""Columns from CSV, a block at a time: what the database copies out and what a ledger holds are read alike."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, LiteralString

import numpy as np
import pyarrow as pa
from pyarrow import csv

from pipeline.store.connect import Connection
from pipeline.verifying.spill import Array

BLOCK_BYTES = 1 << 24

NAME = pa.dictionary(pa.int32(), pa.string())
WHOLE = pa.int64()
NUMBER = pa.float64()
RAW = pa.binary()


class Names:
    """Numbers for texts, in order of first sight."""

    def __init__(self) -> None:
        self.texts: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, text: Any) -> int:
        """Return the number of a text, or of anything that can be looked up."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def find(self, text: Any) -> int:
        """Return the number of a text, -1 if it was not seen."""
        return self._numbers.get(text, -1)

    def column(self, column: Any) -> Array:
        """Return the numbers of a column of type :data:`NAME`, shape (n,)."""
        parts = [
            np.array([self.number(text) for text in chunk.dictionary.to_pylist()], np.int32)[chunk.indices.to_numpy()]
            for chunk in column.chunks
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)


def copied(
    connection: Connection, statement: LiteralString, parameters: Mapping[str, Any]
) -> Iterator[tuple[bytes, int]]:
    """Yield what a COPY … TO STDOUT in CSV gives, whole rows, some at a time, with how many they are."""
    parts: list[bytes] = []
    held = 0
    with connection.cursor() as cursor, cursor.copy(statement, parameters) as copy:
        for row in copy:
            parts.append(bytes(row))
            held += len(row)
            if held >= BLOCK_BYTES:
                yield b"".join(parts), len(parts)
                parts, held = [], 0
    if parts:
        yield b"".join(parts), len(parts)


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the complete lines of a file, some at a time; a last line without its end is left out."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        complete, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield complete + newline


def tables(blocks: Iterable[bytes], columns: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Yield blocks of whole CSV rows as columns.

    Raises
    ------
    ValueError
        If a row has another number of columns, or a value is of another type.
    """
    for block in blocks:
        yield csv.read_csv(
            io.BytesIO(block),
            # One chunk, so that each name is looked up once a block
            read_options=csv.ReadOptions(column_names=list(columns), block_size=len(block) + 1, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=dict(columns), null_values=[""], strings_can_be_null=False, true_values=["t"],
                false_values=["f"],
            ),
        )  # fmt: skip


def whole(column: Any, absent: int) -> Array:
    """Return a column of whole numbers or truths, shape (n,), with a number for what is absent."""
    filled: Array = (column.fill_null(absent) if column.null_count else column).to_numpy()
    return filled
