"""The laws of the fold (R11, R14, R15, R20, R29, R35): property tests against the rules in plain Python."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, StoredEvent, StoredEvents
from pipeline.core.spikes import SpikeDetector, SpikeRules
from pipeline.core.state import PartitionState
from tables import snapshots
from tests.core.plain import Plain
from tests.core.raw_messages import maintenance, quality
from tests.core.sinks import SOURCE, MemorySink, feed, folded, record, records_of, resumed

BASE_MS = 1_790_000_000_000
RULES = FoldRules(spikes=SpikeRules(threshold=3.0, warm_up=4), silence_ms=45_000)
GARBAGE = [b"", b"\xff\xfe", b"{", b"[]", b'{"machine_id":"m0"}', b'{"type":"??"}', b"null"]

values = st.one_of(
    st.integers(0, 40).map(float), st.floats(-1e3, 1e3, allow_nan=False), st.sampled_from([1e140, -1e140, 0.0, 5.0])
)
accepted = st.fixed_dictionaries(
    {
        "machine": st.sampled_from(["m0", "m1", "m2"]),
        "factory": st.sampled_from(["aurora", "aurora", "borealis"]),
        "time_ms": st.integers(0, 400).map(lambda s: BASE_MS + s * 1000),
        "seq": st.integers(-1, 5),
        "ingest_ms": st.integers(0, 500).map(lambda s: BASE_MS + s * 1000),
        "readings": st.dictionaries(st.sampled_from(["temperature", "pressure", "humidity"]), values, min_size=1),
    }
)
instants = st.integers(0, 400).map(
    lambda s: f"{dt.datetime.fromtimestamp(BASE_MS / 1000 + s, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
)
# Some end before they begin, and become dead letters
facts = st.fixed_dictionaries(
    {
        "fact": st.one_of(
            st.builds(
                lambda machine, start, end, good: quality(
                    machine_id=machine, period_start=start, period_end=end, good=good, run_s=good / 3
                ),
                st.sampled_from(["m0", "m1", "m2"]),
                instants,
                instants,
                st.integers(0, 5),
            ),
            st.builds(
                lambda machine, time: maintenance(machine_id=machine, time=time),
                st.sampled_from(["m0", "m1", "m2"]),
                instants,
            ),
        ),
        "ingest_ms": st.just(BASE_MS + 400_000),
    }
)
garbage = st.fixed_dictionaries({"garbage": st.sampled_from(GARBAGE), "ingest_ms": st.just(BASE_MS)})
streams = st.lists(st.one_of(accepted, accepted, accepted, facts, garbage), max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=12)


def approximately(expected: float, actual: float, scale: float) -> bool:
    # Where a float has no digits left there is nothing to compare: no sensor's readings are as small as 1e-150
    return actual == expected or math.isclose(actual, expected, rel_tol=1e-9, abs_tol=max(1e-9 * scale, 1e-150))


def assert_same(expected: MemorySink, actual: MemorySink) -> None:
    assert actual.events == expected.events
    assert actual.dead_letters == expected.dead_letters
    assert actual.facts == expected.facts
    assert actual.new_machines == expected.new_machines
    assert actual.requirements == expected.requirements
    assert actual.recalculations == expected.recalculations
    assert actual.aggregates == expected.aggregates
    assert actual.machines == expected.machines
    assert actual.anomalies.keys() == expected.anomalies.keys()
    for key, numbers in expected.anomalies.items():
        assert actual.anomalies[key] == pytest.approx(numbers, rel=1e-9)
    assert_same_windows(expected.window_rows(), actual.window_rows())
    assert {k: w["factory"] for k, w in actual.windows.items()} == {
        k: w["factory"] for k, w in expected.windows.items()
    }
    assert_same_windows(expected.factory_rows(), actual.factory_rows())
    assert_same_cycles(expected.cycle_rows(), actual.cycle_rows())


def assert_same_windows(expected: dict, actual: dict) -> None:
    assert actual.keys() == expected.keys()
    for key, row in expected.items():
        assert_same_statistics(row, actual[key])


def assert_same_statistics(row: dict, other: dict) -> None:
    exact = row.keys() - {"mean", "sd"}
    assert {k: other[k] for k in exact} == {k: row[k] for k in exact}
    scale = max(abs(row["mean"]), row["sd"])
    assert approximately(row["mean"], other["mean"], scale)
    assert approximately(row["sd"], other["sd"], scale)


def assert_same_cycles(expected: dict, actual: dict) -> None:
    assert actual.keys() == expected.keys()
    for key, row in expected.items():
        other = actual[key]
        assert (other["ended"], other["messages"]) == (row["ended"], row["messages"])
        assert_same_windows(row["readings"], other["readings"])


STEADY_THEN_ODD = [
    {
        "machine": "m0",
        "time_ms": BASE_MS + n * 1000,
        "seq": -1,
        "ingest_ms": BASE_MS + n * 1000,
        "readings": {"temperature": value},
    }
    for n, value in enumerate([5.0, 6.0, 5.0, 7.0, 5.0, 6.0, 40.0, 5.0, -30.0])
]

MAINTENANCE = [
    {
        "fact": maintenance(
            machine_id="m0", time=f"{dt.datetime.fromtimestamp(BASE_MS / 1000 + n, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
        ),
        "ingest_ms": BASE_MS + 400_000,
    }
    for n in range(4)
]


OUT_OF_ORDER = [
    {
        "machine": "m0",
        "factory": "aurora",
        "time_ms": BASE_MS + second * 1000,
        "seq": second,
        "ingest_ms": BASE_MS + 400_000,
        "readings": {"temperature": float(second)},
    }
    for second in (2, 1)
]


@given(streams)
@example(STEADY_THEN_ODD)
@example(OUT_OF_ORDER)
def test_the_fold_agrees_with_the_rules_written_plainly(messages: list[dict]) -> None:
    plain = Plain(threshold=3.0, warm_up=4, silence_ms=45_000)
    for offset, message in enumerate(messages):
        if "machine" in message:
            plain.take(offset, message)

    sink = folded(messages, RULES)

    assert [(offset, machine) for (offset, _), (machine, _) in sink.events.items()] == plain.events
    assert_same_windows(plain.window_rows(), sink.window_rows())
    assert_same_windows(plain.factory_rows(), sink.factory_rows())
    found = {(offset, sensor, kind): (expected, score) for offset, sensor, kind, expected, score in plain.anomalies}
    assert {(o, s, k) for o, _, s, k in sink.anomalies} == found.keys()
    for (offset, _, sensor, kind), (_, expected, score) in sink.anomalies.items():
        assert (expected, score) == pytest.approx(found[offset, sensor, kind], rel=1e-9)
    assert {m for m, c in sink.machines.items() if c["silent"]} == plain.silent
    assert {m: c["duplicates"] for m, c in sink.machines.items() if c["duplicates"]} == plain.duplicates


@given(streams, cuts, st.integers(1, 4))
def test_law_2_any_batches_give_the_same_tables(messages: list[dict], at: list[int], merge_every: int) -> None:
    assert_same(folded(messages, RULES), folded(messages, RULES, at, merge_every))


@given(streams, cuts, st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
@example(STEADY_THEN_ODD, [2], 0, 6, 4)
@example(MAINTENANCE, [], 0, 2, 2)
def test_law_3_a_restart_from_a_snapshot_gives_the_same_tables(
    messages: list[dict], at: list[int], snapshot_at: int, effects_at: int, windows_at: int
) -> None:
    sink = resumed(messages, RULES, at, snapshot_at, Marks(effects_at, windows_at))

    assert_same(folded(messages, RULES), sink)


def in_arrays(messages: list[dict], sizes: list[int]) -> list[Record]:
    """Return the messages as records of which each holds an array of some."""
    made, at = [], 0
    for offset, size in enumerate([*sizes, *[1] * len(messages)]):
        bodies = [record(0, message).value for message in messages[at : at + size]]
        if not bodies:
            break
        # Nothing of an array with garbage that is no JSON is accepted
        body = b"[" + b",".join(each if each.startswith(b"{") and b"}" in each else b"0" for each in bodies) + b"]"
        made.append(Record(offset, messages[at]["ingest_ms"], body))
        at += size
    return made


@given(streams, st.lists(st.integers(1, 5), max_size=20), cuts)
def test_law_9_what_was_stored_gives_the_same_when_it_is_folded_again(
    messages: list[dict], sizes: list[int], at: list[int]
) -> None:
    records = in_arrays(messages, sizes)
    live, again = MemorySink(), MemorySink()
    feed(live, PartitionState(), records, [], RULES)
    events = [
        StoredEvent(offset, place, records[offset].timestamp, body)
        for (offset, place), (_, body) in sorted(live.events.items())
    ]
    events += [
        StoredEvent(*place, records[place[0]].timestamp, fact.body, fact.event_type)
        for place, fact in live.facts.items()
    ]
    events.sort()

    feed_stored(again, events, len(records), at)

    assert again.dead_letters == {}
    live.dead_letters.clear()
    for counts in live.machines.values():
        # Of what a device sent twice, nothing is stored
        counts["duplicates"] = 0
    assert_same(live, again)


def feed_stored(sink: MemorySink, events: list[StoredEvent], end: int, at: list[int]) -> None:
    state = PartitionState()
    for first, last in pairwise(sorted({0, end, *(cut for cut in at if 0 < cut < end)})):
        some = [event for event in events if first <= event.offset < last]
        sink.store(fold(state, RecordBatch(SOURCE, "owner", first, last, StoredEvents.of(some)), RULES, sink.marks))
        sink.merge(project(state, sink.marks.windows, last, RULES))


def test_a_stored_event_that_a_control_record_names_is_set_aside_as_any_record_is() -> None:
    messages = [
        {"machine": "m0", "time_ms": BASE_MS, "seq": n, "ingest_ms": BASE_MS, "readings": {"t": 1.0}} for n in range(3)
    ]
    events = [StoredEvent(7, n, BASE_MS, record(n, message).value or b"") for n, message in enumerate(messages)]
    events.append(events[0]._replace(offset=8))
    skip = {7: (DeadLetterReason.FOLD_FAILED, "it failed")}

    effects = fold(PartitionState(), RecordBatch(SOURCE, "owner", 7, 9, StoredEvents.of(events)), RULES, Marks(), skip)

    assert [(letter.offset, letter.index) for letter in effects.dead_letters] == [(7, 0), (7, 1), (7, 2)]
    assert (effects.events.offsets.tolist(), effects.checksum) == ([8], None)


@given(streams)
def test_law_4_the_answer_depends_on_the_records_alone(messages: list[dict]) -> None:
    assert_same(folded(messages, RULES), folded(messages, RULES))


@given(streams)
def test_law_8_every_record_is_an_event_a_duplicate_or_a_dead_letter(messages: list[dict]) -> None:
    sink = folded(messages, RULES)

    duplicates = sum(counts["duplicates"] for counts in sink.machines.values())
    assert len(sink.events) + len(sink.facts) + len(sink.dead_letters) + duplicates == len(messages)


@settings(max_examples=20)
@given(st.lists(values.filter(lambda v: abs(v) < 1e6), min_size=1, max_size=200))
def test_the_estimator_scores_as_the_bank_does(readings: list[float]) -> None:
    messages = [
        {"machine": "m0", "time_ms": BASE_MS + i, "seq": -1, "ingest_ms": BASE_MS, "readings": {"t": value}}
        for i, value in enumerate(readings)
    ]
    detector = SpikeDetector(threshold=3.0, warm_up=4)
    expected = {}
    for offset, value in enumerate(readings):
        score = detector.score_one({"t": value})
        if score > 3.0:
            expected[offset] = score
        detector.learn_one({"t": value})

    sink = folded(messages, RULES)

    assert {offset: score for (offset, *_), (_, _, score) in sink.anomalies.items()} == pytest.approx(expected)


def test_law_7_state_does_not_grow_with_the_number_of_messages() -> None:
    def after(count: int) -> int:
        state, sink = PartitionState(), MemorySink()
        messages = [
            {
                "machine": f"m{i % 3}",
                "time_ms": BASE_MS + i * 1000,
                "seq": i,
                "ingest_ms": BASE_MS + i * 1000,
                "readings": {"t": float(i % 7)},
            }
            for i in range(count)
        ]
        feed(sink, state, records_of(messages), range(0, count, 100), RULES)
        return snapshots.encode(state.to_arrays())[1]

    assert after(3000) <= after(300) + 16
