"""R16: effectiveness and yields, each edge case worked out by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from pipeline.store.connect import Connection, connect
from pipeline.store.oee import refresh
from tests.store.quality import entity, one, report, rewrite, rows, store, sum_up, withdraw
from tests.system.processes import Site

MONDAY = dt.date(2026, 3, 2)
DAY = "SELECT * FROM dashboard.oee_machine_day WHERE machine_id = %s"
LINE = "SELECT * FROM dashboard.oee_line_day WHERE line_id = %s"
FACTORY = "SELECT * FROM dashboard.oee_factory_day"


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-12)


@pytest.fixture
def plant(database) -> Iterator[Connection]:
    """The owner's connection to a database without reports."""
    with connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


def test_a_report_is_availability_times_performance_times_quality(plant: Connection) -> None:
    store(plant, report("m", "2026-03-02 06:00"))
    sum_up(plant)

    by_report, by_day = one(plant, "SELECT * FROM dashboard.oee_report"), one(plant, DAY, "m")

    # 720 of 900 s, 330 pieces of 2 s in 720 s, 300 of 330: 300 good pieces of 2 s in 900 s
    for row in (by_report, by_day):
        assert row["availability"] == near(0.8)
        assert row["performance"] == near(660 / 720)
        assert row["quality"] == near(300 / 330)
        assert row["oee"] == near(600 / 900)
    assert (by_day["date"], by_day["planned_s"], by_day["ideal_s"], by_day["total"]) == (MONDAY, 900, 660, 330)
    assert by_report["counts"]
    assert not by_report["over_planned"]
    assert not by_report["performance_over"]


def test_a_change_is_summed_up_without_a_look_at_what_its_machine_reported_long_ago(plant: Connection) -> None:
    long_ago = dt.datetime(2025, 6, 1, 6, tzinfo=dt.UTC)
    store(plant, *(report("m", f"{long_ago + dt.timedelta(hours=n):%Y-%m-%d %H:%M}") for n in range(500)))
    sum_up(plant)
    store(plant, report("m", "2026-03-02 06:00"))
    fetched = "SELECT pg_stat_get_xact_tuples_fetched(oid), pg_stat_get_xact_tuples_returned(oid) FROM pg_class"

    with plant.transaction():
        plant.execute("SET LOCAL enable_seqscan = off")
        assert refresh(plant) > 0
        by_index, by_scan = plant.execute(f"{fetched} WHERE relname = 'quality_report'").fetchone() or (0, 0)

    assert by_index < 100
    assert by_scan == 0


def test_a_roll_up_sums_the_parts_and_does_not_average_ratios(plant: Connection) -> None:
    entity(plant, "machine", "a", factory_id="f", line_id="l")
    entity(plant, "machine", "b", factory_id="f", line_id="l")
    store(
        plant,
        report("a", "2026-03-02 06:00", good=90, snag=6, reject=4, planned_s=900, run_s=800, ideal_cycle_s=7),
        report("b", "2026-03-02 06:00", good=1, snag=0, reject=9, planned_s=100, run_s=10, ideal_cycle_s=0.5),
        report(
            "c", "2026-03-02 06:00", line_id="k", good=50, snag=0, reject=0, planned_s=1000, run_s=500, ideal_cycle_s=8
        ),
    )
    sum_up(plant)

    line, factory = one(plant, LINE, "l"), one(plant, FACTORY)

    assert line["availability"] == near(810 / 1000)
    assert line["performance"] == near(705 / 810)
    assert line["quality"] == near(91 / 110)
    assert line["oee"] == near(0.81 * (705 / 810) * (91 / 110))
    assert (line["machines"], line["machines_registered"], line["reports"]) == (2, 2, 2)
    assert factory["availability"] == near(1310 / 2000)
    assert factory["performance"] == near((705 + 400) / 1310)
    assert factory["quality"] == near(141 / 160)
    assert (factory["machines"], factory["machines_registered"]) == (3, 2)


