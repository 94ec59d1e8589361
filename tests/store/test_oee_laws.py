"""R16: whatever came in which order, effectiveness and yields are what somebody else computes from what is there at the end.

The other computation looks at every minute of every period, asks the clock on the wall of the factory of which day and shift it
is, and leaves the sums to DuckDB.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.store.connect import Connection, connect
from pipeline.store.oee import refresh
from tests.conftest import Database
from tests.store.quality import Report, at, entity, rewrite, rows, store, sum_up, withdraw

FACTORIES = ("f", "g")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns")
LINES_OF = {"m0": "l0", "m1": "l1"}
KNOWN = ("s0", "s1")
# The clocks of Berlin and St. John's are moved in these weeks
BEGINNINGS = (at("2026-03-07 20:00"), at("2026-03-28 18:00"), at("2026-10-24 12:00"), at("2026-10-31 18:00"))
# None begins or ends in the hours that there are twice or not at all: there the wall does not tell when
SHIFTS = (
    ("06:00", "14:00"),
    ("14:00", "22:00"),
    ("22:00", "06:00"),
    ("20:15", "05:45"),
    ("04:00", "04:00"),
    ("16:00", "24:00"),
)

seconds = st.one_of(st.just(0.0), st.floats(0.001, 40_000), st.integers(0, 4000).map(float))
pieces = st.one_of(st.just(0), st.integers(0, 3000))


@dataclass(frozen=True)
class Shift:
    """A shift as it is put into the metadata."""

    factory_id: str
    hours: tuple[str, str]
    weekdays: tuple[int, ...]


@dataclass
class Known:
    """What is there, as the other computation sees it."""

    reports: list[Report] = field(default_factory=list)
    made: int = 0
    zones: dict[str, str] = field(default_factory=dict)
    shifts: dict[str, Shift] = field(default_factory=dict)


@st.composite
def made_reports(draw: st.DrawFn) -> Report:
    start = draw(st.sampled_from(BEGINNINGS)) + dt.timedelta(minutes=draw(st.integers(0, 2000)))
    return Report(
        f"m{draw(st.integers(0, 2))}",
        start,
        start + dt.timedelta(minutes=draw(st.one_of(st.just(15), st.integers(1, 1700)))),
        factory_id=draw(st.sampled_from(FACTORIES)),
        line_id=draw(st.sampled_from(("", "", "l1"))),
        sku=f"s{draw(st.integers(0, 2))}",
        good=draw(pieces),
        snag=draw(pieces),
        reject=draw(pieces),
        planned_s=draw(seconds),
        run_s=draw(seconds),
        ideal_cycle_s=draw(st.one_of(st.just(0.0), st.floats(0.001, 100))),
        number=0,
    )


made_shifts = st.builds(
    Shift,
    st.sampled_from(FACTORIES),
    st.sampled_from(SHIFTS),
    st.sets(st.integers(1, 7), min_size=1).map(lambda days: tuple(sorted(days))),
)
steps = st.one_of(
    st.tuples(st.just("store"), st.lists(made_reports(), min_size=1, max_size=12)),
    st.tuples(st.just("withdraw"), st.integers(0, 30)),
    st.tuples(st.just("rewrite"), st.tuples(st.integers(0, 30), made_reports())),
    st.tuples(st.just("zone"), st.tuples(st.sampled_from(FACTORIES), st.sampled_from(ZONES))),
    st.tuples(st.just("shift"), st.tuples(st.sampled_from(("a", "b", "c")), st.none() | made_shifts)),
    st.tuples(st.just("refresh"), st.integers(1, 5)),
)


@pytest.fixture(scope="module")
def plant(new_database: Callable[[], AbstractContextManager[Database]]) -> Iterator[Connection]:
    with new_database() as database, connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(steps, min_size=2, max_size=14))
def test_the_tables_are_those_of_another_computation(plant: Connection, taken: list[tuple[str, Any]]) -> None:
    known = _begin(plant)
    for step, what in taken:
        _take(plant, known, step, what)
    sum_up(plant)

    for view, expected in _computed(known).items():
        found = rows(plant, f"SELECT * FROM dashboard.{view}")
        key = [name for name in KEYS if name in expected.columns]
        by_key = {tuple(row[name] for name in key): row for row in found}
        wanted = [dict(zip(expected.columns, row, strict=True)) for row in expected.fetchall()]
        assert {tuple(row[name] for name in key) for row in wanted} == set(by_key), view
        assert len(by_key) == len(found), view
        for row in wanted:
            same = by_key[tuple(row.pop(name) for name in key)]
            assert [name for name, value in row.items() if not _same(same[name], value)] == [], (view, same, row)
    counted = {row["source"] for row in rows(plant, "SELECT event_id AS source FROM dashboard.oee_report WHERE counts")}
    assert len(counted) == len(_counting(known.reports))


KEYS = ("machine_id", "factory_id", "line_id", "sku", "shift_id", "date")


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and found is not None:
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    return bool(found == wanted)


def _begin(plant: Connection) -> Known:
    plant.execute("DELETE FROM quality_report")
    plant.execute("DELETE FROM metadata_command")
    sum_up(plant)
    assert rows(plant, "SELECT FROM oee_part") == []
    for machine, line in LINES_OF.items():
        entity(plant, "machine", machine, factory_id="f", line_id=line)
    for sku in KNOWN:
        entity(plant, "sku", sku, name=sku.upper())
    return Known()


def _take(plant: Connection, known: Known, step: str, what: Any) -> None:
    match step:
        case "store":
            fresh = [replace(each, number=known.made + i) for i, each in enumerate(what)]
            store(plant, *fresh)
            known.reports += fresh
            known.made += len(fresh)
        case "withdraw":
            gone = [each for each in known.reports if each.number == what]
            withdraw(plant, *gone)
            known.reports = [each for each in known.reports if each not in gone]
        case "rewrite":
            number, other = what
            if any(each.number == number for each in known.reports):
                fresh = replace(other, number=number)
                rewrite(plant, fresh)
                known.reports = [fresh if each.number == number else each for each in known.reports]
        case "zone":
            entity(plant, "factory", what[0], name=what[0], time_zone=what[1])
            known.zones[what[0]] = what[1]
        case "shift":
            name, shift = what
            if shift is None:
                entity(plant, "shift", name, removed=True)
                known.shifts.pop(name, None)
            else:
                start, end = shift.hours
                body = {"factory_id": shift.factory_id, "start": start, "end": end, "weekdays": list(shift.weekdays)}
                entity(plant, "shift", name, name=name, **body)
                known.shifts[name] = shift
        case "refresh":
            refresh(plant, what)


def _counting(reports: list[Report]) -> list[Report]:
    def replaces(later: Report, earlier: Report) -> bool:
        return (
            (later.machine_id, later.sku) == (earlier.machine_id, earlier.sku)
            and later.number > earlier.number
            and later.period_start < earlier.period_end
            and later.period_end > earlier.period_start
        )

    return [each for each in reports if not any(replaces(other, each) for other in reports)]


def _minutes(known: Known) -> Iterator[tuple[int, str, dt.date]]:
    """Yield report, shift (empty: the day) and date of every minute."""
    clock = {name: dt.time.fromisoformat(name) for pair in SHIFTS for name in pair if name != "24:00"}
    for number, each in enumerate(_counting(known.reports)):
        zone = ZoneInfo(known.zones.get(each.factory_id, "UTC"))
        shifts = [(name, shift) for name, shift in known.shifts.items() if shift.factory_id == each.factory_id]
        instant = each.period_start
        while instant < each.period_end:
            wall = instant.astimezone(zone)
            today, now = wall.date(), wall.time()
            yield number, "", today
            for name, shift in shifts:
                start, end = clock[shift.hours[0]], clock.get(shift.hours[1])
                yesterday = today - dt.timedelta(days=1)
                over_midnight = end is not None and end <= start
                if (
                    now >= start
                    and (end is None or over_midnight or now < end)
                    and today.isoweekday() in shift.weekdays
                ):
                    yield number, name, today
                if over_midnight and end is not None and now < end and yesterday.isoweekday() in shift.weekdays:
                    yield number, name, yesterday
            instant += dt.timedelta(minutes=1)


_REPORT = """
CREATE TABLE share AS SELECT r.*, line AS line_id, shift_id, date, n / r.minutes AS share
FROM (SELECT number, shift_id, date, count(*) AS n FROM minute GROUP BY ALL) JOIN report AS r USING (number)
"""
_OEE = """
SELECT {key}, date,
       count(DISTINCT machine_id) AS machines,
       count(DISTINCT number) AS reports,
       coalesce(sum(share * planned_s), 0) AS planned,
       coalesce(sum(share * run_s) FILTER (planned_s > 0), 0) AS run,
       coalesce(sum(share * least(run_s, planned_s)) FILTER (planned_s > 0), 0) AS available,
       coalesce(sum(share * (good + snag + reject) * ideal_cycle_s) FILTER (planned_s > 0), 0) AS ideal,
       coalesce(sum(share * good) FILTER (planned_s > 0), 0) AS good,
       coalesce(sum(share * (good + snag + reject)) FILTER (planned_s > 0), 0) AS total,
       coalesce(sum(share * run_s) FILTER (planned_s = 0), 0) AS unplanned_run_s,
       count(DISTINCT number) FILTER (planned_s = 0) AS unplanned_reports,
       count(DISTINCT number) FILTER (planned_s > 0 AND run_s > planned_s) AS over_planned_reports,
       count(DISTINCT number) FILTER (NOT known) AS unknown_sku_reports
