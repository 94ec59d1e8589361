"""Effectiveness and yields, computed once more from reports and the plant, with nothing of the pipeline's code.

Every minute of every period is looked at, the clock on the wall of the factory says of which day and shift it is, and the sums
are left to DuckDB. Periods begin and end at whole minutes.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from tests.store.quality import Report

_MINUTE, _DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)


@dataclass(frozen=True)
class Shift:
    """A shift as it is put into the metadata."""

    factory_id: str
    hours: tuple[str, str]
    weekdays: tuple[int, ...]


@dataclass
class Known:
    """What is there, as the other computation sees it.

    Parameters
    ----------
    reports
        Whose ``number`` says in which order they were made.
    made
        How many reports there ever were.
    zones
        Time zones of factories; UTC where there is none.
    lines
        Lines of machines that are registered on one.
    skus
        Those that are registered.
    """

    reports: list[Report] = field(default_factory=list)
    made: int = 0
    zones: dict[str, str] = field(default_factory=dict)
    shifts: dict[str, Shift] = field(default_factory=dict)
    lines: Mapping[str, str] = field(default_factory=dict)
    skus: Collection[str] = ()


def counting(reports: list[Report]) -> list[Report]:
    """Return those that no report made later, of the same machine and SKU, is about a part of the time of."""
    same = defaultdict(list)
    for each in reports:
        same[each.machine_id, each.sku].append(each)

    def replaces(later: Report, earlier: Report) -> bool:
        return (
            later.number > earlier.number
            and later.period_start < earlier.period_end
            and later.period_end > earlier.period_start
        )

    return [each for each in reports if not any(replaces(other, each) for other in same[each.machine_id, each.sku])]


def computed(known: Known) -> dict[str, duckdb.DuckDBPyRelation]:
    """Return what every view of sums should have."""
    counts = counting(known.reports)
    duck = duckdb.connect()
    duck.register("report", _reports(known, counts))
    minutes = list(_minutes(known, counts))
    numbers, shifts, dates = zip(*minutes, strict=True) if minutes else ([], [], [])
    minute = [pa.array(numbers, pa.int64()), pa.array(shifts, pa.string()), pa.array(dates, pa.date32())]
    duck.register("minute", pa.table(minute, ["number", "shift_id", "date"]))
    duck.register("span", _spans(known, {(counts[n].factory_id, shift, date) for n, shift, date in minutes}))
    duck.execute(_SHARE)
    views = {}
    for span, more, which in (("shift", ", shift_id", "shift_id <> ''"), ("day", "", "shift_id = ''")):
        for level, key in (
            ("machine", "machine_id, factory_id"),
            ("line", "factory_id, line_id"),
            ("factory", "factory_id"),
        ):
            sums = _OEE.format(key=key + more, which=which)
            views[f"oee_{level}_{span}"] = duck.sql(_RATIOS.format(key=key + more, sums=sums))
        views[f"yield_sku_{span}"] = duck.sql(_YIELD.format(key="factory_id, sku" + more, which=which))
    return views


def _reports(known: Known, counts: list[Report]) -> pa.Table:
    columns = ("machine_id", "factory_id", "sku", "good", "snag", "reject", "planned_s", "run_s", "ideal_cycle_s")
    report = {name: [getattr(each, name) for each in counts] for name in columns} | {
        "number": list(range(len(counts))),
        "line": [each.line_id or known.lines.get(each.machine_id, "") for each in counts],
        "minutes": [(each.period_end - each.period_start) / _MINUTE for each in counts],
        "known": [each.sku in known.skus for each in counts],
    }
    types = {name: pa.int64() for name in ("good", "snag", "reject", "number")} | {"known": pa.bool_()}
    types |= {name: pa.string() for name in ("machine_id", "factory_id", "sku", "line")}
    return pa.table({name: pa.array(values, types.get(name, pa.float64())) for name, values in report.items()})


def _zone(known: Known, factory: str) -> ZoneInfo:
    return ZoneInfo(known.zones.get(factory, "UTC"))


def _clock(text: str) -> dt.time | None:
    """Return a time of day; ``None`` for the end of the day."""
    return None if text == "24:00" else dt.time.fromisoformat(text)


def _minutes(known: Known, counts: list[Report]) -> Iterator[tuple[int, str, dt.date]]:
    """Yield report, shift (empty: the day) and date of every minute."""
    for number, each in enumerate(counts):
        zone = _zone(known, each.factory_id)
        shifts = [
            (name, dt.time.fromisoformat(shift.hours[0]), _clock(shift.hours[1]), shift.weekdays)
            for name, shift in known.shifts.items()
            if shift.factory_id == each.factory_id
        ]
        instant = each.period_start
        while instant < each.period_end:
            wall = instant.astimezone(zone)
            today, now = wall.date(), wall.time()
            yield number, "", today
            for name, start, end, weekdays in shifts:
                yesterday = today - _DAY
                over_midnight = end is not None and end <= start
                if now >= start and (end is None or over_midnight or now < end) and today.isoweekday() in weekdays:
                    yield number, name, today
                if over_midnight and end is not None and now < end and yesterday.isoweekday() in weekdays:
                    yield number, name, yesterday
            instant += _MINUTE


def _spans(known: Known, spans: Collection[tuple[str, str, dt.date]]) -> pa.Table:
    """Return when days and shifts begin and end, ms since the epoch, UTC."""
    rows = []
    for factory, shift, date in spans:
        zone, hours = _zone(known, factory), known.shifts[shift].hours if shift else ("00:00", "24:00")
        start, end = dt.time.fromisoformat(hours[0]), _clock(hours[1])
        last = date + _DAY if end is None or end <= start else date
        begins, ends = (
            round(dt.datetime.combine(day, clock or dt.time(), zone).timestamp() * 1000)
            for day, clock in ((date, start), (last, end))
        )
        rows.append((factory, shift, date, begins, ends))
    types = {
        "factory_id": pa.string(),
        "shift_id": pa.string(),
        "date": pa.date32(),
        "starts_at": pa.int64(),
        "ends_at": pa.int64(),
    }
    return pa.table({name: pa.array([row[i] for row in rows], each) for i, (name, each) in enumerate(types.items())})


_SHARE = """
CREATE TABLE share AS
SELECT r.*, line AS line_id, shift_id, date, starts_at, ends_at, n / r.minutes AS share, good + snag + reject AS pieces
FROM (SELECT number, shift_id, date, count(*) AS n FROM minute GROUP BY ALL)
JOIN report AS r USING (number) JOIN span USING (factory_id, shift_id, date)
"""
_OEE = """
SELECT {key}, date, starts_at, ends_at,
       count(DISTINCT machine_id) AS machines,
       count(DISTINCT number) AS reports,
       coalesce(sum(share * planned_s), 0) AS planned,
       coalesce(sum(share * run_s) FILTER (planned_s > 0), 0) AS run,
       coalesce(sum(share * least(run_s, planned_s)) FILTER (planned_s > 0), 0) AS available,
       coalesce(sum(share * pieces * ideal_cycle_s) FILTER (planned_s > 0), 0) AS ideal,
       coalesce(sum(share * good) FILTER (planned_s > 0), 0) AS good,
       coalesce(sum(share * snag) FILTER (planned_s > 0), 0) AS snag,
       coalesce(sum(share * reject) FILTER (planned_s > 0), 0) AS reject,
       coalesce(sum(share * pieces) FILTER (planned_s > 0), 0) AS total,
       coalesce(sum(share * run_s) FILTER (planned_s = 0), 0) AS unplanned_run_s,
       coalesce(sum(share * pieces) FILTER (planned_s = 0), 0) AS unplanned_total,
       count(DISTINCT number) FILTER (planned_s = 0) AS unplanned_reports,
       count(DISTINCT number) FILTER (planned_s > 0 AND run_s > planned_s) AS over_planned_reports,
       count(DISTINCT number) FILTER (NOT known) AS unknown_sku_reports