def test_without_planned_time_there_is_no_availability_and_the_roll_up_does_not_count_it(plant: Connection) -> None:
    store(
        plant,
        report("idle", "2026-03-02 06:00", planned_s=0, run_s=300, good=40, snag=0, reject=10),
        report("busy", "2026-03-02 06:00"),
    )
    sum_up(plant)

    idle, factory = one(plant, DAY, "idle"), one(plant, FACTORY)
    made = one(plant, "SELECT * FROM dashboard.yield_sku_day")

    assert (idle["availability"], idle["oee"], idle["total"], idle["unplanned_reports"]) == (None, None, 0, 1)
    assert (idle["unplanned_run_s"], idle["unplanned_total"], idle["coverage"]) == (300, 50, 0)
    assert one(plant, "SELECT * FROM dashboard.oee_report WHERE machine_id = 'idle'")["unplanned"]
    assert (factory["availability"], factory["oee"]) == (near(0.8), near(600 / 900))
    assert (factory["reports"], factory["unplanned_reports"], factory["machines"]) == (2, 1, 2)
    assert (made["good"], made["total"]) == (340, 380), "yields are of all pieces"


def test_overtime_is_capped_and_does_not_hide_that_another_machine_stood_still(plant: Connection) -> None:
    store(
        plant,
        report("over", "2026-03-02 06:00", planned_s=600, run_s=900),
        report("under", "2026-03-02 06:00", planned_s=600, run_s=300),
    )
    sum_up(plant)

    over, factory = one(plant, DAY, "over"), one(plant, FACTORY)

    assert (over["availability"], over["over_planned_reports"], over["run_s"]) == (1, 1, 900)
    assert over["performance"] == near(660 / 900), "pieces were made in all of the time"
    assert one(plant, "SELECT * FROM dashboard.oee_report WHERE machine_id = 'over'")["over_planned"]
    assert factory["availability"] == near(900 / 1200)
    assert factory["performance"] == near(1320 / 1200)


@pytest.mark.parametrize(("run_s", "performance"), [(500.0, 0.0), (0.0, None)])
def test_where_nothing_was_made_quality_is_unknown_and_the_effectiveness_is_0(plant, run_s, performance) -> None:
    store(plant, report("m", "2026-03-02 06:00", good=0, snag=0, reject=0, planned_s=900, run_s=run_s))
    sum_up(plant)

    row = one(plant, DAY, "m")

    assert (row["availability"], row["performance"], row["quality"], row["oee"]) == (
        near(run_s / 900),
        performance,
        None,
        0,
    )


def test_a_performance_above_1_is_kept_and_flagged(plant: Connection) -> None:
    store(plant, report("m", "2026-03-02 06:00", ideal_cycle_s=3))
    sum_up(plant)

    for row in (one(plant, DAY, "m"), one(plant, "SELECT * FROM dashboard.oee_report")):
        assert row["performance"] == near(990 / 720)
        assert row["performance_over"]


def test_an_unknown_sku_counts_and_is_flagged_until_it_is_known(plant: Connection) -> None:
    store(plant, report("m", "2026-03-02 06:00"), report("m", "2026-03-02 06:15", sku="known"))
    entity(plant, "sku", "known", name="Bolt")
    sum_up(plant)

    assert one(plant, DAY, "m")["unknown_sku_reports"] == 1
    flags = "SELECT sku, sku_name, unknown_sku FROM dashboard.yield_sku_day ORDER BY sku"
    assert [tuple(row.values()) for row in rows(plant, flags)] == [("known", "Bolt", False), ("s", None, True)]
    entity(plant, "sku", "s", name="Nut")
    assert one(plant, DAY, "m")["unknown_sku_reports"] == 0
    assert not one(plant, "SELECT unknown_sku FROM dashboard.oee_report WHERE sku = 's'")["unknown_sku"]


