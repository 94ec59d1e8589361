"""Operating cycles (R12): the fragments that the fold closes make the cycles that a plain sort and split gives."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import RecordBatch
from pipeline.core.state import PartitionState
from pipeline.core.windowing.cycles import Cycles
from tests.core.plain import Plain
from tests.core.sinks import SOURCE, MemorySink, feed, folded, records_of, resumed
from tests.core.test_fold_laws import BASE_MS, assert_same_cycles

RULES = FoldRules()
FAR_MS = BASE_MS + 10_000_000


def message(machine: str, at_s: float, value: float = 1.0, sensor: str = "t") -> dict:
    time_ms = BASE_MS + round(at_s * 1000)
    return {"machine": machine, "time_ms": time_ms, "seq": -1, "ingest_ms": FAR_MS, "readings": {sensor: value}}


CLOSING = {"machine": "clock", "time_ms": FAR_MS, "seq": -1, "ingest_ms": FAR_MS, "readings": {"t": 0.0}}
"""After it the watermark has left every other machine's cycles behind."""

# Seconds apart that are within the gap of 30 s, on its edge, and beyond it
distances = st.sampled_from([0, 1, 5, 29, 30, 30.001, 31, 45, 61, 290, 400])


@st.composite
def shifts(draw: st.DrawFn) -> list[dict]:
    """Return messages of some machines, mostly in order."""
    sent = []
    for machine in ("m0", "m1"):
        at = 0.0
        for distance in draw(st.lists(distances, max_size=25)):
            at += distance
            sensor = draw(st.sampled_from(["temperature", "pressure"]))
            sent.append((at, message(machine, at, draw(st.integers(-9, 9)), sensor)))
    sent.sort(key=lambda pair: pair[0])
    messages = [each for _, each in sent]
    for _ in range(draw(st.integers(0, 6)) if messages else 0):
        # A message that was held up, or came before its time
        came = messages.pop(draw(st.integers(0, len(messages) - 1)))
        messages.insert(draw(st.integers(0, len(messages))), came)
    return messages


def plainly(messages: list[dict]) -> dict:
    plain = Plain()
    for offset, each in enumerate(messages):
        plain.take(offset, each)
    return {key: row for key, row in plain.cycle_rows().items() if key[0] != "clock"}


@given(shifts(), st.lists(st.integers(0, 50), max_size=12), st.integers(1, 4))
def test_any_order_and_any_batches_give_the_cycles_of_a_sort_and_split(
    messages: list[dict], at: list[int], merge_every: int
) -> None:
    sink = folded([*messages, CLOSING], RULES, at, merge_every)

    assert_same_cycles(plainly(messages), sink.cycle_rows())


@given(st.permutations([message("m0", 10 * at, at) for at in (0, 1, 2, 3, 7, 8, 9, 15, 18, 21, 60, 61)]))
def test_any_order_at_all_gives_the_same_cycles(messages: list[dict]) -> None:
    sink = folded([*messages, CLOSING], RULES)

    assert_same_cycles(plainly(messages), sink.cycle_rows())