FROM share WHERE {which} GROUP BY {key}, date, starts_at, ends_at
"""
_RATIOS = """
SELECT {key}, date, starts_at, ends_at, machines, reports, planned AS planned_s, run AS run_s, available AS available_s,
       ideal AS ideal_s, good, snag, reject, total,
       unplanned_run_s, unplanned_total, unplanned_reports, over_planned_reports, unknown_sku_reports,
       CASE WHEN planned > 0 THEN available / planned END AS availability,
       CASE WHEN run > 0 THEN ideal / run END AS performance,
       CASE WHEN total > 0 THEN good / total END AS quality,
       CASE WHEN planned > 0 THEN CASE WHEN run > 0 AND total > 0
            THEN available / planned * (ideal / run) * (good / total) ELSE 0 END END AS oee,
       planned / ((ends_at - starts_at) / 1000.0::DOUBLE * machines) AS coverage
FROM ({sums})
"""
_YIELD = """
SELECT {key}, date, starts_at, ends_at,
       sum(share * good) AS good, sum(share * snag) AS snag, sum(share * reject) AS reject, sum(share * pieces) AS total,
       CASE WHEN sum(pieces) > 0 THEN sum(share * good) / sum(share * pieces) END AS yield,
       CASE WHEN sum(pieces) > 0 THEN sum(share * snag) / sum(share * pieces) END AS snag_rate,
       CASE WHEN sum(pieces) > 0 THEN sum(share * reject) / sum(share * pieces) END AS reject_rate,
       count(DISTINCT machine_id) AS machines, count(DISTINCT number) AS reports,
       NOT bool_and(known) AS unknown_sku
FROM share WHERE {which} GROUP BY {key}, date, starts_at, ends_at
"""