def test_yield_snag_and_reject_rates_by_sku(plant: Connection) -> None:
    entity(plant, "shift", "early", factory_id="f", name="Early", start="06:00", end="14:00", weekdays=[1])
    store(
        plant,
        report("m", "2026-03-02 06:00", good=6, snag=3, reject=1),
        report("n", "2026-03-02 15:00", good=4, snag=0, reject=6),
    )
    sum_up(plant)

    day, shift = (
        one(plant, "SELECT * FROM dashboard.yield_sku_day"),
        one(plant, "SELECT * FROM dashboard.yield_sku_shift"),
    )

    assert (day["yield"], day["snag_rate"], day["reject_rate"], day["machines"]) == (
        near(0.5),
        near(0.15),
        near(0.35),
        2,
    )
    assert (shift["shift_id"], shift["yield"], shift["snag_rate"], shift["total"]) == (
        "early",
        near(0.6),
        near(0.3),
        10,
    )


def test_a_report_without_a_line_is_of_its_machines_line_or_of_none_and_of_the_factory_all_the_same(plant) -> None:
    entity(plant, "machine", "a", factory_id="f", line_id="l")
    store(
        plant,
        report("a", "2026-03-02 06:00"),
        report("b", "2026-03-02 06:00"),
        report("a", "2026-03-02 06:15", line_id="k"),
    )
    sum_up(plant)

    lines = rows(plant, "SELECT line_id, reports FROM dashboard.oee_line_day ORDER BY 1")

    assert [tuple(row.values()) for row in lines] == [("", 1), ("k", 1), ("l", 1)]
    assert one(plant, FACTORY)["reports"] == 3
    assert one(plant, "SELECT line_id FROM dashboard.oee_report WHERE machine_id = 'b'")["line_id"] == ""


def test_a_period_over_midnight_is_shared_out_in_proportion_to_the_time(plant: Connection) -> None:
    entity(plant, "factory", "f", time_zone="Asia/Kolkata")
    # Midnight in Kolkata is 18:30 UTC
    store(
        plant,
        report("m", "2026-03-02 18:20", 40, good=40, snag=8, reject=4, planned_s=2400, run_s=2000, ideal_cycle_s=1),
    )
    sum_up(plant)

    first, second = rows(plant, DAY + " ORDER BY date", "m")

    assert (first["date"], second["date"]) == (MONDAY, MONDAY + dt.timedelta(days=1))
    assert (first["planned_s"], second["planned_s"]) == (near(600), near(1800))
    assert (first["good"], first["snag"], first["reject"], first["ideal_s"]) == (near(10), near(2), near(1), near(13))
    assert (second["run_s"], second["total"], second["ideal_s"]) == (near(1500), near(39), near(39))
    assert first["oee"] == near(second["oee"])
    assert (first["reports"], second["reports"]) == (1, 1)


def test_a_period_over_a_change_of_shifts_is_shared_out_and_time_outside_any_shift_is_only_of_the_day(plant) -> None:
    entity(plant, "shift", "early", factory_id="f", name="Early", start="06:00", end="14:00", weekdays=[1, 2, 3, 4, 5])
    entity(plant, "shift", "late", factory_id="f", name="Late", start="14:00", end="22:00", weekdays=[1, 2, 3, 4, 5])
    entity(plant, "shift", "elsewhere", factory_id="g", name="Elsewhere", start="00:00", end="24:00")
    store(
        plant,
        report("m", "2026-03-02 13:55", 20, planned_s=1200, run_s=1000),
        report("m", "2026-03-02 21:45", 30, planned_s=1200),
    )
    sum_up(plant)

    early, late = rows(plant, "SELECT * FROM dashboard.oee_machine_shift ORDER BY starts_at")

    assert (early["shift_id"], early["shift_name"], early["planned_s"], early["run_s"]) == (
        "early",
        "Early",
        near(300),
        near(250),
    )
    assert (late["shift_id"], late["planned_s"], late["reports"]) == ("late", near(900 + 600), 2)
    assert one(plant, DAY, "m")["planned_s"] == near(2400)
    assert {row["shift_id"] for row in rows(plant, "SELECT shift_id FROM dashboard.oee_factory_shift")} == {
        "early",
        "late",
    }


