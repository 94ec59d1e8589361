"""From rows to candidates: bodies of messages, which the codec has not judged yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import orjson

from pipeline.core.checks import shown
from pipeline.tabular.cells import Bad, NumberReader, TimeReader, text, whole_number
from pipeline.tabular.mapping import Column, Given, Mapping
from pipeline.tabular.rows import Cell, Chunk, Reject

NO_READING: Final = "no_reading"


class Row(NamedTuple):
    """A row of a chunk, by its number there."""

    chunk: Chunk
    number: int

    @property
    def place(self) -> int:
        """Where it stands in the file."""
        return self.chunk.places[self.number]

    def refused(self, bad: Bad) -> Reject:
        """Return the row as one that becomes no message."""
        return Reject(self.place, *bad, self.chunk.as_it_was(self.number))


@dataclass(slots=True)
class Candidates:
    """Bodies that may be messages, all of length n but ``rejects``.

    Parameters
    ----------
    bodies
        JSON in UTF-8.
    times_ms
        Event times, ms since the epoch, UTC.
    rows
        Returns the rows that one was made of.
    rejects
        Rows that are in none of them.
    """

    bodies: list[bytes]
    times_ms: list[int]
    rows: Callable[[int], Sequence[Row]]
    rejects: list[Reject] = field(default_factory=list)


class Builder(Protocol):
    """Makes candidates of rows."""

    def build(self, chunk: Chunk) -> Candidates:
        """Return the candidates of the next rows."""

    def finish(self) -> Candidates:
        """Return what still waited for more rows."""


@dataclass(slots=True)
class Heads:
    """What messages have beside their readings, all of length n; where ``bad`` says what is wrong, the rest means nothing.

    Parameters
    ----------
    times
        ISO 8601, for ``times_ms``.
    """

    factory_ids: Sequence[str | None]
    machine_ids: Sequence[str | None]
    machine_types: Sequence[str | None]
    times_ms: list[int]
    times: list[str]
    seqs: list[int]
    bad: dict[int, Bad]

    def message(self, i: int, readings: dict[str, float]) -> dict[str, Any]:
        """Return a canonical message."""
        return {
            "type": "machine",
            "factory_id": self.factory_ids[i],
            "machine_id": self.machine_ids[i],
            "machine_type": self.machine_types[i],
            "time": self.times[i],
            "seq": self.seqs[i],
            "readings": readings,
        }


class HeadReader:
    """Reads what messages have beside their readings.

    Parameters
    ----------
    instants
        Columns whose times are ISO 8601 in any case.
    seq_base
        A row without a sequence number of its own gets this plus its place, so it has the same one whenever it is read.
    """

    def __init__(self, mapping: Mapping, instants: frozenset[Column], seq_base: int) -> None:
        self._mapping, self._seq_base = mapping, seq_base
        self._iso = mapping.time.column in instants
        self._times = TimeReader(mapping.time)

    def read(self, chunk: Chunk) -> Heads:
        """Return the heads of all rows."""
        mapping, count = self._mapping, len(chunk.places)
        times = self._times.read(chunk.columns[mapping.time.column], iso=self._iso)
        bad = dict(times.bad)
        return Heads(
            _texts(mapping.factory_id, chunk, count),
            _texts(mapping.machine_id, chunk, count),
            _texts(mapping.machine_type, chunk, count),
            times.ms.tolist(),
            np.datetime_as_string(times.ms.astype("datetime64[ms]"), timezone="UTC").tolist(),
            self._seqs(chunk, bad),
            bad,
        )

    def _seqs(self, chunk: Chunk, bad: dict[int, Bad]) -> list[int]:
        seqs = [self._seq_base + place for place in chunk.places]
        if self._mapping.seq is not None:
            for i, cell in enumerate(chunk.columns[self._mapping.seq.column]):
                # A cell that is not equal to itself is NaN, which is what an empty one of a column of numbers often is
                if cell is None or cell == "" or cell != cell:  # noqa: PLR0124
                    continue
                number = whole_number(cell)
                if number is None:
                    bad.setdefault(i, ("not_a_number", f"seq is {shown(cell)}; a whole number is expected"))
                else:
                    seqs[i] = number
        return seqs


class WideBuilder:
    """Makes a message of every row; a cell without a reading is left out of it."""

    def __init__(self, mapping: Mapping, heads: HeadReader) -> None:
        self._heads, self._numbers = heads, NumberReader(mapping.file)
        self._sensors = [
            (name, each, each.column) for name, each in mapping.readings.items() if each.column is not None
        ]
        self._names = [name for name, _, _ in self._sensors]

    def build(self, chunk: Chunk) -> Candidates:
        """Return a candidate for each row that has a reading and nothing unreadable."""
        heads = self._heads.read(chunk)
        readings = self._readings(chunk, heads.bad)
        numbers: Sequence[int] = range(len(readings))
        if heads.bad:
            numbers = [i for i in numbers if i not in heads.bad]
        bodies = written([heads.message(i, readings[i]) for i in numbers])
        if None in bodies:
            heads.bad |= {i: UNWRITABLE for i, body in zip(numbers, bodies, strict=True) if body is None}
            numbers = [i for i in numbers if i not in heads.bad]
        return Candidates(
            [body for body in bodies if body is not None],
            [heads.times_ms[i] for i in numbers],
            lambda k: (Row(chunk, numbers[k]),),
            [Row(chunk, i).refused(bad) for i, bad in heads.bad.items()],
        )

    def finish(self) -> Candidates:
        """Return nothing: no row waits."""
        return Candidates([], [], lambda _: ())

    def _readings(self, chunk: Chunk, bad: dict[int, Bad]) -> list[dict[str, float]]:
        columns: list[list[float | None]] = []
        for name, each, column in self._sensors:
            read = self._numbers.read(chunk.columns[column], name)
            bad.update({i: reason for i, reason in read.bad.items() if i not in bad})
            columns.append(scaled(read.values, each.scale, each.offset))
        names, rows = self._names, zip(*columns, strict=True)
        if not any(None in column for column in columns):
            return [dict(zip(names, row, strict=True)) for row in rows]
        found = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
        bad.update(
            {i: (NO_READING, "no column has a reading") for i, each in enumerate(found) if not each and i not in bad}
        )
        return found


UNWRITABLE: Final[Bad] = (
    "undecodable",
    "a name has bytes that are none of the file's encoding, or seq is too large; correct file.encoding or the row",
)


def written(messages: Sequence[dict[str, Any]]) -> list[bytes | None]:
    """Return messages as JSON; ``None`` for those that cannot be said in it.

    Examples
    --------
    >>> written([{"seq": 7}, {"machine_id": chr(0xDCFF)}])
    [b'{"seq":7}', None]
    """
    try:
        return list(map(orjson.dumps, messages))
    except orjson.JSONEncodeError:
        return [written([each])[0] for each in messages] if len(messages) > 1 else [None]


def scaled(values: list[float | None], scale: float, offset: float) -> list[float | None]:
    """Return values in the sensor's unit.

    Examples
    --------
    >>> scaled([1.0, None], 1.8, 32.0), scaled([1.0], 1.0, 0.0)
    ([33.8, None], [1.0])
    """
    if (scale, offset) == (1.0, 0.0):
        return values
    return [None if value is None else value * scale + offset for value in values]


def _texts(given: Given, chunk: Chunk, count: int) -> Sequence[str | None]:
    if given.column is None:
        return [given.constant] * count
    cells: Sequence[Cell] = chunk.columns[given.column]
    found = list(map(text, cells))
    # A prefix makes no name of nothing
    return [given.prefix + name if name else name for name in found] if given.prefix else found
