"""A state that the log can no longer give is rebuilt from the stored events (R61): as if nothing had been lost but the gap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pipeline.core.errors import NotOwner
from pipeline.core.facts import TELEMETRY_INGEST
from pipeline.core.fold import Marks, fold, project
from pipeline.core.marks import Gap, GapReason
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvent, StoredEvents
from pipeline.core.state import PartitionState
from pipeline.store.takeover import Acquired
from tables import snapshots
from tables.loading import batches, load
from tests.core.sinks import SOURCE, MemorySink, record
from tests.core.test_fold_laws import BASE_MS, RULES, accepted, assert_same_windows, facts, garbage
from tests.tables.test_partitions import nothing_placed

refused_elements = st.sampled_from([b'{"machine_id":"m0"}', b"null", b'{"type":"??"}', b"7"])
elements = (accepted | facts).map(lambda message: record(0, message).value) | refused_elements
arrays = st.lists(elements, min_size=1, max_size=4).map(lambda bodies: b"[" + b",".join(bodies) + b"]")
raw = st.one_of(
    *[accepted.map(lambda m: (m["ingest_ms"], record(0, m).value))] * 3,
    facts.map(lambda m: (m["ingest_ms"], record(0, m).value)),
    garbage.map(lambda m: (m["ingest_ms"], m["garbage"])),
    arrays.map(lambda body: (BASE_MS, body)),
)
streams = st.lists(raw, max_size=40).map(
    lambda them: [Record(offset, ingest_ms, body) for offset, (ingest_ms, body) in enumerate(them)]
)


def fold_some(state: PartitionState, records: list[Record], first: int, end: int, sink: MemorySink | None) -> None:
    batch = RecordBatch(SOURCE, "", first, end, records[first:end])
    effects = fold(state, batch, RULES, sink.marks if sink else Marks(first, end))
    if sink is not None:
        sink.store(effects)


def merge(state: PartitionState, sink: MemorySink, end: int) -> None:
    sink.merge(project(state, sink.marks.windows, end, RULES))


def snapshot_at(records: list[Record], offset: int) -> bytes:
    state = PartitionState()
    fold_some(state, records, 0, offset, MemorySink())
    project(state, 0, offset, RULES)
    return snapshots.encode(state.to_arrays())[0]


def stored_in(sink: MemorySink, records: list[Record], first: int, end: int) -> Iterator[StoredEvents]:
    stored = {place: (body, TELEMETRY_INGEST) for place, (_, body) in sink.events.items()}
    stored |= {place: (fact.body, fact.event_type) for place, fact in sink.facts.items()}
    for (offset, place), (body, event_type) in sorted(stored.items()):
        if first <= offset < end:
            yield StoredEvents.of([(offset, place, records[offset].timestamp, body, event_type)])


@given(streams, st.data())
def test_a_rebuilt_partition_answers_as_one_that_was_never_lost(records: list[Record], data: st.DataObject) -> None:
    """The snapshot is at s or cannot be read, windows are merged to w, effects stored to e, and the log begins at l.

    0 ──── s ──── w ──── e            what was read of the old log
               l (anywhere) ──── n    what the log still has
    """
    n = len(records)
    s, w, e = sorted(data.draw(st.tuples(*[st.integers(0, n)] * 3), label="s, w, e"))
    begins = data.draw(st.integers(0, n), label="l")
    snapshot = data.draw(st.sampled_from([None, (s, b"unreadable"), (s, snapshot_at(records, s))]), label="snapshot")
    after_gap = max(e, begins)
    expected, state = MemorySink(), PartitionState()
    fold_some(state, records, 0, e, expected)
    expected.marks = Marks(after_gap, 0)
    fold_some(state, records, after_gap, n, expected)
    merge(state, expected, n)
    sink, state = MemorySink(), PartitionState()
    fold_some(state, records, 0, w, sink)
    merge(state, sink, w)
    fold_some(state, records, w, e, sink)

    sink.marks = Marks(after_gap, w)
    gap = Gap(e, begins, GapReason.LOG_START_MOVED) if begins > e else None
    taken = Acquired("new", "old", after_gap, w, snapshot, {}, gap)
    loaded = load(
        SOURCE, taken, begins, RULES, lambda _, *of: stored_in(sink, records, *of), lambda: True, nothing_placed
    )
    readable = snapshot is not None and snapshot[1] != b"unreadable"
    assert loaded.position == (max(s, begins) if readable else begins)
    loaded.fold(RecordBatch(SOURCE, "new", loaded.position, n, records[loaded.position :]), RULES)
    unit = loaded.take_all(RULES)
    if unit is not None:
        for effects in unit.effects:
            sink.store(effects)
        if unit.projections is not None:
            sink.merge(unit.projections)

    assert sink.events == expected.events
    assert sink.dead_letters == expected.dead_letters
    assert sink.facts == expected.facts
    assert sink.anomalies.keys() == expected.anomalies.keys()
    for key, numbers in expected.anomalies.items():
        assert sink.anomalies[key] == pytest.approx(numbers, rel=1e-9)
    assert_same_windows(expected.window_rows(), sink.window_rows())
    lasts = [
        {key: (window["last_offset"], window["last_index"]) for key, window in each.windows.items()}
        for each in (expected, sink)
    ]
    assert lasts[0] == lasts[1]
    duplicates = {name: counts.pop("duplicates") for name, counts in expected.machines.items()}
    assert all(counts.pop("duplicates") <= duplicates[name] for name, counts in sink.machines.items())
    assert sink.machines == expected.machines


@given(streams.filter(len), st.data())
def test_a_lost_log_is_settled_with_all_that_is_stored_of_it(records: list[Record], data: st.DataObject) -> None:
    w, e = sorted(data.draw(st.tuples(*[st.integers(0, len(records))] * 2), label="w, e"))
    expected, state = MemorySink(), PartitionState()
    fold_some(state, records, 0, e, expected)
    merge(state, expected, e)
    sink, state = MemorySink(), PartitionState()
    fold_some(state, records, 0, w, sink)
    merge(state, sink, w)
    fold_some(state, records, w, e, sink)

    taken = Acquired("new", "old", e, w, None, {}, settle_first=True)
    loaded = load(SOURCE, taken, 0, RULES, lambda _, *of: stored_in(sink, records, *of), lambda: True, nothing_placed)
    unit = loaded.take_all(RULES)
    if unit is not None:
        assert unit.effects == []
        sink.merge(unit.projections)

    assert loaded.position == e
    assert_same_windows(expected.window_rows(), sink.window_rows())


def test_a_partition_that_nobody_had_before_is_not_looked_for() -> None:
    def stored(source: SourcePartition, first: int, end: int) -> list[StoredEvents]:
        raise AssertionError("looked for")

    taken = Acquired("new", None, 7, 7, None, {})

    assert load(SOURCE, taken, 7, RULES, stored, lambda: True, nothing_placed).position == 7


def test_a_partition_that_went_elsewhere_is_not_rebuilt_to_the_end() -> None:
    wanted = iter([True, False])

    with pytest.raises(NotOwner):
        load(
            SOURCE,
            Acquired("new", "old", 9, 9, None, {}),
            9,
            RULES,
            lambda *_: [StoredEvents.of([StoredEvent(n, 0, BASE_MS, b"{}")]) for n in range(5)],
            lambda: next(wanted),
            nothing_placed,
        )


def test_nothing_is_looked_for_that_nobody_can_have_stored() -> None:
    asked = []

    def stored(source: SourcePartition, first: int, end: int) -> list[StoredEvents]:
        asked.append((first, end))
        return []

    snapshot = 40, snapshots.encode(PartitionState().to_arrays())[0]
    gap = Gap(40, 70, GapReason.LOG_START_MOVED)

    loaded = load(
        SOURCE, Acquired("new", "old", 70, 40, snapshot, {}, gap), 70, RULES, stored, lambda: True, nothing_placed
    )
    behind = load(
        SOURCE, Acquired("new", "old", 70, 30, None, {}, gap), 70, RULES, stored, lambda: True, nothing_placed
    )

    assert (loaded.position, behind.position) == (70, 70)
    assert asked == [(0, 40)]


@given(st.lists(st.integers(1, 3), max_size=30), st.lists(st.integers(0, 60), max_size=6), st.integers(1, 7))
def test_batches_are_long_enough_and_hold_all_of_an_offset_however_the_events_come(
    places: list[int], cuts: list[int], most: int
) -> None:
    events = StoredEvents.of(
        StoredEvent(offset, place, 0, b"{}") for offset, count in enumerate(places) for place in range(count)
    )
    bounds = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]

    found = list(batches([events[begin:end] for begin, end in pairwise(bounds)], most))

    assert [event for batch in found for event in batch] == list(events)
    assert all(batch[-1].offset < after[0].offset for batch, after in pairwise(found))
    # Without the last offset none would be full
    assert all(sum(batch.offsets < batch[-1].offset) < most <= len(batch) for batch in found[:-1])
    assert all(len(batch) < most + 3 for batch in found)


def test_a_batch_ends_at_a_megabyte_of_bodies() -> None:
    events = StoredEvents.of(StoredEvent(offset, 0, 0, bytes(300_000)) for offset in range(9))

    assert [len(batch) for batch in batches([events[:2], events[2:]])] == [4, 4, 1]