def test_a_night_shift_is_of_the_day_on_which_it_begins_and_only_on_its_weekdays(plant: Connection) -> None:
    entity(plant, "shift", "night", factory_id="f", name="Night", start="22:00", end="06:00", weekdays=[1])
    store(plant, report("m", "2026-03-02 23:00"), report("m", "2026-03-03 05:30"), report("m", "2026-03-03 23:00"))
    sum_up(plant)

    night = one(plant, "SELECT * FROM dashboard.oee_machine_shift")

    assert (night["date"], night["reports"], night["planned_s"]) == (MONDAY, 2, 1800)
    assert night["coverage"] == near(1800 / 28800)


def test_a_night_shift_is_found_and_goes_with_a_report_of_the_next_morning_alone(plant: Connection) -> None:
    entity(plant, "shift", "night", factory_id="f", name="Night", start="22:00", end="06:00", weekdays=[1])
    store(plant, report("m", "2026-03-03 05:30"))
    sum_up(plant)
    shifts = "SELECT date FROM dashboard.oee_machine_shift"
    assert one(plant, shifts)["date"] == MONDAY

    entity(plant, "shift", "night", removed=True)
    sum_up(plant)

    assert rows(plant, shifts) == []
    assert rows(plant, "SELECT FROM oee_calendar") == []


@pytest.mark.parametrize(
    ("night", "hours", "length_h", "day_h"),
    [("2026-03-28 21:00", 7, 7, 23), ("2026-10-24 20:00", 9, 9, 25), ("2026-06-01 20:00", 8, 8, 24)],
)
def test_a_night_shift_over_a_change_of_the_clocks_has_its_true_length(plant, night, hours, length_h, day_h) -> None:
    entity(plant, "factory", "f", time_zone="Europe/Berlin")
    entity(plant, "shift", "night", factory_id="f", name="Night", start="22:00", end="06:00")
    store(plant, report("m", night, 60 * hours, planned_s=3600 * hours))
    sum_up(plant)

    shift = one(plant, "SELECT * FROM dashboard.oee_machine_shift")
    last = rows(plant, DAY + " ORDER BY date", "m")[-1]

    assert shift["ends_at"] - shift["starts_at"] == dt.timedelta(hours=length_h)
    assert (shift["coverage"], shift["planned_s"]) == (near(1), 3600 * hours)
    assert last["ends_at"] - last["starts_at"] == dt.timedelta(hours=day_h)
    assert last["coverage"] == near((hours - 2) / day_h)


def test_a_shift_that_begins_in_the_hour_that_is_left_out_begins_when_the_clocks_are_moved(plant: Connection) -> None:
    entity(plant, "factory", "f", time_zone="Europe/Berlin")
    entity(plant, "shift", "odd", factory_id="f", name="Odd", start="02:30", end="04:30")
    store(plant, report("m", "2026-03-29 01:00", 60, planned_s=3600))
    sum_up(plant)

    odd = one(plant, "SELECT * FROM dashboard.oee_machine_shift")

    assert (odd["ends_at"] - odd["starts_at"], odd["planned_s"]) == (dt.timedelta(hours=1), near(1800))


