"""Rows of a life that has not ended yet: they wait until it is known how long each had still to go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EVERY = 3
"""Cycles from one row that is kept to the next, as long as there are few."""

ROOM = 256
"""Most rows that are kept of one life; when there are more, every other one goes."""


class LifeRows:
    """Some of a life's rows, evenly spread over it, and no more than :data:`ROOM`.

    Parameters
    ----------
    features
        Length of a row.

    Examples
    --------
    >>> waiting = LifeRows(1)
    >>> for cycle in range(1000):
    ...     waiting.take(np.array([float(cycle)]), float(cycle))
    >>> rows, remaining = waiting.ended(999.0)
    >>> rows[:3].tolist(), remaining[:3].tolist(), len(rows)
    ([[0.0], [6.0], [12.0]], [999.0, 993.0, 987.0], 167)
    """

    def __init__(self, features: int) -> None:
        self._rows = np.empty((ROOM, features))
        self._ages = np.empty(ROOM)
        self._used = self._cycles = 0
        self._every = EVERY

    def take(self, row: npt.NDArray[np.float64], age: float) -> None:
        """Take the features after a cycle, shape (features,), and the machine's age then."""
        if self._cycles % self._every == 0:
            if self._used == ROOM:
                self._thin()
            if self._cycles % self._every == 0:
                self._rows[self._used], self._ages[self._used] = row, age
                self._used += 1
        self._cycles += 1

    def _thin(self) -> None:
        kept = (ROOM + 1) // 2
        self._rows[:kept], self._ages[:kept] = self._rows[::2].copy(), self._ages[::2].copy()
        self._used = kept
        self._every *= 2

    def ended(self, age: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the kept rows and how long each had still to go, now that the life has ended.

        Parameters
        ----------
        age
            At the end, in the unit of the others.
        """
        return self._rows[: self._used].copy(), age - self._ages[: self._used]

    @classmethod
    def of_life(
        cls, rows: npt.NDArray[np.float64], ages: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return what :meth:`ended` gives of a whole life: features after each of n cycles, (n, features), and ages, (n,)."""
        waiting = cls(rows.shape[1])
        for row, age in zip(rows, ages.tolist(), strict=True):
            waiting.take(row, age)
        return waiting.ended(float(ages[-1]))
