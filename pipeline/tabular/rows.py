"""What readers of tables give: columns of cells, with where each row stood, and rows that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from pipeline.tabular.mapping import Column

CHUNK_ROWS = 4096
"""Rows that are looked at together."""

Cell = str | int | float | None
"""What stands in a column: text in CSV, in Parquet also numbers and nothing."""


class Reject(NamedTuple):
    """A row that becomes no message.

    Parameters
    ----------
    place
        CSV: the physical line in which the row begins, from 1 on. Parquet: the number of the row, from 1 on.
    reason, detail
        Why, as a word and as one line for people.
    row
        The row as it was.
    """

    place: int
    reason: str
    detail: str
    row: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that follow one another, all of length n.

    Parameters
    ----------
    places
        As in :class:`Reject`, rising.
    columns
        The cells of the columns that the mapping names.
    as_it_was
        Returns a row by its number in the chunk.
    rejects
        Rows between these that cannot be taken apart.
    batch
        All columns as they are, of Arrow, if they were asked for and the file is Parquet.
    """

    places: Sequence[int]
    columns: Mapping[Column, Sequence[Cell]]
    as_it_was: Callable[[int], str]
    rejects: list[Reject] = field(default_factory=list)
    batch: Any = None


class Table(Protocol):
    """An open file."""

    @property
    def instants(self) -> frozenset[Column]:
        """Columns whose times are ISO 8601 whatever the mapping says, because the file's own types say so."""

    @property
    def done(self) -> int:
        """How much of :attr:`total` was read."""

    @property
    def total(self) -> int:
        """How much there is: bytes or rows."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows, in order."""
