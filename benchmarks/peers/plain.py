"""What three of the peers share: the detector, a window's sums and the writing of rows, in plain quick Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

WINDOW_MS = 60_000
THRESHOLD = 4.5
FADING = 0.03
WARM_UP = 30

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Window = list[float]
"""count, sum, min, max of one sensor."""

Gaussian = list[float]
"""mean, variance and number of the readings learned."""

_COPY_EVENTS = "COPY event (machine_id, factory_id, event_time, source_partition, source_offset, body) FROM STDIN"
_COPY_ANOMALIES = (
    "COPY anomaly (machine_id, sensor, event_time, value, score, source_partition, source_offset) FROM STDIN"
)
_UPSERT_WINDOWS = """
INSERT INTO reading_window (machine_id, sensor, window_start, count, mean, min, max)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bigint[], %s::float8[], %s::float8[], %s::float8[])
ON CONFLICT (machine_id, sensor, window_start)
DO UPDATE SET count = EXCLUDED.count, mean = EXCLUDED.mean, min = EXCLUDED.min, max = EXCLUDED.max
"""


def milliseconds(time: str) -> int:
    """Return a time of a message in ms since the epoch, UTC."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def instant(time_ms: int) -> datetime:
    """Return ms since the epoch as a time."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def score_then_learn(gaussian: Gaussian, value: float) -> float:
    """Return z of a reading under what was learned before it; learn it unless it is flagged."""
    mean, variance, seen = gaussian
    score = 0.0
    if seen >= WARM_UP:
        score = (value - mean) / max(math.sqrt(variance), 1e-12)
        if abs(score) > THRESHOLD:
            return score
    rate = max(FADING, 1.0 / (seen + 1))
    step = value - mean
    gaussian[0] = mean + rate * step
    gaussian[1] = (1.0 - rate) * (variance + rate * step * step)
    gaussian[2] = seen + 1
    return score


def first(readings: dict[str, float]) -> dict[str, Window]:
    """Return a machine's window that holds one message."""
    return {sensor: [1, value, value, value] for sensor, value in readings.items()}


def count(windows: dict[str, Window], readings: dict[str, float]) -> None:
    """Add a message to a machine's window."""
    for sensor, value in readings.items():
        window = windows.get(sensor)
        if window is None:
            windows[sensor] = [1, value, value, value]
            continue
        window[0] += 1
        window[1] += value
        window[2] = min(window[2], value)
        window[3] = max(window[3], value)


def window_rows(machine_id: str, start_ms: int, windows: dict[str, Window]) -> list[tuple[Any, ...]]:
    """Return a machine's closed window as rows of ``reading_window``."""
    start = instant(start_ms)
    return [
        (machine_id, sensor, start, int(n), total / n, low, high) for sensor, (n, total, low, high) in windows.items()
    ]


def write_events(connection: psycopg.Connection, rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to ``event``."""
    _copy(connection, _COPY_EVENTS, rows)


def write_anomalies(connection: psycopg.Connection, rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to ``anomaly``."""
    _copy(connection, _COPY_ANOMALIES, rows)


def write_windows(connection: psycopg.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows of ``reading_window``, over those that a repeated batch has written before; one statement for all."""
    if rows:
        # Two writers that meet on the same keys must not wait for each other crosswise
        columns = zip(*sorted(rows), strict=True)
        connection.execute(_UPSERT_WINDOWS, [list(column) for column in columns])


def _copy(connection: psycopg.Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
