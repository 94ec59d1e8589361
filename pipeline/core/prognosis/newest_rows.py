"""The newest rows of numbers, and how many there were."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]


class NewestRows:
    """A ring of rows.

    Parameters
    ----------
    room
        How many it keeps; ≥ 1.
    width
        Length of a row.

    Attributes
    ----------
    seen
        How many were taken.

    Examples
    --------
    >>> newest = NewestRows(3, 1)
    >>> newest.take(np.array([[1.0], [2.0]]))
    >>> newest.take(np.array([[3.0], [4.0], [5.0]]))
    >>> newest.rows().ravel().tolist(), newest.seen
    ([3.0, 4.0, 5.0], 5)
    """

    def __init__(self, room: int, width: int) -> None:
        self.width, self.seen = width, 0
        self._rows = np.zeros((room, width))

    @property
    def used(self) -> int:
        """How many it keeps now."""
        return min(self.seen, len(self._rows))

    def take(self, rows: Rows) -> None:
        """Take rows, shape (n, width), the newest last."""
        newest = rows[-len(self._rows) :]
        places = np.arange(self.seen + len(rows) - len(newest), self.seen + len(rows)) % len(self._rows)
        self._rows[places] = newest
        self.seen += len(rows)

    def rows(self) -> Rows:
        """Return a copy of what it keeps, shape (used, width), the newest last."""
        if self.seen <= len(self._rows):
            return self._rows[: self.seen].copy()
        return np.roll(self._rows, -(self.seen % len(self._rows)), axis=0)

    def load(self, rows: Any, seen: int) -> None:
        """Take over what :meth:`rows` and ``seen`` were; raises :class:`ValueError` if they do not go together."""
        if len(rows) != min(seen, len(self._rows)):
            raise ValueError(f"of {seen} rows {min(seen, len(self._rows))} are kept, not {len(rows)}")
        self.seen = seen - len(rows)
        self.take(rows)
