"""What is missing between a device's sequence numbers (R15)."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from pipeline.core.banks import MEMORY
from pipeline.core.fold import FoldRules
from pipeline.core.sequences import LONGEST_GAP
from tests.core.sinks import folded

BASE_MS = 1_790_000_000_000


def missing(sent: list[tuple[int, int]], at: list[int] | None = None) -> int:
    """Return what is missing after (sequence number, second) were received in this order."""
    messages = [
        {"machine": "m", "time_ms": BASE_MS + second * 1000, "seq": seq, "ingest_ms": BASE_MS + 2 * 10**9}
        | {"readings": {"t": 1.0}}
        for seq, second in sent
    ]
    return folded(messages, FoldRules(), at or ()).machines["m"]["missing"]


def numbers(first: int, last: int, later: int = 0) -> list[tuple[int, int]]:
    return [(seq, seq + later) for seq in range(first, last + 1)]


@given(st.integers(0, 10**6), st.integers(2, MEMORY), st.lists(st.integers(0, MEMORY)), st.data())
def test_what_never_came_is_missing_whatever_the_order_and_the_batches(
    first: int, length: int, cuts: list[int], data: st.DataObject
) -> None:
    sent = numbers(first, first + length - 1)
    lost = data.draw(st.sets(st.sampled_from(sent[1:-1]))) if length > 2 else set()
    received = data.draw(st.permutations([each for each in sent if each not in lost]))
    twice = data.draw(st.lists(st.sampled_from(received), max_size=5))

    assert missing([*received, *twice], cuts) == len(lost)


def test_a_device_that_begins_anew_misses_nothing_by_that() -> None:
    assert missing([*numbers(0, 9), *numbers(0, 5, later=20)]) == 0
    assert missing([*numbers(0, 9), *numbers(3, 5, later=20)]) == 0


def test_what_was_missing_before_a_device_began_anew_stays_missing() -> None:
    assert missing([(0, 0), (5, 5), *numbers(0, 5, later=20)]) == 4


def test_a_message_from_before_a_device_began_anew_is_no_gap() -> None:
    assert missing([*numbers(0, 8), (0, 20), (9, 9), (1, 21)]) == 0


def test_a_clock_that_is_set_back_is_no_gap() -> None:
    assert missing([(0, 100), (1, 101), (2, 50), (3, 51), (4, 52)]) == 0
    assert missing([(0, 100), (1, 101), (2, 50), (4, 52)]) == 1


def test_a_jump_beyond_all_measure_is_a_device_that_began_anew() -> None:
    assert missing([(0, 0), (LONGEST_GAP, 1)]) == LONGEST_GAP - 1
    assert missing([(0, 0), (LONGEST_GAP + 1, 1), (LONGEST_GAP + 2, 2)]) == 0


def test_messages_without_a_number_are_passed_over() -> None:
    assert missing([(1, 1), (-1, 2), (-1, 3), (2, 4)]) == 0
