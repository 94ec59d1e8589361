"""R10, R83: laws of importing: CSV and Parquet say the same, and each row is in one message or one reject."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.tabular.ordering import in_time_order
from tests.tabular.tables import Found, read

NAMES = ["machine", "time", "n", "tag", "a", "b"]
WIDE: dict[str, Any] = {
    "factory_id": "aurora",
    "machine_id": {"column": "machine"},
    "machine_type": "press",
    "time": {"column": "time", "format": "ms"},
    "seq": {"column": "n"},
    "readings": {"a": "a", "b": {"column": "b", "scale": 0.5, "offset": -3}},
}
LONG = WIDE | {"long": {"sensor": "tag", "value": "a"}, "readings": {}}

TEXT = st.one_of(
    st.sampled_from(["p1", "p2", "", "x" * 130, "a\0", 'quote " and, comma', "line\nend", "Ölpumpe", "\r\n"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
VALUES = st.none() | st.floats(allow_nan=False) | st.floats(-100, 100)
ROWS = st.lists(
    st.tuples(
        TEXT,
        st.none() | st.integers(0, 3).map(lambda n: n * 1000) | st.integers(-(10**15), 10**15),
        st.integers(-1, 2**62),
        st.sampled_from(["t1", "t2", "t3"]) | TEXT,
        VALUES,
        VALUES,
    ),
    max_size=30,
)
TYPES = [pa.string(), pa.int64(), pa.int64(), pa.string(), pa.float64(), pa.float64()]
UNHURRIED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


def both(folder: Path, rows: list[tuple[Any, ...]], given: dict[str, Any], stretch: int) -> tuple[Found, Found]:
    """Write a table in both formats and read it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(NAMES)
    for row in rows:
        writer.writerow(["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in row])
    (folder / "t.csv").write_bytes(text.getvalue().encode())
    columns = list(zip(*rows, strict=True)) or [()] * len(NAMES)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, TYPES, strict=True)]
    pq.write_table(pa.table(dict(zip(NAMES, arrays, strict=True))), folder / "t.parquet", row_group_size=stretch)
    return read(folder / "t.csv", given), read(folder / "t.parquet", given)


@UNHURRIED
@given(ROWS, st.sampled_from([WIDE, LONG]), st.integers(1, 40))
def test_csv_and_parquet_give_the_same_messages_and_refuse_the_same_rows(tmp_path, rows, given, stretch) -> None:
    from_csv, from_parquet = both(tmp_path, rows, given, stretch)

    assert from_csv.messages == from_parquet.messages
    assert [each.reason for each in from_csv.rejects] == [each.reason for each in from_parquet.rejects]


@UNHURRIED
@given(ROWS, st.integers(1, 40))
def test_each_row_of_a_wide_table_is_a_message_or_a_reject(tmp_path, rows, stretch) -> None:
    for found in both(tmp_path, rows, WIDE, stretch):
        assert found.rows == len(rows)
        places = found.places + [each.place for each in found.rejects]
        assert len(set(places)) == len(places) == len(rows)
    assert sorted(places) == list(range(1, len(rows) + 1))


@UNHURRIED
@given(ROWS, st.integers(1, 40))
def test_each_row_of_a_long_table_is_one_reading_of_one_message_or_a_reject(tmp_path, rows, stretch) -> None:
    for found in both(tmp_path, rows, LONG, stretch):
        refused = [each.place for each in found.rejects]
        readings = sum(len(each["readings"]) for each in found.messages)

        assert readings + len(refused) == len(rows) == found.rows
        assert len(set(refused)) == len(refused)
        assert not set(found.places) & set(refused)
    values = [value for each in found.messages for value in each["readings"].values()]
    assert values == [row[4] for at, row in enumerate(rows, 1) if at not in set(refused)]


@UNHURRIED
@given(st.binary(max_size=300))
def test_whatever_the_bytes_each_row_that_is_found_is_a_message_or_a_reject(tmp_path, tail) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"machine,time,n,tag,a,b\np,0,1,t,2,3\n" + tail)
    found = read(path, WIDE)

    assert found.places[0] == 2
    assert found.rows == len(found.places) + len(found.rejects)
    assert len({*found.places, *(each.place for each in found.rejects)}) == found.rows


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6))
def test_sorting_keeps_every_message_and_the_order_of_one_time(stretches) -> None:
    from pipeline.tabular.judging import Judged

    given_, number = [], 0
    for times in stretches:
        places = list(range(number, number := number + len(times)))
        bodies = [b"%d" % place for place in places]
        given_.append(Judged(places, times, [f"m{place}" for place in places], bodies, [], len(times)))
    expected = sorted((at, place) for each in given_ for at, place in zip(each.times_ms, each.places, strict=True))
    found = list(in_time_order(iter(given_)))

    assert [(at, place) for each in found for at, place in zip(each.times_ms, each.places, strict=True)] == expected
    assert [body for each in found for body in each.bodies] == [b"%d" % place for _, place in expected]
    assert sum(each.rows for each in found) == number
