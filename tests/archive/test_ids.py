"""Sums and differences of ids: by numpy as by the database, and as the definitions say."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from itertools import pairwise

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.ids import CHECKSUM, are_among, checksum, halves, surplus
from pipeline.archive.layout import SourceLog, factory_folder, slice_name
from pipeline.archive.manifests import merged
from pipeline.core.errors import ArchiveDamaged
from pipeline.store.identity import Uuids

IDS = st.lists(st.uuids(), max_size=30)


def numbers(ids: list[uuid.UUID]) -> Uuids:
    high, low = ([id_.int >> shift & 2**64 - 1 for id_ in ids] for shift in (64, 0))
    return Uuids(np.array(high, np.uint64), np.array(low, np.uint64))


@given(IDS, st.integers(0, 5), st.integers(1, 4))
def test_ids_come_out_of_text_however_it_is_cut(ids: list[uuid.UUID], skip: int, pieces: int) -> None:
    texts = list(map(str, ids))
    chunks = [texts[at::pieces] for at in range(pieces)]
    array = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks]).slice(skip)

    found = halves(array)

    assert [high << 64 | low for high, low in zip(*map(np.ndarray.tolist, found), strict=True)] == [
        uuid.UUID(text).int for text in array.to_pylist()
    ]


@pytest.mark.parametrize(
    "text", ["", "x" * 36, str(uuid.UUID(int=1)).upper() + " ", "0" * 32, "0199000g-0000-8000-8000-000000000000"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ArchiveDamaged, match="no uuid"):
        halves(pa.chunked_array([[str(uuid.UUID(int=1)), text]]))


@given(st.randoms(), IDS)
def test_a_checksum_knows_no_order(random, ids: list[uuid.UUID]) -> None:
    mixed = random.sample(ids, len(ids))
    assert checksum(numbers(ids)) == checksum(numbers(mixed))


def test_the_database_comes_to_the_same_checksum(database) -> None:
    ids = [uuid.uuid4() for _ in range(1000)] + [uuid.UUID(int=2**128 - 1), uuid.UUID(int=0), uuid.UUID(int=1 << 127)]
    with psycopg.connect(database.dsn) as connection:
        row = connection.execute(f"SELECT {CHECKSUM} FROM unnest(%s::uuid[]) AS event_id", [ids]).fetchone()
        none = connection.execute(f"SELECT {CHECKSUM} FROM unnest('{{}}'::uuid[]) AS event_id").fetchone()

    assert row is not None
    assert none == (0,)
    assert int(row[0]) % 2**64 == checksum(numbers(ids))


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=20)


def keyed(rows: list[tuple[int, int]]) -> tuple[Uuids, np.ndarray]:
    return numbers([uuid.UUID(int=id_ << 60 | id_) for id_, _ in rows]), np.array([at for _, at in rows], np.int64)


@given(ROWS, ROWS)
def test_what_is_surplus_is_as_many_of_each_id_as_are_missing_and_first_those_with_no_counterpart(mine, others) -> None:
    lacking = surplus(*keyed(mine), *keyed(others))

    chosen = [row for row, is_lacking in zip(mine, lacking.tolist(), strict=True) if is_lacking]
    here, there = Counter(id_ for id_, _ in mine), Counter(id_ for id_, _ in others)
    assert Counter(id_ for id_, _ in chosen) == here - there
    for id_, at in chosen:
        if (id_, at) in others:
            rest = list((Counter(mine) - Counter(chosen)).elements())
            assert all((other, when) in others for other, when in rest if other == id_)


@given(ROWS, ROWS)
def test_rows_are_among_others_by_id_and_time(mine, others) -> None:
    assert are_among(*keyed(mine), *keyed(others)).tolist() == [row in others for row in mine]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8))))
def test_merged_ranges_hold_the_same_offsets_and_do_not_touch(pairs: list[tuple[int, int]]) -> None:
    ranges = [(first, first + length) for first, length in pairs if length]

    found = merged(ranges)

    assert {at for first, end in found for at in range(first, end)} == {at for r in ranges for at in range(*r)}
    assert all(end < first for (_, end), (first, _) in pairwise(found))


@given(st.lists(st.text(max_size=128), min_size=2, max_size=2, unique=True))
def test_factories_have_folders_of_their_own_that_any_file_system_takes(pair: list[str]) -> None:
    encodable = [text for text in pair if text.encode("utf-8", "ignore").decode() == text]
    folders = [factory_folder(text) for text in encodable]

    assert len(set(folders)) == len(folders)
    assert all(0 < len(folder) <= 200 and folder.isascii() and "/" not in folder for folder in folders)


def test_names_of_slices_sort_as_their_offsets_do() -> None:
    log = SourceLog("local", "t", 3, None)
    ends = [1, 9, 10, 2**62]

    assert sorted(slice_name(log, end - 1, end) for end in reversed(ends)) == [slice_name(log, e - 1, e) for e in ends]
    later = log._replace(since=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert slice_name(later, 0, 1) != slice_name(log, 0, 1)
