"""Rows that the database gave, waiting in files until the transaction they were read in is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cramjam

# The cheapest level: while rows are written here, a transaction holds locks
_LEVEL = 1


class Copy:
    """Blocks of rows, each packed into a file of its own; they are read once.

    Parameters
    ----------
    folder
        Made here; must not be there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._files = folder, 0
        self.rows = 0
        """How many there are."""

    def fill(self, blocks: Iterable[tuple[bytes, int]]) -> Iterator[int]:
        """Write blocks, each with its number of rows; yield after each how many there are."""
        for block, rows in blocks:
            (self._folder / str(self._files)).write_bytes(cramjam.zstd.compress(block, level=_LEVEL))
            self._files += 1
            self.rows += rows
            yield self.rows

    def blocks(self) -> Iterator[bytes]:
        """Yield the blocks as they were written, and forget each once the next is asked for."""
        for number in range(self._files):
            path = self._folder / str(number)
            yield bytes(cramjam.zstd.decompress(path.read_bytes()))
            path.unlink()
