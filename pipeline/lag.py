"""Lag in seconds: for how long the log has had what is not stored yet."""

from __future__ import annotations

from collections import deque


class LagHistory:
    """When a log was first seen to end where, for one partition.

    The answer is exact to the time between two looks. What the log held before the first look counts from there, so after a
    start it is a lower bound.

    Parameters
    ----------
    looks
        How many changes are remembered; older ones count as the oldest.
    """

    def __init__(self, looks: int = 2000) -> None:
        self._ends: deque[tuple[float, int]] = deque(maxlen=looks)

    @property
    def end(self) -> int:
        """Where the log was seen to end last; 0 before the first look."""
        return self._ends[-1][1] if self._ends else 0

    def look(self, now: float, end: int) -> None:
        """Note where the log ends now; ``now`` in seconds of a monotonic clock."""
        if self._ends and end < self.end:
            # Another log by the same name
            self._ends.clear()
        if not self._ends or end > self.end:
            self._ends.append((now, end))

    def seconds(self, now: float, mark: int) -> float:
        """Return for how long the log has had the record at ``mark``, s; 0 if it has none.

        Examples
        --------
        >>> history = LagHistory()
        >>> for at, end in (0.0, 10), (5.0, 20), (10.0, 30):
        ...     history.look(at, end)
        >>> [history.seconds(12.0, mark) for mark in (15, 25, 30)]
        [7.0, 2.0, 0.0]
        """
        return next((now - at for at, end in self._ends.copy() if end > mark), 0.0)
