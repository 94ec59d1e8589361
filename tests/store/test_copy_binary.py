"""Binary COPY: what goes in comes out of a real server, whatever is in it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from pipeline.store import copy_binary
from pipeline.store.connect import Connection, connect

row = st.tuples(
    st.integers(0, 2**128 - 1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=20),
    st.binary(max_size=40),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.integers(0, 7_258_118_399_999),
)


@pytest.fixture
def table(database) -> Iterator[Connection]:
    with connect(database.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE everything (place int, id uuid, words text, plain text, raw bytea, small int,"
            " large bigint, number float8, at timestamptz, fixed text)"
        )
        yield connection


def encoded(rows: list[tuple]) -> bytes:
    n = len(rows)
    ids, words, plain, raws, small, large, numbers, times = zip(*rows, strict=True) if rows else [()] * 8
    high, low = ([part >> 64 for part in ids], [part & (2**64 - 1) for part in ids])
    return copy_binary.rows(
        [
            copy_binary.fixed(np.arange(n), ">i4"),
            copy_binary.uuids(np.array(high, np.uint64), np.array(low, np.uint64)),
            copy_binary.texts(words),
            copy_binary.texts(plain),
            copy_binary.raw(raws),
            copy_binary.fixed(np.array(small, np.int64), ">i4"),
            copy_binary.fixed(np.array(large, np.int64), ">i8"),
            copy_binary.fixed(np.array(numbers, np.float64), ">f8"),
            copy_binary.timestamps(np.array(times, np.int64)),
            copy_binary.constant("für alle".encode(), n),
        ]
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row, max_size=30))
def test_columns_of_every_kind_come_back_as_they_went(table: Connection, rows) -> None:
    table.execute("TRUNCATE everything")
    with table.cursor() as cursor, cursor.copy("COPY everything FROM STDIN (FORMAT binary)") as copy:
        copy.write(copy_binary.HEADER + encoded(rows) + copy_binary.TRAILER)

    stored = table.execute("SELECT * FROM everything ORDER BY place").fetchall()

    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert stored == [
        (place, uuid.UUID(int=number), *rest, epoch + dt.timedelta(milliseconds=at_ms), "für alle")
        for place, (number, *rest, at_ms) in enumerate(rows)
    ]


@given(st.lists(row, max_size=20), st.integers(0, 20))
def test_rows_are_the_same_bytes_in_one_piece_or_in_two(rows, cut: int) -> None:
    def without_place(some: list[tuple]) -> bytes:
        ids, words, *_ = zip(*some, strict=True) if some else ((), ())
        return copy_binary.rows([copy_binary.texts(words), copy_binary.raw([str(each).encode() for each in ids])])

    assert without_place(rows) == without_place(rows[:cut]) + without_place(rows[cut:])
