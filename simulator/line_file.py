"""A CSV file that grows by whole lines, whoever is killed when."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

_BLOCK_BYTES = 1 << 20


class LineFile:
    """A file that is being written.

    Lines wait in memory until :meth:`flush`. What is in the file before is kept, but for a last line that a killed writer
    left without its end: that is cut off.

    Parameters
    ----------
    path
        Where it is; made if it is absent, together with its folder.
    header
        Its first line, with its end.
    what
        What it is, for people.

    Raises
    ------
    ValueError
        If the file has another header.
    """

    def __init__(self, path: Path, header: bytes, what: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+", buffering=0)
        self._lines: list[str] = []
        try:
            self._mend(path, header, what)
        except BaseException:
            self._file.close()
            raise

    def _mend(self, path: Path, header: bytes, what: str) -> None:
        self._file.seek(0)
        found = self._file.read(len(header))
        if not header.startswith(found):
            msg = f"{path} is not a {what}: it does not begin with {header.decode().strip()}"
            raise ValueError(msg)
        if found != header:
            self._file.truncate(0)
            self._file.write(header)
            return
        self._file.truncate(_complete_bytes(self._file))

    def add(self, line: str) -> None:
        """Add a line, with its end."""
        self._lines.append(line)

    def flush(self) -> None:
        """Write the lines that wait; readers see them at once."""
        if not self._lines:
            return
        rest = memoryview("".join(self._lines).encode())
        self._lines.clear()
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Write what waits and close the file."""
        self.flush()
        self._file.close()


class LateFile:
    """A file of lines that is made when its first line comes.

    Parameters
    ----------
    path, header, what
        As of :class:`LineFile`.

    Raises
    ------
    ValueError
        If the file is there and has another header.
    """

    def __init__(self, path: Path, header: bytes, what: str) -> None:
        self._how = path, header, what
        self._file: LineFile | None = LineFile(*self._how) if path.exists() else None

    def add(self, line: str) -> None:
        """Add a line, with its end."""
        if self._file is None:
            self._file = LineFile(*self._how)
        self._file.add(line)

    def flush(self) -> None:
        """Write the lines that wait; readers see them at once."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Write what waits and close the file."""
        if self._file is not None:
            self._file.close()


def late_rows(path: Path) -> Iterator[list[str]]:
    """Yield the complete rows of such a CSV file, without its header; none if there is no file."""
    if path.exists():
        rows = csv.reader(complete_lines(path))
        next(rows, None)
        yield from rows


def complete_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file that have their end."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line.decode()


_QUOTE, _QUOTED = '"', '""'


def quoted(text: str) -> str:
    """Return text without line breaks as a CSV field.

    Examples
    --------
    >>> print(quoted('{"a":1}'))
    "{""a"":1}"
    """
    return f'"{text.replace(_QUOTE, _QUOTED)}"'


def _complete_bytes(file: io.BufferedIOBase | io.RawIOBase) -> int:
    """Return how many bytes of a file are complete lines."""
    end = file.seek(0, io.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(end - start) or b""
        newline = block.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
