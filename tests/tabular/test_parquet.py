"""R10: Parquet with whatever types its writer chose, and damaged."""

from __future__ import annotations

import datetime as dt
import decimal
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PipelineError, SettingsError
from tests.tabular.tables import WIDE, Found, read

AT = dt.datetime(2026, 7, 1, 10, 0, 0, 123_999, dt.UTC)
AT_OSLO = AT.replace(tzinfo=None) + dt.timedelta(hours=2)
ISO = "2026-07-01T10:00:00.123Z"


def read_table(folder: Path, given: dict[str, Any] = WIDE, **columns: Any) -> Found:
    count = len(columns["temperature"])
    whole = {"machine": ["p1"] * count, "time": [ISO] * count, "pressure": [2.0] * count} | columns
    pq.write_table(pa.table(whole), folder / "t.parquet")
    return read(folder / "t.parquet", given)


TIMES: list[tuple[Any, dict[str, str]]] = [
    (pa.array([AT], pa.timestamp("us", "UTC")), {}),
    (pa.array([AT], pa.timestamp("ns", "Asia/Kolkata")), {"format": "ms"}),
    (pa.array([AT.replace(tzinfo=None)], pa.timestamp("ms")), {"zone": "UTC"}),
    (pa.array([AT_OSLO], pa.timestamp("us")), {"zone": "Europe/Oslo", "format": "%d%z"}),
    (pa.array([int(AT.timestamp() * 1000)], pa.int64()), {"format": "ms"}),
    (pa.array([AT.timestamp()], pa.float64()), {"format": "s"}),
    (pa.array([ISO]).dictionary_encode(), {}),
]  # fmt: skip


@pytest.mark.parametrize(("column", "how"), TIMES)
def test_times_of_every_type(tmp_path: Path, column: Any, how: dict[str, str]) -> None:
    found = read_table(tmp_path, WIDE | {"time": {"column": "time", **how}}, temperature=[1.0], time=column)

    assert [each["time"] for each in found.messages] == [ISO]


NUMBERS: list[tuple[Any, float]] = [
    (pa.array([7], pa.uint8()), 7.0),
    (pa.array([-7], pa.int64()), -7.0),
    (pa.array([0.5], pa.float32()), 0.5),
    (pa.array([np.float16(0.5)], pa.float16()), 0.5),
    (pa.array([decimal.Decimal("1.25")], pa.decimal128(9, 2)), 1.25),
    (pa.array(["1.25"]), 1.25),
    (pa.array([7]).dictionary_encode(), 7.0),
]


@pytest.mark.parametrize(("column", "value"), NUMBERS)
def test_readings_of_every_type(tmp_path: Path, column: Any, value: float) -> None:
    (message,) = read_table(tmp_path, temperature=column).messages

    assert message["readings"] == {"temperature": value, "pressure": 2.0}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([True]), "not_a_number"),
        (pa.array([float("inf")]), "not_a_number"),
        (pa.array([[1.0]]), "not_a_number"),
        (pa.array([b"\xff"]), "not_a_number"),
        (pa.array([1e200]), "value_out_of_range"),
        (pa.array([dt.date(2026, 1, 1)]), "not_a_number"),
    ],
)
def test_what_is_no_reading_is_refused_with_the_row_s_number(tmp_path: Path, column: Any, reason: str) -> None:
    found = read_table(tmp_path, temperature=column)

    assert (found.messages, found.reasons) == ([], [(1, reason)])
    assert '"machine":"p1"' in found.rejects[0].row


@pytest.mark.parametrize("nothing", [None, float("nan"), -999.0])
def test_what_means_no_reading_is_left_out(tmp_path: Path, nothing: float | None) -> None:
    given = WIDE | {"file": {"no_reading": ["-999"]}}
    found = read_table(tmp_path, given, temperature=pa.array([1.0, nothing], pa.float64()))

    assert [each["readings"] for each in found.messages] == [{"temperature": 1.0, "pressure": 2.0}, {"pressure": 2.0}]


def test_names_may_be_numbers_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (first, second) = read_table(tmp_path, temperature=[1, 2], machine=[7.0, 8.0]).messages
    assert (first["machine_id"], second["machine_id"]) == ("7", "8")

    broken = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    found = read_table(tmp_path, temperature=[1, 2], machine=broken)
    assert ([each["machine_id"] for each in found.messages], found.reasons) == (["a"], [(2, "undecodable")])


def test_row_numbers_go_on_over_row_groups_and_stretches(tmp_path: Path) -> None:
    values = [None if n % 7 == 0 else float(n) for n in range(20_000)]
    table = pa.table({"machine": ["p"] * 20_000, "time": [ISO] * 20_000, "temperature": values})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=3000)
    found = read(tmp_path / "t.parquet", WIDE | {"readings": {"t": "temperature"}})

    assert [each.place for each in found.rejects] == list(range(1, 20_001, 7))
    assert [each["seq"] for each in found.messages] == found.places == [n + 1 for n in range(20_000) if n % 7]


def test_a_damaged_file_is_one_clear_line_and_never_a_crash(tmp_path: Path) -> None:
    chance = random.Random(5)
    read_table(tmp_path, temperature=[float(n) for n in range(2000)])
    whole = (tmp_path / "t.parquet").read_bytes()
    said: list[PipelineError] = []
    for _ in range(200):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(4, len(whole))])])
        for _ in range(20):
            damaged[chance.randrange(4, len(damaged))] = chance.randrange(256)
        (tmp_path / "t.parquet").write_bytes(damaged)
        try:
            found = read(tmp_path / "t.parquet", WIDE)
        except PipelineError as error:
            said.append(error)
        else:
            assert found.rows == len(found.messages) + len(found.rejects)

    assert any(isinstance(error, SettingsError) for error in said)
    assert all("t.parquet" in str(error) and "\n" not in str(error) for error in said)
