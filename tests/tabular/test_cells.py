"""R10: times and numbers as files write them."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tabular.cells import NumberReader, TimeReader
from pipeline.tabular.mapping import Layout, Time

INSTANT = dt.datetime(2026, 7, 1, 10, 0, 0, 123_000, dt.UTC)
MS = 1_782_900_000_123

WRITTEN: list[tuple[dict[str, str], object]] = [
    ({}, "2026-07-01T10:00:00.123Z"),
    ({}, "2026-07-01 12:00:00.123999+02:00"),
    ({"zone": "Europe/Oslo"}, "2026-07-01 12:00:00.123"),
    ({"zone": "Europe/Oslo"}, "2026-07-01T10:00:00.123Z"),
    ({"format": "s"}, "1782900000.123"),
    ({"format": "s"}, 1782900000.123),
    ({"format": "ms"}, "1782900000123"),
    ({"format": "ms"}, 1782900000123.0),
    ({"format": "us"}, 1782900000123999),
    ({"format": "ns"}, "1782900000123999999"),
    ({"format": "%d/%m/%Y %H:%M:%S.%f", "zone": "Asia/Kolkata"}, "01/07/2026 15:30:00.123"),
    ({"format": "%Y%m%dT%H%M%S.%f%z"}, "20260701T050000.123-0500"),
    ({"format": "%Y%m%d", "zone": "UTC"}, 19700101),
]


@pytest.mark.parametrize(("how", "cell"), WRITTEN)
def test_one_instant_in_every_format(how: dict[str, str], cell: object) -> None:
    found = TimeReader(Time.model_validate({"column": "t", **how})).read([cell, cell])  # type: ignore[list-item]

    assert (found.ms.tolist(), found.bad) == ([0 if cell == 19700101 else MS] * 2, {})


@pytest.mark.parametrize("how", ["iso", "s", "ms", "us", "ns", "%d.%m.%Y"])
@pytest.mark.parametrize(
    "cell", [None, "", "x", "31.02.2026", "nan", float("nan"), float("inf"), "\udcff", "1e999", "True"]
)
def test_what_is_no_time_is_refused_whatever_the_format(how: str, cell: object) -> None:
    found = TimeReader(Time(column="t", format=how, zone="UTC")).read(["", cell])  # type: ignore[list-item]

    assert {i: reason for i, (reason, _) in found.bad.items()} == dict.fromkeys((0, 1), "time_unreadable")
    assert all(detail.isprintable() for _, detail in found.bad.values())


@pytest.mark.parametrize(("how", "cell"), [("s", "1e18"), ("ms", str(10**30)), ("ns", str(-(10**25))), ("s", -1e300)])
def test_a_time_that_no_calendar_has_is_out_of_range(how: str, cell: object) -> None:
    found = TimeReader(Time(column="t", format=how)).read([cell])  # type: ignore[list-item]

    assert found.bad[0][0] == "time_out_of_range"


@given(
    st.integers(3 * 365 * 86_400_000, 229 * 365 * 86_400_000),
    st.sampled_from(["Europe/Oslo", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
)
def test_a_clock_on_the_wall_is_read_as_the_standard_library_reads_it(shown_ms: int, zone: str) -> None:
    wall = dt.datetime.fromtimestamp(shown_ms / 1000, dt.UTC).replace(tzinfo=None)
    expected = wall.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000 // 1
    iso = TimeReader(Time(column="t", zone=zone)).read([str(wall)])
    pattern = TimeReader(Time(column="t", format="%Y-%m-%d %H:%M:%S.%f", zone=zone)).read(
        [f"{wall:%Y-%m-%d %H:%M:%S.%f}"]
    )

    assert abs(iso.ms[0] - expected) <= 1
    assert iso.ms[0] == pattern.ms[0]


def test_an_hour_that_comes_twice_is_taken_for_the_first() -> None:
    found = TimeReader(Time(column="t", zone="Europe/Oslo")).read(["2026-10-25 02:30:00", "2026-10-25 03:30:00"])

    assert (found.ms[1] - found.ms[0]) / 3_600_000 == 2


CELLS = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["", "NA", "-999", "1_0", "x", " 7 "]),
)


@given(st.lists(CELLS, max_size=8))
def test_numbers_do_not_depend_on_what_stands_beside_them(cells: list[str]) -> None:
    reader = NumberReader(Layout(no_reading=("", "NA", "-999")))
    together = reader.read(cells, "t")
    alone = [reader.read([cell], "t") for cell in cells]

    assert together.values == [each.values[0] for each in alone]
    assert sorted(together.bad) == [i for i, each in enumerate(alone) if each.bad]


@given(st.lists(st.floats(-1e12, 1e12) | st.none()))
def test_a_decimal_comma_gives_the_same_numbers(values: list[float | None]) -> None:
    texts = ["" if value is None else repr(value) for value in values]
    points = NumberReader(Layout()).read(texts, "t")
    commas = NumberReader(Layout(decimal=",")).read([text.replace(".", ",") for text in texts], "t")

    assert points.values == commas.values == values
