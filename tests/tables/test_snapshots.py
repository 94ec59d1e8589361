"""A state as bytes (R61): it comes back as it went, and bytes that are damaged are told apart from it."""

from __future__ import annotations

import contextlib
import functools

import cramjam
import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given

from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import SourcePartition
from pipeline.core.state import STATE_VERSION, PartitionState
from pipeline.store.takeover import Acquired
from tables import snapshots
from tables.partitions import Partitions
from tests.tables.test_partitions import batch, nothing_placed, nothing_stored

SOURCE = SourcePartition("t", 0)


@functools.cache
def encoded() -> bytes:
    state = PartitionState()
    fold(state, batch("mine", 0, 50), FoldRules(), Marks())
    return snapshots.encode(state.to_arrays())[0]


def test_a_state_comes_back_as_it_went() -> None:
    state = PartitionState()
    fold(state, batch("mine", 0, 50), FoldRules(), Marks())
    went = state.to_arrays()
    # Which layout a machine's newest message had is a cache, and no part of the state
    went["machines"]["layout"] = -1

    came = snapshots.decode(snapshots.encode(went)[0]).to_arrays()

    assert came.keys() == went.keys()
    for name, value in went.items():
        np.testing.assert_array_equal(came[name], value, name)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        snapshots.decode(garbage)


@given(st.data())
def test_damaged_bytes_are_a_state_or_refused(data) -> None:
    """Never another error: that would keep the partition from ever being acquired."""
    state = bytearray(cramjam.zstd.decompress(encoded()))
    for at in data.draw(st.lists(st.integers(0, len(state) - 1), min_size=1, max_size=4)):
        state[at] = data.draw(st.integers(0, 255))

    with contextlib.suppress(ValueError):
        snapshots.decode(bytes(cramjam.zstd.compress(bytes(state))))


@pytest.mark.parametrize(
    "plain",
    [None, [], {}, {"format": 2, "state": {}}, {"format": 1}, {"format": 1, "state": {}}, {"format": 1, "state": []}],
    ids=repr,
)
def test_a_snapshot_of_another_form_is_refused(plain) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        snapshots.decode(bytes(cramjam.zstd.compress(msgspec.msgpack.encode(plain))))


@pytest.mark.parametrize("version", [STATE_VERSION - 1, STATE_VERSION + 1])
def test_a_state_of_another_version_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match="version"):
        PartitionState.from_arrays(PartitionState().to_arrays() | {"version": version})


async def test_a_partition_whose_snapshot_is_unreadable_is_folded_again_from_the_logs_start() -> None:
    partitions = Partitions(
        lambda *_: Acquired("mine", None, 20, 20, (15, b"no state"), {}), nothing_stored, nothing_placed, FoldRules()
    )

    assert await partitions.acquire(SOURCE, Evidence(None, LogRange(5, 100))) == ("mine", 5)
    partitions.fold(batch("mine", 5, 20))
    assert partitions.take(100, ()) == [], "the sink has it already"
