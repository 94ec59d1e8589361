"""Rows that wait for the end of a life: bounded, and evenly spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.prognosis.life_rows import EVERY, ROOM, LifeRows


@given(st.integers(0, 6000))
def test_rows_are_evenly_spread_whatever_the_length_of_a_life(cycles: int) -> None:
    waiting = LifeRows(1)
    for cycle in range(cycles):
        waiting.take(np.array([float(cycle)]), float(cycle))

    rows, remaining = waiting.ended(float(cycles))

    assert len(rows) <= ROOM
    assert len(rows) >= min(-(-cycles // EVERY), ROOM // 2)
    assert np.array_equal(rows[:, 0] + remaining, np.full(len(rows), float(cycles)))
    assert len(set(np.diff(rows[:, 0]).tolist())) <= 1


def test_what_is_given_out_does_not_change_with_the_next_rows() -> None:
    waiting = LifeRows(1)
    waiting.take(np.array([1.0]), 1.0)
    rows, _ = waiting.ended(5.0)

    for cycle in range(2000):
        waiting.take(np.array([9.0]), float(cycle))

    assert rows.tolist() == [[1.0]]


def test_without_a_cycle_there_are_no_rows() -> None:
    rows, remaining = LifeRows(3).ended(7.0)

    assert rows.shape == (0, 3)
    assert remaining.shape == (0,)
    with pytest.raises(ValueError, match="broadcast"):
        LifeRows(3).take(np.zeros(2), 0.0)
