"""Rows that wait on disk, in one file per key, so that memory holds one key's rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MESSAGE = np.dtype(
    [
        ("machine", np.int32),
        ("source", np.int32),
        ("offset", np.int64),
        ("index", np.int32),
        ("shape", np.int32),
        ("time_ms", np.int64),
        ("seq", np.int64),
        ("latency_us", np.int64),
        ("current", np.bool_),
        ("merged", np.bool_),
        ("garbage", np.bool_),
        ("excused", np.bool_),
        ("fact", np.bool_),
    ]
)
"""A row of ``event`` or of a ledger.

``machine``, ``source`` and ``shape`` are numbers of names, ``shape`` -1 where no readings are known; ``seq`` is -1 where the
device has none, ``latency_us`` :data:`NO_LATENCY` where it cannot be told. ``current``: of the partition's present log, not
of one that was lost. ``merged``: before the windows mark. ``excused``: its dead letter, if it had one, may be gone. ``fact``:
it is no telemetry, so it is neither in windows nor in the order of a machine's messages.
"""

NO_LATENCY = int(np.iinfo(np.int64).min)

PLACE = np.dtype(
    [
        ("offset", np.int64),
        ("index", np.int32),
        ("machine", np.int32),
        ("time_ms", np.int64),
        ("ingest_ms", np.int64),
        ("fact", np.bool_),
    ]
)
"""Where a row of ``event`` came from, when, and whether it is no telemetry."""

WINDOW = np.dtype(
    [
        ("machine", np.int32),
        ("sensor", np.int32),
        ("start_ms", np.int64),
        ("count", np.int64),
        ("mean", np.float64),
        ("m2", np.float64),
        ("min", np.float64),
        ("max", np.float64),
        ("last", np.float64),
    ]
)
"""A row of ``reading_window``."""

ANOMALY = np.dtype(
    [
        ("machine", np.int32),
        ("source", np.int32),
        ("offset", np.int64),
        ("index", np.int32),
        ("sensor", np.int32),
        ("kind", np.int32),
    ]
)
"""A row of ``anomaly``, or a reading that the plant made odd."""

VALUE = np.dtype(np.float64)


class Spill:
    """Rows of one sort, a file per key.

    Parameters
    ----------
    folder
        Made here; must not be there.
    dtype
        Of a row.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        folder.mkdir()
        self._folder, self._dtype = folder, dtype

    def add(self, keys: Array, rows: Array, counts: Array | None = None) -> None:
        """Append rows to their keys' files, in their order.

        Parameters
        ----------
        keys
            Shape (n,), whole numbers.
        rows
            Shape (n,); with ``counts``, so many in turn belong to each key: shape (counts.sum(),).
        """
        if not len(keys):
            return
        order = np.argsort(keys, kind="stable")
        found, first = np.unique(keys[order], return_index=True)
        ends = np.append(first[1:], len(order))
        if counts is not None:
            rows, upto = ragged(rows, counts, order), np.append(0, np.cumsum(counts[order]))
            first, ends = upto[first], upto[ends]
        else:
            rows = rows[order]
        for key, begin, end in zip(found.tolist(), first.tolist(), ends.tolist(), strict=True):
            with (self._folder / str(key)).open("ab") as file:
                rows[begin:end].tofile(file)

    def keys(self) -> list[int]:
        """Return the keys that have rows, in order."""
        return sorted(int(path.name) for path in self._folder.iterdir())

    def take(self, key: int) -> Array:
        """Return the rows of a key, in the order they were added, and forget them."""
        path = self._folder / str(key)
        if not path.exists():
            return np.empty(0, self._dtype)
        rows = np.fromfile(path, self._dtype)
        path.unlink()
        return rows


def ragged(values: Array, counts: Array, order: Array) -> Array:
    """Return values, of which so many in turn belong to each of n owners, in another order of the owners.

    Examples
    --------
    >>> ragged(np.array([1, 2, 3, 4]), np.array([1, 3]), np.array([1, 0])).tolist()
    [2, 3, 4, 1]
    """
    starts, many = (np.cumsum(counts) - counts)[order], counts[order]
    before = np.cumsum(many) - many
    chosen: Array = values[np.repeat(starts - before, many) + np.arange(int(many.sum()))]
    return chosen


def groups(*columns: Array) -> tuple[Array, Array]:
    """Return an order that puts equal rows side by side, rising, and the number of each row's group in that order.

    Parameters
    ----------
    columns
        Shape (n,) each; the first counts most.

    Examples
    --------
    >>> order, number = groups(np.array([7, 5, 7]), np.array([1, 1, 1]))
    >>> order.tolist(), number.tolist()
    ([1, 0, 2], [0, 1, 1])
    """
    order = np.lexsort(columns[::-1])
    changes = np.zeros(len(order), np.bool_)
    for column in columns:
        ordered = column[order]
        changes[1:] |= ordered[1:] != ordered[:-1]
    return order, np.cumsum(changes)
