"""What the client hands over instead of its own record objects: all that the fold asks of a record, and nothing copied."""

from __future__ import annotations

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.broker.fetching import RawRecords, WholeFetches, deliver_raw_records

TP = TopicPartition("t", 0)
RECORDS = [
    (b"press-1", b'{"seq":1}', [("type", b"machine"), ("empty", None)]),
    (None, b"[]", []),
    (b"press-2", None, []),
]
MS = 1_790_000_000_000


def record_batch(first: int, count: int, *, is_transactional: int = 0) -> bytes:
    """Return a record batch of so many records, from offset ``first`` on."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=3, is_transactional=is_transactional, producer_id=9 if is_transactional else -1,
        producer_epoch=-1, base_sequence=-1, batch_size=10_000,
    )  # fmt: skip
    for number in range(count):
        builder.append(number, MS + number, *RECORDS[number % len(RECORDS)])
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def legacy(count: int) -> bytes:
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=10_000)
    for number in range(count):
        builder.append(number, MS + number, *RECORDS[number % len(RECORDS)][:2])
    return bytes(builder.build())


def unpack(kind: type[fetcher.PartitionRecords], raw: bytes, fetch_offset: int, aborted=None, level=None):
    level = fetcher.READ_UNCOMMITTED if level is None else level
    return kind(TP, MemoryRecords(raw), aborted, fetch_offset, None, None, True, level)


def say(record) -> tuple:
    """Return the fields of SourceRecord."""
    return record.offset, record.timestamp, record.key, record.value, list(record.headers)


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


def test_records_of_an_old_message_format_come_from_where_they_were_asked() -> None:
    assert [offset for offset, *_ in same(legacy(1), 0)] == [0]


def test_transactions_that_were_taken_back_are_left_out_where_only_committed_ones_are_read() -> None:
    raw = record_batch(0, 2) + record_batch(2, 2, is_transactional=1) + record_batch(4, 1)

    committed = same(raw, 0, aborted=[(9, 2)], level=fetcher.READ_COMMITTED)

    assert [offset for offset, *_ in committed] == [0, 1, 4]
    assert [offset for offset, *_ in same(raw, 0)] == [0, 1, 2, 3, 4]


def test_a_record_batch_that_was_damaged_on_its_way_is_refused() -> None:
    whole = record_batch(0, 3)

    with pytest.raises(CorruptRecordException, match="CRC"):
        unpack(RawRecords, whole[:-1] + bytes([whole[-1] ^ 1]), 0).take(None)


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


def fetched(assignment: _Assignment) -> WholeFetches:
    records = unpack(RawRecords, record_batch(0, 5), 0)
    return WholeFetches(TP, assignment=assignment, partition_records=records, backoff=0)


def test_a_fetch_is_taken_many_records_at_a_time_and_the_client_notes_how_far() -> None:
    assignment = _Assignment(0)
    fetch = fetched(assignment)

    assert [record.offset for record in fetch.getall(3)] == [0, 1, 2]
    assert (assignment.at.position, fetch.has_more()) == (3, True)
    assert [record.offset for record in fetch.getall(3)] == [3, 4]
    assert (assignment.at.position, fetch.has_more()) == (5, False)
    assert fetch.getall(3) == []


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