FROM share WHERE {which} GROUP BY {key}, date
"""
_RATIOS = """
SELECT {key}, date, machines, reports, planned AS planned_s, run AS run_s, available AS available_s, ideal AS ideal_s,
       good, total,
       unplanned_run_s, unplanned_reports, over_planned_reports, unknown_sku_reports,
       CASE WHEN planned > 0 THEN available / planned END AS availability,
       CASE WHEN run > 0 THEN ideal / run END AS performance,
       CASE WHEN total > 0 THEN good / total END AS quality,
       CASE WHEN planned > 0 THEN CASE WHEN run > 0 AND total > 0
            THEN available / planned * (ideal / run) * (good / total) ELSE 0 END END AS oee
FROM ({sums})
"""
_YIELD = """
SELECT {key}, date, sum(share * good) AS good, sum(share * snag) AS snag, sum(share * reject) AS reject,
       CASE WHEN sum(good + snag + reject) > 0 THEN sum(share * snag) / sum(share * (good + snag + reject)) END AS snag_rate,
       NOT bool_and(known) AS unknown_sku
FROM share WHERE {which} GROUP BY {key}, date
"""


def _computed(known: Known) -> dict[str, duckdb.DuckDBPyRelation]:
    """Return what every view should have."""
    counting = _counting(known.reports)
    columns = ("machine_id", "factory_id", "sku", "good", "snag", "reject", "planned_s", "run_s", "ideal_cycle_s")
    report = {name: [getattr(each, name) for each in counting] for name in columns} | {
        "number": list(range(len(counting))),
        "line": [each.line_id or LINES_OF.get(each.machine_id, "") for each in counting],
        "minutes": [(each.period_end - each.period_start) / dt.timedelta(minutes=1) for each in counting],
        "known": [each.sku in KNOWN for each in counting],
    }
    numbers, shifts, dates = zip(*_minutes(known), strict=True) if counting else ([], [], [])
    types = {name: pa.int64() for name in ("good", "snag", "reject", "number")} | {"known": pa.bool_()}
    types |= {name: pa.string() for name in ("machine_id", "factory_id", "sku", "line")}
    duck = duckdb.connect()
    duck.register("report", pa.table({name: pa.array(v, types.get(name, pa.float64())) for name, v in report.items()}))
    minute = [pa.array(numbers, pa.int64()), pa.array(shifts, pa.string()), pa.array(dates, pa.date32())]
    duck.register("minute", pa.table(minute, ["number", "shift_id", "date"]))
    duck.execute(_REPORT)
    views = {}
    for level, key in (
        ("machine", "machine_id, factory_id"),
        ("line", "factory_id, line_id"),
        ("factory", "factory_id"),
    ):
        for span, more, which in (("shift", ", shift_id", "shift_id <> ''"), ("day", "", "shift_id = ''")):
            sums = _OEE.format(key=key + more, which=which)
            views[f"oee_{level}_{span}"] = duck.sql(_RATIOS.format(key=key + more, sums=sums))
    for span, more, which in (("shift", ", shift_id", "shift_id <> ''"), ("day", "", "shift_id = ''")):
        views[f"yield_sku_{span}"] = duck.sql(_YIELD.format(key="factory_id, sku" + more, which=which))
    return views