def test_coverage_says_what_part_of_the_shift_was_reported(plant: Connection) -> None:
    entity(plant, "shift", "early", factory_id="f", name="Early", start="06:00", end="14:00")
    entity(plant, "machine", "silent", factory_id="f", line_id="l")
    entity(plant, "machine", "pump", factory_id="f", line_id="l", machine_type="hvac_pump")
    entity(plant, "machine", "off", factory_id="f", line_id="l", status="disabled")
    store(plant, *(report("m", f"2026-03-02 {hour:02}:00", 60, planned_s=3600) for hour in (6, 7, 9, 10, 12)))
    store(plant, report("n", "2026-03-02 06:00", 60, planned_s=3600))
    sum_up(plant)

    machine = one(plant, "SELECT * FROM dashboard.oee_machine_shift WHERE machine_id = 'm'")
    factory = one(plant, "SELECT * FROM dashboard.oee_factory_shift")

    assert machine["coverage"] == near(5 / 8)
    assert (factory["coverage"], factory["machines"], factory["machines_registered"]) == (near(6 / 16), 2, 1)


def test_of_overlapping_reports_the_one_made_last_counts_in_all_of_its_time(plant: Connection) -> None:
    wrong = report("m", "2026-03-02 23:30", 60, planned_s=3600, run_s=3600)
    store(plant, wrong, report("m", "2026-03-02 23:00", 30), report("m", "2026-03-02 23:30", 60, sku="other"))
    sum_up(plant)
    right = report("m", "2026-03-02 23:45", 15, planned_s=800, run_s=400)
    store(plant, right)
    sum_up(plant)

    seen = rows(plant, "SELECT period_start, sku, counts FROM dashboard.oee_report ORDER BY reported_at")
    days = rows(plant, "SELECT date, planned_s FROM dashboard.oee_machine_day ORDER BY date")

    assert [row["counts"] for row in seen] == [False, True, True, True]
    # Its 30 minutes of the next day are gone as well; the other SKU's stay
    assert [row["planned_s"] for row in days] == [near(800 + 900 + 450), near(450)]
    withdraw(plant, right)
    sum_up(plant)
    assert [row["planned_s"] for row in rows(plant, DAY + " ORDER BY date", "m")] == [
        near(1800 + 900 + 450),
        near(2250),
    ]
    withdraw(plant, wrong)
    sum_up(plant)
    assert [row["planned_s"] for row in rows(plant, DAY + " ORDER BY date", "m")] == [near(900 + 450), near(450)]


def test_an_older_report_that_comes_later_changes_nothing(plant: Connection) -> None:
    older, newer = report("m", "2026-03-02 06:00", planned_s=100), report("m", "2026-03-02 06:05", planned_s=200)
    store(plant, newer)
    sum_up(plant)
    store(plant, older)
    sum_up(plant)

    assert one(plant, DAY, "m")["planned_s"] == near(200)


def test_a_report_that_is_rewritten_leaves_where_it_was(plant: Connection) -> None:
    first = report("m", "2026-03-02 06:00")
    store(plant, first, report("m", "2026-03-02 06:00", sku="other"))
    sum_up(plant)
    rewrite(plant, replace(report("n", "2026-03-05 06:00", factory_id="g"), number=first.number))
    sum_up(plant)

    found = rows(plant, "SELECT machine_id, factory_id, date, reports FROM dashboard.oee_machine_day ORDER BY 1")

    assert [tuple(row.values()) for row in found] == [
        ("m", "f", MONDAY, 1),
        ("n", "g", MONDAY + dt.timedelta(days=3), 1),
    ]


def test_a_long_period_counts_once_where_days_at_both_of_its_ends_are_summed_up_anew(plant: Connection) -> None:
    store(plant, report("m", "2026-03-02 20:00", 32 * 60, planned_s=32))
    sum_up(plant)
    store(plant, report("m", "2026-03-02 08:00", sku="other"), report("m", "2026-03-04 08:00", sku="other"))
    sum_up(plant)

    assert [row["planned_s"] for row in rows(plant, DAY + " ORDER BY date", "m")] == [near(904), near(24), near(904)]


