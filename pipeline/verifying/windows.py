"""Windows recomputed from the readings of stored messages, and compared with ``reading_window``."""

from __future__ import annotations

import numpy as np

from pipeline.core.windowing.moments import beginnings, combine
from pipeline.verifying.spill import WINDOW, Array, groups, ragged

_CLOSE = 1e-9
# Squares of less are no numbers of full precision
_SMALLEST = 1e-150


def recomputed(rows: Array, source_ids: Array, window_ms: int, values: Array, sensors: Array, counts: Array) -> Array:
    """Return the windows of some messages, shape (windows,) of :data:`pipeline.verifying.spill.WINDOW`.

    Mean and squared deviations are computed in two passes over each window's readings, not as the fold does it.

    Parameters
    ----------
    rows, counts
        Messages, and how many readings each has; shape (n,).
    source_ids
        What decides between last readings of the same time in two source partitions; shape (n,).
    values, sensors
        The readings of all messages, one message after the other.
    """
    order = np.lexsort((rows["index"], rows["offset"], source_ids, rows["time_ms"]))
    values, sensors = ragged(values, counts, order), ragged(sensors, counts, order)
    of = np.repeat(order, counts[order])
    machines, starts_ms = rows["machine"][of], rows["time_ms"][of] // window_ms * window_ms
    order, _ = groups(machines, sensors, starts_ms)
    machines, sensors, starts_ms, values = machines[order], sensors[order], starts_ms[order], values[order]
    first = np.flatnonzero(
        (np.diff(machines, prepend=-1) != 0)
        | (np.diff(sensors, prepend=-1) != 0)
        | (np.diff(starts_ms, prepend=np.iinfo(np.int64).min) != 0)
    )
    found = np.empty(len(first), WINDOW)
    if not len(first):
        return found
    found["machine"], found["sensor"], found["start_ms"] = machines[first], sensors[first], starts_ms[first]
    found["count"] = np.diff(np.append(first, len(values)))
    found["mean"] = np.add.reduceat(values, first) / found["count"]
    found["m2"] = np.add.reduceat((values - np.repeat(found["mean"], found["count"])) ** 2, first)
    found["min"], found["max"] = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
    found["last"] = values[first + found["count"] - 1]
    found["length_ms"] = window_ms
    return found


def as_long_as(rows: Array, stored: Array, window_ms: int) -> Array:
    """Return windows, with those together that a longer stored one holds: a version before kept them that long.

    Which reading of these is the last cannot be told from them.

    Parameters
    ----------
    rows
        Windows, stored or as they should be.
    stored
        The stored ones.
    window_ms
        Length of the windows that this version keeps, ms.
    """
    long = stored[stored["length_ms"] > window_ms]
    if not len(long):
        return rows
    size_ms = long["length_ms"][0]
    starts_ms = rows["start_ms"] // size_ms * size_ms
    order, number = groups(
        *(np.concatenate([rows[name], long[name]]) for name in ("machine", "sensor")),
        np.concatenate([starts_ms, long["start_ms"]]),
    )
    group = np.empty(len(order), np.int64)
    group[order] = number
    is_long = np.isin(group[: len(rows)], group[len(rows) :])
    by_group = np.argsort(group[: len(rows)][is_long], kind="stable")
    parts = rows[is_long][by_group]
    first = beginnings(group[: len(rows)][is_long][by_group])
    made, together = parts[first], combine(parts, first)
    made["start_ms"], made["length_ms"] = starts_ms[is_long][by_group][first], size_ms
    for name in ("count", "mean", "m2", "min", "max"):
        made[name] = getattr(together, name)
    made["last"] = 0.0
    return np.concatenate([rows[~is_long], made])


def compared(expected: Array, actual: Array) -> Array:
    """Return the windows that differ, are absent, or are too many; shape (wrong,) of the windows as they should be or are.

    Count, minimum, maximum and last value must be equal, mean and standard deviation within 1e-9 · max(abs(mean), sd).
    """
    order, number = groups(*(np.concatenate([expected[n], actual[n]]) for n in ("machine", "sensor", "start_ms")))
    group = np.empty(len(order), np.int64)
    group[order] = number
    at = np.full(len(order), -1, np.int64)
    at[group[len(expected) :]] = np.arange(len(actual))
    found = at[group[: len(expected)]]
    spare = np.ones(len(actual), np.bool_)
    spare[found[found >= 0]] = False
    wrong = found < 0
    e, a = expected[~wrong], actual[found[~wrong]]
    wrong[~wrong] = ~_same(e, a)
    return np.concatenate([expected[wrong], actual[spare]])


def _same(e: Array, a: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        sd, actual_sd = _deviation(e), _deviation(a)
        near = np.maximum(_CLOSE * np.maximum(np.abs(e["mean"]), sd), _SMALLEST)
        # What is no number is close to nothing
        same: Array = (np.abs(a["mean"] - e["mean"]) <= near) & (np.abs(actual_sd - sd) <= near)
    for name in ("count", "min", "max", "last"):
        same &= e[name] == a[name]
    return same


def _deviation(rows: Array) -> Array:
    count = rows["count"]
    spread = np.sqrt(np.maximum(rows["m2"], 0) / np.maximum(count - 1, 1))
    deviation: Array = np.where(count > 1, spread, 0.0)
    return deviation
