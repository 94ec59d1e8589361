"""The windows that dashboards read (R11, R13, R46): every length from the same rows, and none that is older than its grain."""

from __future__ import annotations

import datetime as dt
import math
import random
import statistics
from collections import defaultdict

import psycopg
import pytest

from pipeline.core.fold import FoldRules
from pipeline.store import window_index
from tests.store.database_sink import stored

START_MS = 1_790_035_200_000  # a midnight
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
LENGTHS = {
    "reading_window_30s": 30_000,
    "reading_window": MINUTE_MS,
    "reading_hour": HOUR_MS,
    "reading_day": DAY_MS,
    "factory_window": MINUTE_MS,
    "factory_hour": HOUR_MS,
    "factory_day": DAY_MS,
}
COLUMNS = "extract(epoch FROM window_start) * 1000, extract(epoch FROM window_end) * 1000, count, mean, stddev, min, max, last"


def message(machine: str, at_ms: int, **readings: float) -> dict:
    time_ms = START_MS + at_ms
    return {"machine": machine, "time_ms": time_ms, "seq": -1, "ingest_ms": time_ms, "readings": readings}


@pytest.fixture
def messages() -> list[dict]:
    """Some days of two machines: now and then, and an hour of every few seconds; a few come late."""
    chance = random.Random(7)
    times = [chance.randrange(2 * DAY_MS) for _ in range(300)] + [9 * HOUR_MS + n * 4_321 for n in range(400)]
    made = [
        message(chance.choice(["m0", "m1"]), at, t=chance.gauss(50, 3), p=chance.gauss(7500, 1)) for at in sorted(times)
    ]
    for _ in range(20):
        made.append(made.pop(chance.randrange(len(made))))
    return made


def expected(messages: list[dict], length_ms: int, step_ms: int, by: str) -> dict[tuple, tuple]:
    """Return count, mean, sd, min, max and last of every window by key and start, from the messages themselves."""
    readings = defaultdict(list)
    for offset, each in enumerate(messages):
        key = each["machine"] if by == "machine" else "aurora"
        first = each["time_ms"] // step_ms * step_ms - length_ms + step_ms
        for start in range(first, each["time_ms"] + 1, step_ms):
            for sensor, value in each["readings"].items():
                readings[key, sensor, start].append((each["time_ms"], offset, value))
    found = {}
    for key, some in readings.items():
        values = [value for *_, value in some]
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        found[key] = (len(values), statistics.fmean(values), sd, min(values), max(values), max(some)[2])
    return found


def assert_view(dashboard: psycopg.Connection, view: str, length_ms: int, wanted: dict[tuple, tuple]) -> None:
    key = "factory_id" if view.startswith("factory") else "machine_id"
    found = {}
    for whose, sensor, start, end, *row in dashboard.execute(f"SELECT {key}, sensor, {COLUMNS} FROM dashboard.{view}"):
        assert end - start == length_ms
        found[whose, sensor, int(start)] = row
    assert found.keys() == wanted.keys()
    for at, (count, mean, sd, low, high, last) in wanted.items():
        got_count, got_mean, got_sd, *rest = found[at]
        assert (got_count, *rest) == (count, low, high, last)
        assert math.isclose(got_mean, mean, rel_tol=1e-9)
        assert math.isclose(got_sd, sd, rel_tol=1e-9, abs_tol=1e-9 * mean)


def test_windows_of_every_length_are_what_the_messages_say(database, dashboard, messages) -> None:
    stored(database.dsn, messages, FoldRules(), range(0, len(messages), 7), merge_every=3)

    for view, length_ms in LENGTHS.items():
        by = "factory" if view.startswith("factory") else "machine"
        assert_view(dashboard, view, length_ms, expected(messages, length_ms, length_ms, by))
    hopping = expected(messages, 5 * MINUTE_MS, MINUTE_MS, "machine")
    assert_view(dashboard, "reading_window_5min", 5 * MINUTE_MS, hopping)