@given(shifts(), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_cycle_that_was_open_in_a_snapshot_is_whole_after_a_restart(
    messages: list[dict], snapshot_at: int, effects_at: int, windows_at: int
) -> None:
    sink = resumed([*messages, CLOSING], RULES, [], snapshot_at, Marks(effects_at, windows_at))

    assert_same_cycles(plainly(messages), sink.cycle_rows())


def test_several_cycles_that_end_in_one_batch_are_all_there() -> None:
    messages = [message(f"m{n}", at) for at in (0, 20, 100, 120, 200, 220) for n in range(3)]
    sink = folded([*messages, CLOSING], RULES)

    found = sink.cycle_rows()
    assert len(found) == 9
    assert {(row["ended"] - start, row["messages"]) for (_, start), row in found.items()} == {(20_000, 2)}


def closed_after(*messages: dict) -> list[tuple[str, float, float, int]]:
    """Return the fragments that are closed after some messages: machine, start and end in s, and messages."""
    sink = folded(messages, RULES)
    return [
        (machine, (each["started"] - BASE_MS) / 1000, (each["ended"] - BASE_MS) / 1000, each["messages"])
        for machine, each in sink.fragments
    ]


def test_a_cycle_ends_with_the_first_message_beyond_the_gap() -> None:
    assert closed_after(message("m0", 0), message("m0", 30)) == []
    assert closed_after(message("m0", 0), message("m0", 30), message("m0", 60.001)) == [("m0", 0.0, 30.0, 2)]


def test_a_cycle_of_a_machine_that_falls_silent_ends_when_the_watermark_has_left_it_behind() -> None:
    minute_s = -(BASE_MS // 1000) % 60
    silent = message("m0", minute_s)

    # The watermark is 10 s behind, and fragments are looked through at every whole minute
    assert closed_after(silent, message("m1", minute_s + 69.999)) == []
    assert closed_after(silent, message("m1", minute_s + 70)) == [("m0", minute_s, minute_s, 1)]


def test_a_cycle_without_an_end_is_seen_after_five_minutes() -> None:
    steady = [message("m0", at) for at in range(0, 311, 10)]

    assert closed_after(*steady[:30]) == []
    assert closed_after(*steady) == [("m0", 0.0, 290.0, 30)]


def test_a_message_from_long_before_does_not_end_the_present_cycle() -> None:
    live = [message("m0", at) for at in (1000, 1020)]

    assert closed_after(*live, message("m0", 10), message("m0", 1040)) == [("m0", 10.0, 10.0, 1)]


def test_the_gap_is_a_rule() -> None:
    messages = [message("m0", 0), message("m0", 50), message("m0", 111), CLOSING]

    sink = folded(messages, FoldRules(cycle_gap_ms=60_000))

    assert [(each["messages"]) for _, each in sink.fragments] == [2, 1]


@given(shifts(), st.lists(st.integers(0, 50), max_size=12))
def test_without_a_gap_no_cycles_are_kept_and_all_else_is_the_same(messages: list[dict], at: list[int]) -> None:
    kept, spared, state = MemorySink(), MemorySink(), PartitionState()

    feed(kept, PartitionState(), records_of([*messages, CLOSING]), at, RULES)
    feed(spared, state, records_of([*messages, CLOSING]), at, FoldRules(cycle_gap_ms=0))

    assert spared.fragments == []
    assert not state.cycles.open.rows["messages"].any()
    assert not state.cycles.readings.rows["count"].any()
    kept.fragments.clear()
    assert vars(spared) == vars(kept)


def test_a_cycle_that_was_open_when_cycles_were_given_up_ends_when_they_are_kept_again() -> None:
    sink, state = MemorySink(), PartitionState()
    sent = records_of([message("m0", 0), message("m0", 10), message("m0", 20), message("m0", 200), CLOSING])

    for end, rules in ((2, RULES), (3, FoldRules(cycle_gap_ms=0)), (5, RULES)):
        feed(sink, state, sent[:end], [], rules, start={2: 0, 3: 2, 5: 3}[end])

    found = sink.cycle_rows()
    assert {(start - BASE_MS, row["messages"]) for (_, start), row in found.items()} == {(0, 2), (200_000, 1)}


@pytest.mark.parametrize("swept", [False, True])
def test_cycles_are_complete_up_to_the_gap_before_the_minute_that_was_swept(swept: bool) -> None:
    state = PartitionState()
    some = records_of([message("m0", 0), *([CLOSING] if swept else [])])
    fold(state, RecordBatch(SOURCE, "me", 0, len(some), some), RULES, Marks())

    minute_ms = (state.watermark_ms // 60_000) * 60_000
    assert project(state, 0, len(some), RULES).cycles_to_ms == minute_ms - 30_000


def test_many_machines_with_many_sensors_have_their_cycles() -> None:
    messages = [
        {**message(f"m{n}", at), "readings": {f"s{n * k}": float(at) for k in range(1, 4)}}
        for at in (0, 20, 100)
        for n in range(300)
    ]
    sink = folded([*messages, CLOSING], RULES, [300, 450])

    assert_same_cycles(plainly(messages), sink.cycle_rows())


@given(st.lists(st.lists(st.integers(0, 3), max_size=20), max_size=5))
def test_the_sensors_of_a_machine_are_all_in_its_list_however_many_come_at_once(batches: list[list[int]]) -> None:
    cycles = Cycles()
    cycles.add_machines(4)
    for owners in batches:
        cycles.add_slots(np.array(owners, np.int32))

    owners = [owner for batch in batches for owner in batch]
    for machine in range(4):
        slot, found = int(cycles.open.rows["first_slot"][machine]), []
        while slot >= 0:
            found.append(slot)
            slot = int(cycles.readings.rows["next_slot"][slot])
        assert found == [each for each in reversed(range(len(owners))) if owners[each] == machine]
