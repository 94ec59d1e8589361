"""CSV: rows with the physical lines they begin in, and what cannot be taken apart."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.tabular.mapping import Column, Wanted, positions
from pipeline.tabular.rows import CHUNK_ROWS, Chunk, Reject

MAX_ROW = 1_000_000
"""Longest row, characters."""


class CsvTable:
    """A CSV file, read once from its beginning to its end in bounded memory.

    A quote that is never closed would swallow what follows: the row is refused with its first line alone, and the next line is
    taken for a row again. Empty lines are no rows.

    Parameters
    ----------
    path
        The file.
    wanted
        How it is written, and which columns are wanted.

    Attributes
    ----------
    head
        The header as it stands in the file, with its line end; empty without one.

    Raises
    ------
    SettingsError
        If it cannot be opened or lacks a column.
    """

    instants: frozenset[Column] = frozenset()

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self._path, self._layout = path, wanted.file
        try:
            self._binary = path.open("rb")
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        self.total = path.stat().st_size
        self._text = io.TextIOWrapper(self._binary, encoding=wanted.file.encoding, errors="surrogateescape", newline="")
        self.head = ""
        self._line = 0
        self._taken: list[str] = []
        self._again: deque[str] = deque()
        self._reader = self._parser()
        try:
            names = self._first()
            self._width = len(names)
            self._wanted = positions(wanted, names if wanted.file.header else [""] * len(names), path)
        except BaseException:
            self.close()
            raise

    @property
    def done(self) -> int:
        """Bytes that were read."""
        return self._binary.tell()

    def close(self) -> None:
        """Close the file."""
        self._text.close()

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows, in order.

        Raises
        ------
        PipelineError
            If the bytes are none of the encoding at all.
        """
        while True:
            try:
                chunk, more = self._chunk()
            except UnicodeError as error:
                raise self._undecodable() from error
            yield chunk
            if not more:
                return

    def _first(self) -> list[str]:
        """Return the names of the header; without one, the cells of the first row, which is not taken."""
        try:
            row = next((row for row in self._reader if row), [])
        except UnicodeError as error:
            raise self._undecodable() from error
        except csv.Error as error:
            raise SettingsError(f"{self._path}: the first row cannot be read: {error}; correct [file]") from error
        if not row and self._layout.header:
            raise SettingsError(f"{self._path} has no header; give it one, or write header = false in [file]")
        if self._layout.header:
            self._line += len(self._taken)
            self.head = "".join(self._taken)
            self._taken.clear()
        else:
            self._read_again(self._taken)
        return row

    def _undecodable(self) -> PipelineError:
        where = f"behind line {self._line + len(self._taken)}"
        return PipelineError(f"{self._path} cannot be read as {self._layout.encoding} {where}; correct file.encoding")

    def _chunk(self) -> tuple[Chunk, bool]:
        rows: list[list[str]] = []
        raws: list[str] = []
        places: list[int] = []
        rejects: list[Reject] = []
        taken, more = self._taken, True
        while len(rows) + len(rejects) < CHUNK_ROWS:
            try:
                row = next(self._reader)
            except StopIteration:
                more = False
                break
            except csv.Error as error:
                rejects.append(self._refuse_line(error))
                continue
            place = self._line + 1
            self._line += len(taken)
            raw = taken[0] if len(taken) == 1 else "".join(taken)
            taken.clear()
            if len(row) == self._width and len(raw) <= MAX_ROW:
                rows.append(row)
                raws.append(raw)
                places.append(place)
            elif row:
                rejects.append(self._refuse_row(place, row, raw))
        columns = {column: list(map(itemgetter(at), rows)) for column, at in self._wanted.items()}
        return Chunk(places, columns, lambda i: raws[i].rstrip("\r\n"), rejects), more

    def _refuse_row(self, place: int, row: list[str], raw: str) -> Reject:
        if len(raw) > MAX_ROW:
            detail = (
                f"the row has more than {MAX_ROW:,} characters; is a quote never closed, or the delimiter another one?"
            )
            return Reject(place, "too_long", detail, raw.rstrip("\r\n"))
        detail = f"the row has {len(row)} fields, the first one {self._width}; is a delimiter missing or not quoted?"
        return Reject(place, "wrong_field_count", detail, raw.rstrip("\r\n"))

    def _refuse_line(self, error: csv.Error) -> Reject:
        """Refuse the line in which a row begins that has no end; go on with the next line."""
        first, *rest = self._taken
        self._read_again(rest)
        self._line += 1
        detail = f"not CSV: {error}; close the quote, or double a quote inside of quotes"
        return Reject(self._line, "not_csv", detail, first.rstrip("\r\n"))

    def _read_again(self, lines: list[str]) -> None:
        self._again.extendleft(reversed(lines))
        self._taken.clear()
        # The parser is at the end of its lines for good, if that is where it failed
        self._reader = self._parser()

    def _parser(self) -> Iterator[list[str]]:
        return csv.reader(
            self._lines(),
            delimiter=self._layout.delimiter,
            quotechar=self._layout.quote or None,
            quoting=csv.QUOTE_MINIMAL if self._layout.quote else csv.QUOTE_NONE,
            strict=True,
        )

    def _lines(self) -> Iterator[str]:
        taken, again = self._taken, self._again
        while again:
            taken.append(again.popleft())
            yield taken[-1]
        while line := self._text.readline(MAX_ROW + 1):
            if len(line) > MAX_ROW and line[-1] not in "\r\n":
                self._skip_line()
            taken.append(line)
            yield line

    def _skip_line(self) -> None:
        """Read what is left of a line that is too long, without keeping it."""
        while (rest := self._text.readline(MAX_ROW)) and rest[-1] not in "\r\n":
            pass
