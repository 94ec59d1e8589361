"""A simulator's ledger, read a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.core.errors import SettingsError
from pipeline.verifying.blocks import NAME, RAW, WHOLE, lines, tables
from pipeline.verifying.queries import COLUMNS
from pipeline.verifying.spill import Array

_HEADER = COLUMNS.encode() + b"\n"
_TYPES = dict.fromkeys(COLUMNS.split(","), WHOLE) | {
    "topic": NAME,
    "kind": NAME,
    "fault": RAW,
    "machine_id": NAME,
    "factory_id": NAME,
    "anomalies": RAW,
    "readings": RAW,
}
_REQUIRED = ("topic", "partition", "offset", "index", "kind", "machine_id", "event_time_ms", "anomalies", "readings")
_NOTHING_ODD = b"[]"


class _Odd(msgspec.Struct, gc=False):
    sensor: str
    kind: str


class Readings(NamedTuple):
    """The readings of n messages.

    Parameters
    ----------
    sensors
        Names of each message's readings, n of them.
    values
        All of them, one message after the other.
    counts
        How many each message has; shape (n,).
    """

    sensors: list[tuple[str, ...]]
    values: Array
    counts: Array


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a ledger after its header.

    Raises
    ------
    SettingsError
        If it cannot be read, is empty or no ledger.
    """
    try:
        with path.open("rb") as file:
            header = file.readline()
            if header and header != _HEADER:
                raise SettingsError(f"{path} is not a ledger: its first line is not {COLUMNS}")
            if not file.peek(1):
                raise SettingsError(f"the ledger {path} has no rows: nothing was sent yet")
            yield file
    except OSError as error:
        raise SettingsError(f"the ledger {path} cannot be read: {error.strerror}") from error


def topics(path: Path) -> list[str]:
    """Return the topics of a ledger; raises as :func:`blocks` does."""
    found: set[str] = set()
    for _, table in blocks(path):
        for chunk in table.column("topic").chunks:
            found.update(chunk.dictionary.to_pylist())
    return sorted(found)


def blocks(path: Path) -> Iterator[tuple[int, pa.Table]]:
    """Yield the complete rows of a ledger, some at a time, with the number of the first one's line.

    Raises
    ------
    SettingsError
        If it is absent, empty or no ledger.
    """
    first = 2
    with opened(path) as file:
        try:
            for table in tables(lines(file), _TYPES):
                for name in _REQUIRED:
                    if table.column(name).null_count:
                        row = table.column(name).is_null().to_pylist().index(True)
                        raise SettingsError(f"{path} is not a ledger: line {first + row} has no {name}")
                yield first, table
                first += table.num_rows
        except pa.ArrowInvalid as error:
            said = " ".join(str(error).split())[:200]
            raise SettingsError(f"{path} is not a ledger: after line {first - 1}: {said}") from error
    if first == 2:
        raise SettingsError(f"the ledger {path} has no rows: nothing was sent yet")


def readings(path: Path, first: int, table: pa.Table) -> Readings:
    """Return what the messages of a block read."""
    found = _decoded(path, first, table.column("readings").to_pylist(), "readings", dict[str, float])
    counts = np.fromiter(map(len, found), np.int64, len(found))
    values = np.fromiter(chain.from_iterable(map(dict.values, found)), np.float64, int(counts.sum()))
    return Readings(list(map(tuple, found)), values, counts)


def anomalies(path: Path, first: int, table: pa.Table) -> tuple[Array, list[tuple[str, str]]]:
    """Return the readings of a block that the plant made odd: the row of each, shape (n,), with sensor and kind."""
    texts = table.column("anomalies").to_pylist()
    rows = [row for row, text in enumerate(texts) if text != _NOTHING_ODD]
    said = _decoded(path, first, texts, "anomalies", list[_Odd], rows)
    of = np.repeat(np.array(rows, np.int64), np.fromiter(map(len, said), np.int64, len(said)))
    return of, [(each.sensor, each.kind) for some in said for each in some]


def _decoded(
    path: Path, first: int, texts: Sequence[Any], column: str, wanted: Any, rows: Sequence[int] | None = None
) -> list[Any]:
    """Return the JSON of a column, of all rows or of some."""
    decode = msgspec.json.Decoder(wanted).decode
    places = range(len(texts)) if rows is None else rows
    found: list[Any] = []
    try:
        found.extend(decode(texts[row]) for row in places)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        line = first + places[len(found)]
        raise SettingsError(f"{path} is not a ledger: line {line}: {column}: {error}") from error
    return found
