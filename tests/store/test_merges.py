"""Merging window deltas (R14): numbers at the ends of what a float holds are merged, and can be read afterwards."""

from __future__ import annotations

import pytest

from pipeline.store.connect import connect
from tests.core.test_fold_laws import BASE_MS, RULES
from tests.store.database_sink import stored


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-170, 1e-161, 1e-100, 0.0, 1e100, 1e140])
def test_windows_of_very_small_and_very_large_readings_merge_and_can_be_queried(database, size: float) -> None:
    values = [size, -size, 3 * size if size < 1e100 else size, size / 3]
    messages = [
        {"machine": "m0", "time_ms": BASE_MS + i, "seq": i, "ingest_ms": BASE_MS, "readings": {"t": value}}
        for i, value in enumerate(values)
    ]
    stored(database.dsn, messages, RULES, [1, 2, 3])

    with connect(database.dashboard_dsn) as dashboard:
        rows = dashboard.execute("SELECT count, min, max, stddev FROM dashboard.reading_window").fetchall()
    assert [(count, low, high) for count, low, high, _ in rows] == [(4, min(values), max(values))]
