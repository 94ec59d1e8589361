"""ISO 8601 instants, checked against ``datetime``."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.times import MALFORMED_MS, NO_ZONE_MS, parse_times

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


def parse(text: str) -> int:
    return int(parse_times([text])[0])


@given(st.datetimes(timezones=OFFSETS | st.just(dt.UTC)))
def test_every_instant_of_the_calendar_is_read_to_the_millisecond(instant: dt.datetime) -> None:
    expected = (instant - EPOCH) // dt.timedelta(milliseconds=1)

    assert parse(instant.isoformat(timespec="microseconds")) == expected
    assert parse(instant.isoformat(" ", "microseconds").replace(".", ",")) == expected


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01T00:00:00.1Z", 100),
        ("1970-01-01T00:00:00.1239999999999999999999Z", 123),
        ("1970-01-01T02:00+02", 0),
        ("1970-01-01T02:00+0200", 0),
        ("1969-12-31T22:30:00-01:30", 0),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
        ("2026-11-21T22:00:00.123Z", 1_795_298_400_123),
    ],
)
def test_accepted_layouts(text: str, ms: int) -> None:
    assert parse(text) == ms


@pytest.mark.parametrize("text", ["2026-11-21T22:00:00", "2026-11-21T22:00", "2026-11-21 22:00:00.123"])
def test_a_time_without_a_zone_is_told_apart(text: str) -> None:
    assert parse(text) == NO_ZONE_MS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-21",
        "2026-13-21T22:00:00Z",
        "2026-00-21T22:00:00Z",
        "2026-11-31T22:00:00Z",
        "2026-11-00T22:00:00Z",
        "2023-02-29T22:00:00Z",
        "1900-02-29T22:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T22:60:00Z",
        "2026-11-21T22:00:60Z",
        "2026-11-21T22:00:00.Z",
        "2026-11-21T22:00:00ZZ",
        "2026-11-21T22:00:00+",
        "2026-11-21T22:00:00+1",
        "2026-11-21T22:00:00+24:00",
        "2026-11-21T22:00:00+01:60",
        "2026-11-21T22:00:00+01:",
        "2026-11-21T22:00:00+01:000",
        "2026-11-21T22:00:00 Z",
        "2026-11-21T22:0:00Z",
        "2026-11-21T22:00:0Z",
        "2026-11-21X22:00:00Z",
        "20261121T220000Z",
        "+026-11-21T22:00:00Z",
        "２０２６-11-21T22:00:00Z",
        "2026-11-21T22:00:00Zü",
    ],
)
def test_what_is_no_time_is_told_apart(text: str) -> None:
    assert parse(text) == MALFORMED_MS


@given(st.lists(st.text(max_size=30) | st.datetimes(timezones=OFFSETS).map(str)))
def test_a_text_is_read_the_same_whatever_stands_beside_it(texts: list[str]) -> None:
    assert parse_times(texts).tolist() == [parse(text) for text in texts]


@given(st.text("0123456789-T:.Z+ ", max_size=32))
def test_no_digits_are_read_otherwise_than_datetime_reads_them(text: str) -> None:
    found = parse(text)
    if found not in {MALFORMED_MS, NO_ZONE_MS} and int(text[:4]) > 0:
        assert found == (dt.datetime.fromisoformat(text) - EPOCH) // dt.timedelta(milliseconds=1)