def test_a_replaced_report_in_another_shift_than_its_correction_leaves_that_too(plant: Connection) -> None:
    entity(plant, "shift", "early", factory_id="f", name="Early", start="06:00", end="14:00")
    entity(plant, "shift", "late", factory_id="f", name="Late", start="14:00", end="22:00")
    store(plant, report("m", "2026-03-02 13:00", 120))
    sum_up(plant)
    assert len(rows(plant, "SELECT FROM dashboard.oee_machine_shift")) == 2

    store(plant, report("m", "2026-03-02 14:30", 60))
    sum_up(plant)

    assert [row["shift_id"] for row in rows(plant, "SELECT shift_id FROM dashboard.oee_machine_shift")] == ["late"]


def test_another_calendar_files_everything_anew(plant: Connection) -> None:
    entity(plant, "factory", "f", time_zone="UTC")
    entity(plant, "shift", "s", factory_id="f", name="S", start="06:00", end="14:00")
    store(plant, report("m", "2026-03-02 07:00"), report("m", "2026-03-02 23:45"), report("n", "2025-07-01 07:00"))
    shifts = "SELECT machine_id, date, starts_at FROM dashboard.oee_machine_shift ORDER BY starts_at"
    sum_up(plant)
    assert len(rows(plant, shifts)) == 2

    entity(plant, "factory", "f", time_zone="Europe/Berlin")
    entity(plant, "shift", "s", factory_id="f", name="S", start="00:00", end="08:00")
    sum_up(plant)

    assert [(row["machine_id"], row["date"]) for row in rows(plant, shifts)] == [("m", MONDAY + dt.timedelta(days=1))]
    assert [row["date"] for row in rows(plant, DAY + " ORDER BY 1", "m")] == [MONDAY, MONDAY + dt.timedelta(days=1)]
    entity(plant, "shift", "s", factory_id="f", name="S", start="00:00", end="10:00")
    sum_up(plant)
    assert len(rows(plant, shifts)) == 3
    entity(plant, "shift", "s", removed=True)
    sum_up(plant)
    assert rows(plant, shifts) == []


def test_another_name_of_a_shift_or_a_factory_sums_up_nothing_anew(plant: Connection) -> None:
    entity(plant, "factory", "f", time_zone="UTC", name="One")
    entity(plant, "shift", "s", factory_id="f", name="S", start="06:00", end="14:00")
    store(plant, report("m", "2026-03-02 07:00"))
    sum_up(plant)

    entity(plant, "factory", "f", time_zone="UTC", name="Two")
    entity(plant, "shift", "s", factory_id="f", name="T", start="06:00", end="14:00")

    assert refresh(plant) == 0
    assert one(plant, "SELECT shift_name FROM dashboard.oee_machine_shift")["shift_name"] == "T"


def test_a_calendar_that_cannot_be_read_is_that_of_utc_without_the_shift(plant: Connection) -> None:
    entity(plant, "factory", "f", time_zone="Middle/Earth")
    entity(plant, "shift", "bad", factory_id="f", name="Bad", start="25:00", end="noon", weekdays="all")
    entity(plant, "shift", "none", factory_id="f", name="None")
    store(plant, report("m", "2026-03-02 23:45"))
    sum_up(plant)

    assert one(plant, DAY, "m")["starts_at"].isoformat() == "2026-03-02T00:00:00+00:00"
    assert rows(plant, "SELECT FROM dashboard.oee_machine_shift") == []


