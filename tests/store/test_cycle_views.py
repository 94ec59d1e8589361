"""Operating cycles as dashboards read them (R12)."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from pipeline.core.fold import FoldRules, Marks
from pipeline.core.state import PartitionState
from tests.core.sinks import feed, records_of
from tests.store.database_sink import DatabaseSink, stored
from tests.store.test_window_views import START_MS, message

HOUR_MS = 3_600_000
CLOCK, LATER = message("clock", HOUR_MS, t=0.0), message("clock", 2 * HOUR_MS, t=0.0)


def cycles(dashboard: psycopg.Connection) -> list[tuple[float, float, int, bool]]:
    """Return start and duration in s, messages, and whether it is complete, of the cycles of m0."""
    rows = dashboard.execute(
        "SELECT started, duration, messages, complete, ended - started = duration FROM dashboard.operating_cycle"
        " WHERE machine_id = 'm0' ORDER BY started"
    ).fetchall()
    begin = dt.datetime.fromtimestamp(START_MS / 1000, dt.UTC)
    assert all(holds for *_, holds in rows)
    return [((at - begin).total_seconds(), of.total_seconds(), n, complete) for at, of, n, complete, _ in rows]


def test_a_late_message_between_two_cycles_makes_them_one(database, dashboard) -> None:
    apart = [message("m0", at, t=at / 1000) for at in (0, 20_000, 70_000, 90_000)]
    stored(database.dsn, [*apart, CLOCK], FoldRules(), range(1, 5))
    assert cycles(dashboard) == [(0.0, 20.0, 2, True), (70.0, 20.0, 2, True)]

    sink = DatabaseSink(database.dsn)
    sink.acquire()
    late = [*apart, CLOCK, message("m0", 45_000, t=45.0, p=1.0), LATER]
    state, records = PartitionState(), records_of(late)
    feed(sink, state, records, [5], FoldRules(), start=0, reach=Marks(7, 7))
    sink.close()

    assert cycles(dashboard) == [(0.0, 90.0, 5, True)]
    rows = dashboard.execute(
        "SELECT sensor, count, mean, min, max FROM dashboard.cycle_rolling WHERE machine_id = 'm0' ORDER BY sensor"
    ).fetchall()
    assert rows == [("p", 1, 1.0, 1.0, 1.0), ("t", 5, pytest.approx(45.0), 0.0, 90.0)]


def test_a_cycle_that_may_go_on_is_not_complete(database, dashboard) -> None:
    steady = [message("m0", at, t=1.0) for at in range(0, 400_000, 10_000)]
    stored(database.dsn, steady, FoldRules())
    assert cycles(dashboard) == [(0.0, 290.0, 30, False)]

    stored(database.dsn, [*steady, CLOCK], FoldRules(), [40])
    assert cycles(dashboard) == [(0.0, 390.0, 40, True)]


def test_pieces_of_a_cycle_in_two_partitions_are_one_cycle(database, admin, dashboard) -> None:
    stored(database.dsn, [*(message("m0", at, t=at / 1000) for at in (0, 20_000, 200_000)), CLOCK], FoldRules())
    moved, rest = "started + interval '40 seconds', source_id + 1", "factory_id, messages, gap_ms, goes_on"
    first = "WHERE machine_id = 'm0' ORDER BY started LIMIT 1"
    admin.execute(
        f"INSERT INTO operating_cycle (machine_id, started, source_id, ended, {rest})"
        f" SELECT machine_id, {moved}, ended + interval '30 seconds', {rest} FROM operating_cycle {first}"
    )
    of_readings = "sensor, count, mean, m2, min, max, last_time"
    admin.execute(
        f"INSERT INTO cycle_reading (machine_id, started, source_id, {of_readings})"
        f" SELECT machine_id, {moved}, {of_readings} FROM cycle_reading {first}"
    )

    # Nobody knows how far the other partition has come
    assert cycles(dashboard) == [(0.0, 50.0, 4, False), (200.0, 0.0, 1, True)]
    rolling = dashboard.execute(
        "SELECT count, mean, cycles, rolling_mean FROM dashboard.cycle_rolling WHERE machine_id = 'm0' ORDER BY started"
    ).fetchall()
    assert rolling == [(4, 10.0, 1, 10.0), (1, 200.0, 2, 105.0)]


def test_means_and_maxima_roll_over_the_last_five_cycles(database, dashboard) -> None:
    levels = [1.0, 2.0, 3.0, 4.0, 5.0, 60.0, 7.0]
    sent = [
        message("m0", n * 100_000 + at, t=level + at / 10_000) for n, level in enumerate(levels) for at in (0, 10_000)
    ]

    stored(database.dsn, [*sent, CLOCK], FoldRules())

    rows = dashboard.execute(
        "SELECT mean, max, cycles, rolling_mean, rolling_max, complete FROM dashboard.cycle_rolling"
        " WHERE machine_id = 'm0' AND sensor = 't' ORDER BY started"
    ).fetchall()
    means = [level + 0.5 for level in levels]
    assert [row[0] for row in rows] == pytest.approx(means)
    assert [row[1] for row in rows] == [level + 1 for level in levels]
    assert [row[2] for row in rows] == [1, 2, 3, 4, 5, 5, 5]
    last = [means[max(0, n - 4) : n + 1] for n in range(7)]
    assert [row[3] for row in rows] == pytest.approx([sum(some) / len(some) for some in last])
    assert [row[4] for row in rows] == [2.0, 3.0, 4.0, 5.0, 6.0, 61.0, 61.0]
    assert all(row[5] for row in rows)


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-161, 0.0, 1e100, 1e140])
def test_cycles_of_very_small_and_very_large_readings_are_joined_and_can_be_queried(
    database, dashboard, size: float
) -> None:
    sent = [
        message("m0", at, t=value) for at, value in ((0, size), (60_000, -size), (30_000, size / 3), (90_000, size))
    ]

    stored(database.dsn, [*sent, CLOCK, message("m0", 45_000, t=size), LATER], FoldRules(), range(1, 6))

    (row,) = dashboard.execute("SELECT count, min, max FROM dashboard.cycle_rolling WHERE machine_id = 'm0'").fetchall()
    assert row == (5, -size, size)
