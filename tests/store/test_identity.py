"""Ids (R36): the same record has the same ones for ever, no two records share one, and they begin with the time."""

from __future__ import annotations

import uuid

import hypothesis.strategies as st
import numpy as np
from hypothesis import example, given

from pipeline.core.records import SourcePartition
from pipeline.store.identity import event_ids, seed, source_id

# Whatever two of these are made of, their ids differ
keys = st.tuples(
    st.sampled_from(["", "aurora", "borealis"]),
    st.sampled_from(["t", "t0", "telemetry.machine"]),
    st.integers(0, 12),
    st.integers(0, 2**53) | st.integers(0, 300),
    st.integers(0, 10_000) | st.integers(0, 3),
    st.sampled_from(["", "temperature\0spike", "temperature\0dip", "temp\0spike"]),
)


def ids_of(found: list[tuple], at_ms: int) -> list[uuid.UUID]:
    seeds = np.array(
        [seed(cluster, SourcePartition(topic, p), kind) for cluster, topic, p, _, _, kind in found], np.uint64
    )
    offsets = np.array([key[3] for key in found], np.int64)
    indexes = np.array([key[4] for key in found], np.int32)
    high, low = event_ids(seeds, np.full(len(found), at_ms, np.int64), offsets, indexes)
    return [uuid.UUID(int=first << 64 | last) for first, last in zip(high.tolist(), low.tolist(), strict=True)]


@given(st.lists(keys, unique=True, min_size=1, max_size=200), st.integers(0, 2**48 - 1))
@example([("a", "t", 0, 0, 0, ""), ("a", "t", 0, 0, 1, ""), ("a", "t", 0, 1, 0, "")], 0)
def test_ids_are_the_same_every_time_and_differ_between_records(found, at_ms: int) -> None:
    ids = ids_of(found, at_ms)

    assert len(set(ids)) == len(found)
    assert ids == ids_of(found, at_ms)
    assert ids[::-1] == ids_of(found[::-1], at_ms), "whatever batch they come in"


@given(keys, st.integers(0, 2**48 - 1))
def test_ids_are_version_8_and_begin_with_the_event_time(key, at_ms: int) -> None:
    (found,) = ids_of([key], at_ms)

    assert (found.version, found.variant) == (8, uuid.RFC_4122)
    assert found.int >> 80 == at_ms


def test_a_million_neighbours_share_no_id() -> None:
    offsets = np.repeat(np.arange(100_000, dtype=np.int64), 10)
    indexes = np.tile(np.arange(10, dtype=np.int32), 100_000)
    seeds = np.array([seed("aurora", SourcePartition("t", 0))], np.uint64)

    _, low = event_ids(seeds, np.zeros(len(offsets), np.int64), offsets, indexes)

    assert len(np.unique(low)) == len(offsets)


def test_ids_of_stored_rows_do_not_change() -> None:
    """Rows that are stored already were given these: another answer would make them strangers to a replay."""
    (found,) = ids_of([("aurora", "telemetry.machine", 3, 42, 1, "")], 1_795_298_400_000)

    assert str(found) == "01a2001f-9700-85dd-9049-c125bb69d7ed"
    assert source_id("aurora", SourcePartition("telemetry.machine", 3)) == 1_028_347_490
