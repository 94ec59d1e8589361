"""R16: whatever came in which order, effectiveness and yields are what somebody else computes from what is there at the end.

The other computation is that of :mod:`tests.store.oee_computed`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.store.connect import Connection, connect
from pipeline.store.oee import refresh
from tests.conftest import Database
from tests.store.oee_computed import Known, Shift, computed, counting
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

    for view, expected in computed(known).items():
        found = rows(plant, f"SELECT *, {_INSTANTS} FROM dashboard.{view}")
        key = [name for name in KEYS if name in expected.columns]
        by_key = {tuple(row[name] for name in key): row for row in found}
        wanted = [dict(zip(expected.columns, row, strict=True)) for row in expected.fetchall()]
        assert {tuple(row[name] for name in key) for row in wanted} == set(by_key), view
        assert len(by_key) == len(found), view
        for row in wanted:
            same = by_key[tuple(row.pop(name) for name in key)]
            assert [name for name, value in row.items() if not _same(same[name], value)] == [], (view, same, row)
    counted = {row["source"] for row in rows(plant, "SELECT event_id AS source FROM dashboard.oee_report WHERE counts")}
    assert len(counted) == len(counting(known.reports))


_INSTANTS = ", ".join(f"(extract(epoch FROM {name}) * 1000)::bigint AS {name}" for name in ("starts_at", "ends_at"))
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
    return Known(lines=LINES_OF, skus=KNOWN)


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
