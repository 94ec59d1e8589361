"""Rows in PostgreSQL's binary COPY format, built column by column.

A column of one width is an array, and neighbours of that kind become one block with their lengths in it, so that the kernel
which interleaves the rows copies few pieces: order columns accordingly. The other columns are a block of bytes with a start
and a length per row.

Format: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01 in ms since 1970


class Fixed(NamedTuple):
    """One column of n rows of one width: their bytes, shape (n, width)."""

    block: npt.NDArray[np.uint8]


class Varying(NamedTuple):
    """One column of n rows: row ``i`` is ``block[starts[i] : starts[i] + lengths[i]]``."""

    block: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


Column = Fixed | Varying


def fixed(values: npt.NDArray[Any], dtype: str) -> Fixed:
    """Return a column of numbers, big-endian.

    Parameters
    ----------
    values
        Shape (n,).
    dtype
        ``>i4``, ``>i8`` or ``>f8`` for int4, int8 or float8.
    """
    block = values.astype(dtype)
    return Fixed(block.view(np.uint8).reshape(len(block), block.dtype.itemsize))


def timestamps(times_ms: npt.NDArray[np.int64]) -> Fixed:
    """Return a timestamptz column of times in ms since the epoch, UTC; shape (n,)."""
    return fixed((times_ms - _POSTGRES_EPOCH_MS) * 1000, ">i8")


def uuids(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> Fixed:
    """Return a uuid column of the high and low 64 bits; shape (n,) each."""
    return Fixed(np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(len(high), 16))


def raw(values: Sequence[bytes]) -> Varying:
    """Return a column of bytes: bytea, json or text in UTF-8."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return Varying(np.frombuffer(b"".join(values), np.uint8), np.cumsum(lengths) - lengths, lengths)


def texts(values: Sequence[str]) -> Varying:
    """Return a text column."""
    joined = "".join(values)
    if not joined.isascii():
        return raw([value.encode() for value in values])
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return Varying(np.frombuffer(joined.encode(), np.uint8), np.cumsum(lengths) - lengths, lengths)


def float_arrays(values: Sequence[Sequence[float]]) -> Varying:
    """Return a float8[] column.

    Examples
    --------
    >>> float_arrays([[1.0], []]).block.tobytes().hex(" ", 4)
    '00000001 00000000 000002bd 00000001 00000001 00000008 3ff00000 00000000 00000000 00000000 000002bd'
    """
    return raw([_float_array(each) for each in values])


_FLOAT8 = 701
"""What the server calls the type of an array's elements."""


def _float_array(values: Sequence[float]) -> bytes:
    head = [1, 0, _FLOAT8, len(values), 1] if values else [0, 0, _FLOAT8]
    elements = np.empty(len(values), [("length", ">i4"), ("value", ">f8")])
    elements["length"], elements["value"] = 8, values
    return np.array(head, ">i4").tobytes() + elements.tobytes()


def constant(value: bytes, n: int) -> Fixed:
    """Return a column that has the same bytes in all n rows."""
    return Fixed(np.broadcast_to(np.frombuffer(value, np.uint8), (n, len(value))))


def int4(value: int) -> bytes:
    """Return a number as int4 for :func:`constant`.

    Examples
    --------
    >>> int4(7).hex()
    '00000007'
    """
    return value.to_bytes(4, "big", signed=True)


def int2(value: int) -> bytes:
    """Return a number as int2 for :func:`constant`."""
    return value.to_bytes(2, "big", signed=True)


def rows(columns: Sequence[Column]) -> bytes:
    """Return all rows of the columns, without header and trailer.

    Examples
    --------
    >>> rows([constant(int4(7), 1), texts(["ab"])]).hex(" ")
    '00 02 00 00 00 04 00 00 00 07 00 00 00 02 61 62'
    """
    pieces: list[Varying] = []
    headed: list[bool] = []
    neighbours: list[Fixed] = []
    for column in [*columns, None]:
        if isinstance(column, Fixed):
            neighbours.append(column)
            continue
        if neighbours:
            pieces.append(_with_lengths(neighbours))
            headed.append(False)
            neighbours = []
        if column is not None:
            pieces.append(column)
            headed.append(True)
    lengths = np.stack([piece.lengths for piece in pieces])
    n = lengths.shape[1]
    bases = np.cumsum([0, *(len(piece.block) for piece in pieces[:-1])])
    starts = np.stack([piece.starts + base for piece, base in zip(pieces, bases, strict=True)])
    out = np.empty(int(lengths.sum()) + n * (2 + 4 * sum(headed)), np.uint8)
    block = np.concatenate([piece.block for piece in pieces])
    _interleave(block, starts, lengths, np.array(headed), len(columns), out)
    return out.tobytes()


def _with_lengths(columns: Sequence[Fixed]) -> Varying:
    """Return neighbours as one piece that has each value's length before it."""
    n = len(columns[0].block)
    widths = [column.block.shape[1] for column in columns]
    # A value is moved as one item, not byte by byte
    fields = [
        (f"length_{i}", ">i4") if of_length else (f"value_{i}", f"V{width}")
        for i, width in enumerate(widths)
        for of_length in (True, False)
    ]
    piece = np.empty(n, np.dtype(fields))
    for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
        piece[f"length_{i}"] = width
        if width:
            piece[f"value_{i}"] = column.block.view(f"V{width}")[:, 0]
    size = piece.dtype.itemsize
    return Varying(piece.view(np.uint8), np.arange(n, dtype=np.int64) * size, np.full(n, size, np.int64))


@njit(cache=True, nogil=True)
def _interleave(
    block: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    headed: npt.NDArray[np.bool_],
    columns: int,
    out: npt.NDArray[np.uint8],
) -> None:
    # Unsigned places: for a signed one the compiler minds that it may count from the end, byte by byte, at forty times the cost
    one = np.uint64(1)
    pieces, n = starts.shape
    at = np.uint64(0)
    for row in range(n):
        out[at], out[at + one] = columns >> 8, columns & 255
        at += one + one
        for piece in range(pieces):
            start, length = np.uint64(starts[piece, row]), np.uint64(lengths[piece, row])
            if headed[piece]:
                for shift in (24, 16, 8, 0):
                    out[at] = (lengths[piece, row] >> shift) & 255
                    at += one
            for i in range(length):
                out[at + i] = block[start + i]
            at += length