def test_a_window_is_complete_when_the_watermark_has_passed_its_end(database, dashboard) -> None:
    stored(database.dsn, [message("m0", at, t=1.0) for at in (0, 40_000, 70_000, 130_000)], FoldRules())

    # The watermark stands at 120 s
    def complete(view: str) -> list[bool]:
        return [c for (c,) in dashboard.execute(f"SELECT complete FROM dashboard.{view} ORDER BY window_start")]

    assert complete("reading_window_30s") == [True, True, True, False]
    assert complete("reading_window") == complete("factory_window") == [True, True, False]
    assert complete("reading_hour") == complete("reading_day") == complete("factory_day") == [False]
    assert complete("reading_window_5min")[:5] == [True, True, False, False, False]


def test_freshness_says_up_to_which_event_time_each_table_is_complete(database, dashboard) -> None:
    stored(database.dsn, [message("m0", at, t=1.0) for at in (0, 40_000, 200_000)], FoldRules())

    row = dashboard.execute(
        "SELECT events_complete_to, windows_complete_to, cycles_complete_to FROM dashboard.freshness"
    ).fetchone()

    begin = dt.datetime.fromtimestamp(START_MS / 1000, dt.UTC)
    seconds = [(each - begin).total_seconds() for each in row]
    assert seconds == [190.0, 190.0, 180.0 - 30.0]


def test_late_and_very_late_readings_are_counted_in_every_window(database, dashboard) -> None:
    stored(database.dsn, [message("m0", at, t=1.0) for at in (0, 3 * HOUR_MS, 2 * HOUR_MS, 1_000)], FoldRules())

    for view in LENGTHS:
        row = dashboard.execute(f"SELECT sum(late_count), sum(very_late_count) FROM dashboard.{view}").fetchone()
        assert row == (2, 1), view
    assert dashboard.execute("SELECT late, very_late FROM dashboard.machine_state").fetchone() == (2, 1)


def test_whole_minutes_of_the_version_before_count_in_minutes_and_are_no_half_minutes(
    database, admin, dashboard
) -> None:
    stored(database.dsn, [message("m0", at, t=float(at)) for at in (61_000, 95_000, 125_000)], FoldRules())
    # As the version before stored it, which did not know of the column
    admin.execute(
        "UPDATE reading_window SET length_s = DEFAULT WHERE window_start = to_timestamp(%s)", [START_MS / 1000 + 120]
    )
    assert admin.execute("SELECT length_s FROM reading_window ORDER BY window_start").fetchall() == [
        (30,),
        (30,),
        (60,),
    ]

    halves = dashboard.execute("SELECT min FROM dashboard.reading_window_30s ORDER BY window_start").fetchall()
    minutes = dashboard.execute("SELECT count, min, max FROM dashboard.reading_window ORDER BY window_start").fetchall()
    assert halves == [(61_000.0,), (95_000.0,)]
    assert minutes == [(2, 61_000.0, 95_000.0), (1, 125_000.0, 125_000.0)]


def test_the_minutes_of_some_time_are_found_by_the_index(database, admin) -> None:
    admin.execute("SET enable_seqscan = off")
    plan = admin.execute(
        "EXPLAIN SELECT * FROM dashboard.reading_window WHERE machine_id = 'm0' AND sensor = 't'"
        " AND window_start >= '2026-09-22Z' AND window_start < '2026-09-23Z'"
    ).fetchall()

    (condition,) = [line for (line,) in plan if "Index Cond" in line]
    assert all(part in condition for part in ("machine_id", "sensor", "date_bin", "2026-09-22", "2026-09-23"))


def test_a_table_with_rows_gets_its_index_beside_its_writers(database, admin) -> None:
    admin.execute(f"DROP INDEX {window_index.INDEX}")

    assert window_index.bring_up_to_date(database.admin_dsn)
    assert not window_index.bring_up_to_date(database.admin_dsn)


def test_an_index_that_was_interrupted_is_built_again(database, admin) -> None:
    admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [window_index.INDEX])

    assert window_index.bring_up_to_date(database.admin_dsn)

    state = admin.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", [window_index.INDEX])
    assert state.fetchone() == (True,)
