"""What the client hands over instead of its own record objects: all that the fold asks of a record, and nothing copied."""

from __future__ import annotations

import gc
import weakref

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, COMMIT_MARKER
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.broker.fetching import RawRecords, WholeFetches, deliver_raw_records
from tests.broker.record_batches import RECORDS, compacted, damaged, legacy, marker, record_batch, sealed

TP = TopicPartition("t", 0)


def unpack(kind: type[fetcher.PartitionRecords], raw: bytes, fetch_offset: int, aborted=None, level=None):
    level = fetcher.READ_UNCOMMITTED if level is None else level
    return kind(TP, MemoryRecords(raw), aborted, fetch_offset, None, None, True, level)


def say(record) -> tuple:
    """Return the fields of SourceRecord."""
    return record.offset, record.timestamp, record.key, record.value, list(record.headers)


def offsets(records) -> list[int]:
    return [record.offset for record in records]


def same(raw: bytes, fetch_offset: int, **more) -> list:
    ours, theirs = (unpack(kind, raw, fetch_offset, **more) for kind in (RawRecords, fetcher.PartitionRecords))
    records = [say(record) for record in ours.take(None)]
    assert records == [say(record) for record in theirs]
    assert ours.next_fetch_offset == theirs.next_fetch_offset
    return records


@pytest.mark.parametrize("fetch_offset", [0, 2])
def test_a_raw_record_says_what_the_clients_own_record_says(fetch_offset: int) -> None:
    records = same(record_batch(0, 3), fetch_offset)

    assert [key for _, _, key, _, _ in records] == [key for key, _, _ in RECORDS][fetch_offset:]


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    holes=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    ask=st.integers(0, 12),
    steps=st.lists(st.integers(1, 12), max_size=12),
)
def test_records_taken_in_pieces_are_all_records_in_order_and_the_position_follows(
    counts: list[int], holes: list[int], ask: int, steps: list[int]
) -> None:
    raw, at = b"", 0
    for count, hole in zip(counts, holes, strict=False):
        at += hole
        # A broker sends from the batch on that has the record
        if at + count > ask:
            raw += record_batch(at, count)
        at += count
    expected = same(raw, min(ask, at))

    records = unpack(RawRecords, raw, min(ask, at))
    taken: list = []
    for step in steps:
        piece = records.take(step)
        taken += piece
        if len(piece) == step:
            assert records.next_fetch_offset == piece[-1].offset + 1
    taken += records.take(None)

    assert [say(record) for record in taken] == expected
    assert records.next_fetch_offset == at


@pytest.mark.parametrize("fetch_offset", range(10, 16))
@pytest.mark.parametrize(("magic", "compression"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
def test_records_of_an_old_message_format_come_from_where_they_were_asked(
    magic: int, compression: int, fetch_offset: int
) -> None:
    raw, first = b"", 10
    for count in [4, 2] if compression else [1] * 6:
        if first + count > fetch_offset:
            raw += legacy(first, count, magic, compression)
        first += count

    assert [offset for offset, *_ in same(raw, fetch_offset)] == list(range(fetch_offset, 16))

    records = unpack(RawRecords, raw, fetch_offset)
    assert offsets(records.take(1)) == [fetch_offset]
    assert records.next_fetch_offset == fetch_offset + 1


def test_what_an_old_message_format_has_before_the_record_that_was_asked_for_is_left_out() -> None:
    assert [offset for offset, *_ in same(legacy(0, 1, 1, 0) + legacy(1, 1, 1, 0), 1)] == [1]

    whole_log = b"".join(legacy(offset, 1, 1, 0) for offset in range(6))
    assert offsets(unpack(RawRecords, whole_log, 4).take(None)) == [4, 5]


def test_transactions_that_were_taken_back_are_left_out_where_only_committed_ones_are_read() -> None:
    taken_back = record_batch(2, 2, is_transactional=1) + marker(4, ABORT_MARKER)
    committed = record_batch(5, 1, is_transactional=1) + marker(6, COMMIT_MARKER)
    raw = record_batch(0, 2) + taken_back + committed

    only_committed = same(raw, 0, aborted=[(9, 2)], level=fetcher.READ_COMMITTED)

    assert [offset for offset, *_ in only_committed] == [0, 1, 5]
    assert [offset for offset, *_ in same(raw, 0)] == [0, 1, 2, 3, 5]


def test_a_fetch_that_is_dropped_before_its_end_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        untouched, half_read = (unpack(RawRecords, record_batch(0, 5), 0) for _ in range(2))
        half_read.take(2)
        left = [weakref.ref(untouched), weakref.ref(half_read)]

        del untouched, half_read

        assert [fetch() for fetch in left] == [None, None]
    finally:
        gc.enable()


class _Position:
    """The client's note of one partition: where it stands."""

    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


class _Assignment:
    active = True

    def __init__(self, position: int) -> None:
        self.at = _Position(position)

    def state_value(self, tp: TopicPartition) -> _Position:
        return self.at


def fetched(assignment: _Assignment, raw: bytes = record_batch(0, 5)) -> WholeFetches:
    records = unpack(RawRecords, raw, assignment.at.position)
    return WholeFetches(TP, assignment=assignment, partition_records=records, backoff=0)


def drain(fetch: WholeFetches, step: int | None, into: list[int]) -> None:
    while fetch.has_more():
        into += offsets(fetch.getall(step))


def test_a_fetch_is_taken_many_records_at_a_time_and_the_client_notes_how_far() -> None:
    assignment = _Assignment(0)
    fetch = fetched(assignment)

    assert offsets(fetch.getall(3)) == [0, 1, 2]
    assert (assignment.at.position, fetch.has_more()) == (3, True)
    assert offsets(fetch.getall(3)) == [3, 4]
    assert (assignment.at.position, fetch.has_more()) == (5, False)
    assert fetch.getall(3) == []


def test_one_record_asked_for_by_its_offset_is_the_first_to_come() -> None:
    record = fetched(_Assignment(3)).getone()

    assert (record.offset, record.value) == (3, RECORDS[0][1])


def test_the_mark_where_a_transaction_ends_is_no_record_and_the_position_goes_past_it() -> None:
    assignment = _Assignment(0)
    batches = [record_batch(first, 2, is_transactional=1) for first in (0, 3)]
    fetch = fetched(assignment, batches[0] + marker(2, ABORT_MARKER) + batches[1] + marker(5, COMMIT_MARKER))

    assert offsets(fetch.getall(3)) == [0, 1, 3]
    assert (assignment.at.position, fetch.has_more()) == (4, True)
    assert offsets(fetch.getall(3)) == [4]
    assert (assignment.at.position, fetch.has_more()) == (6, False)

    assert fetched(assignment, marker(6, COMMIT_MARKER)).getall() == []
    assert assignment.at.position == 7


@pytest.mark.parametrize(("kept", "fetch_offset"), [(3, 0), (3, 2), (3, 4), (0, 0)])
def test_the_position_goes_past_records_that_compaction_took_from_the_end_of_a_batch(
    kept: int, fetch_offset: int
) -> None:
    assignment = _Assignment(fetch_offset)
    fetch = fetched(assignment, compacted(0, kept, 5))

    assert offsets(fetch.getall()) == list(range(fetch_offset, kept))
    assert (assignment.at.position, fetch.has_more()) == (5, False)
    same(compacted(0, kept, 5), fetch_offset)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, None])