def test_a_period_of_more_than_31_days_is_left_out_and_says_so(plant: Connection) -> None:
    century = report("m", "1971-01-01 00:00", 60 * 24 * 365 * 100)
    store(plant, century, report("m", "2026-03-02 06:00"), report("m", "2026-04-02 06:00", 60 * 24 * 31, sku="month"))
    sum_up(plant)

    seen = rows(plant, "SELECT counts, too_long FROM dashboard.oee_report ORDER BY period_end")

    assert [tuple(row.values()) for row in seen] == [(True, False), (True, False), (False, True)]
    assert len(rows(plant, DAY, "m")) == 1 + 32
    # Made later, it replaces the others all the same
    store(plant, report("m", "1971-01-01 00:00", 60 * 24 * 365 * 100, sku="month"), replace(century, number=10**6))
    sum_up(plant)
    assert rows(plant, DAY, "m") == []
    assert rows(plant, "SELECT FROM dashboard.oee_report WHERE counts") == []


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-7, 1e13, 1e140])
def test_numbers_at_the_ends_of_what_a_float_holds_spoil_nothing(plant: Connection, size: float) -> None:
    most = 2**63 - 1
    odd = {"planned_s": size, "run_s": size, "ideal_cycle_s": size, "good": most, "snag": most, "reject": most}
    store(plant, report("m", "2026-03-02 23:59", 30, **odd), report("n", "2026-03-02 06:00"))
    sum_up(plant)

    for view in ("oee_report", "oee_machine_day", "oee_line_day", "oee_factory_day", "yield_sku_day"):
        assert rows(plant, f"SELECT * FROM dashboard.{view}")
    assert one(plant, DAY, "n")["oee"] == near(600 / 900)


def test_what_waits_is_said_and_the_newest_comes_first(plant: Connection) -> None:
    store(plant, *(report("m", f"2026-03-{day:02} 06:00") for day in (2, 9, 5)))

    waits = one(plant, "SELECT * FROM dashboard.oee_freshness")
    assert waits["waiting"] == 3
    assert waits["waiting_since"] is not None
    assert refresh(plant, 1) == 1
    assert one(plant, DAY, "m")["date"] == dt.date(2026, 3, 9)
    assert refresh(plant, 5) == 2
    assert refresh(plant) == 0
    assert one(plant, "SELECT * FROM dashboard.oee_freshness") == {"waiting": 0, "waiting_since": None}


def test_one_worker_at_a_time_sums_up_and_nobody_waits(database) -> None:
    with connect(database.dsn, autocommit=True, lock_timeout_s=0.2) as worker, connect(database.dsn) as other:
        store(worker, report("m", "2026-03-02 06:00"))
        assert refresh(other) == 1

        assert refresh(worker) == 0
        store(worker, report("m", "2026-03-02 06:15"), report("m", "2026-03-02 06:00", planned_s=1))
        other.commit()

        assert refresh(worker) == 1
    with connect(database.dashboard_dsn) as dashboard:
        assert one(dashboard, DAY, "m")["planned_s"] == near(901)


def test_without_reports_there_is_nothing(plant: Connection) -> None:
    store(plant, report("m", "2026-03-02 06:00"))
    sum_up(plant)
    store(plant, report("n", "2026-03-02 06:00"))

    plant.execute("TRUNCATE quality_report")

    assert rows(plant, "SELECT FROM dashboard.oee_machine_day") == []
    assert refresh(plant) == 0


def test_only_workers_may_sum_up(database) -> None:
    with connect(database.dashboard_dsn) as dashboard, pytest.raises(psycopg.errors.InsufficientPrivilege):
        dashboard.execute("SELECT telemetry.refresh_oee(1)")
    with connect(database.dsn) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("DELETE FROM oee_part")


def test_a_worker_sums_up_by_itself_and_goes_on_when_it_could_not(site: Callable[..., Site], plant: Connection) -> None:
    at = site(partitions=1)
    plant.execute("ALTER TABLE oee_part ADD CONSTRAINT refused CHECK (machine_id <> 'm')")
    store(plant, report("m", "2026-03-02 06:00"))
    worker = at.worker("worker", PIPELINE_OEE__REFRESH_INTERVAL_S="0.2")
    at.wait(lambda: worker.log.exists() and "upkeep.failed" in worker.log.read_text())

    plant.execute("ALTER TABLE oee_part DROP CONSTRAINT refused")

    at.wait(lambda: len(rows(plant, DAY, "m")) == 1)