@pytest.mark.parametrize("bad", range(4))
def test_a_fetch_ends_before_a_damaged_batch_and_the_next_one_goes_on_without_a_hole_or_a_repeat(
    bad: int, step: int | None
) -> None:
    batches = [record_batch(first, 3) for first in range(0, 12, 3)]
    on_its_way = [*batches[:bad], damaged(batches[bad]), *batches[bad + 1 :]]
    assignment, taken = _Assignment(0), list[int]()
    fetch = fetched(assignment, b"".join(on_its_way))

    with pytest.raises(CorruptRecordException, match="CRC"):
        drain(fetch, step, taken)

    # A piece in which the damage shows is not handed over, so that it has to be fetched again from its beginning
    at = bad * 3 // step * step if step else 0
    assert (taken, assignment.at.position) == (list(range(at)), at)
    assert (fetch.getall(step), fetch.has_more(), assignment.at.position) == ([], False, at)

    drain(fetched(assignment, b"".join(batches[at // 3 :])), step, taken)

    assert (taken, assignment.at.position) == (list(range(12)), 12)


def test_a_batch_that_cannot_be_unpacked_is_fetched_again_from_where_it_was_taken_up_to() -> None:
    named = [(b"k", b"v", [("name", b"x")])]
    good, bad = (record_batch(first, 3, compression=0, records=named) for first in (0, 3))
    at = bad.rindex(b"name")
    assignment = _Assignment(0)
    fetch = fetched(assignment, good + sealed(bytearray(bad[:at] + b"\xff" + bad[at + 1 :])))

    assert offsets(fetch.getall(3)) == [0, 1, 2]
    with pytest.raises(UnicodeDecodeError):
        fetch.getall(3)

    assert (fetch.getall(3), assignment.at.position) == ([], 3)
    assert offsets(fetched(assignment, bad).getall(3)) == [3, 4, 5]


def test_nothing_is_taken_of_a_partition_that_was_moved_paused_or_taken_away() -> None:
    moved, paused, gone = _Assignment(0), _Assignment(0), _Assignment(0)
    fetches = [fetched(assignment) for assignment in (moved, paused, gone)]
    moved.at.position, paused.at.paused, gone.active = 2, True, False

    assert [fetch.getall() for fetch in fetches] == [[], [], []]
    assert [fetch.has_more() for fetch in fetches] == [False, False, False]


def test_consumers_made_afterwards_deliver_raw_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    monkeypatch.setattr(fetcher, "FetchResult", fetcher.FetchResult)

    deliver_raw_records()

    assert (fetcher.PartitionRecords, fetcher.FetchResult) == (RawRecords, WholeFetches)
