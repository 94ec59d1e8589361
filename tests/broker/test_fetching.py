"""What the client hands over instead of its own record objects: all that the fold asks of a record, and nothing copied."""

from __future__ import annotations

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from pipeline.broker.fetching import RawRecords, deliver_raw_records

RECORDS = [
    (b"press-1", b'{"seq":1}', [("type", b"machine"), ("empty", None)]),
    (None, b"[]", []),
    (b"press-2", None, []),
]


def unpacked(kind: type[fetcher.PartitionRecords], fetch_offset: int = 0) -> list:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=3, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=10_000,
    )  # fmt: skip
    for number, (key, value, headers) in enumerate(RECORDS):
        builder.append(number, 1_790_000_000_000 + number, key, value, headers)
    memory = MemoryRecords(bytes(builder.build()))
    return list(kind(TopicPartition("t", 0), memory, None, fetch_offset, None, None, True, fetcher.READ_UNCOMMITTED))


@pytest.mark.parametrize("fetch_offset", [0, 2])
def test_a_raw_record_says_what_the_clients_own_record_says(fetch_offset: int) -> None:
    say = lambda record: (  # noqa: E731  # the fields of SourceRecord
        record.offset, record.timestamp, record.key, record.value, list(record.headers),
    )  # fmt: skip

    raw = [say(record) for record in unpacked(RawRecords, fetch_offset)]

    assert raw == [say(record) for record in unpacked(fetcher.PartitionRecords, fetch_offset)]
    assert [key for _, _, key, _, _ in raw] == [key for key, _, _ in RECORDS][fetch_offset:]


def test_consumers_made_afterwards_deliver_raw_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)

    deliver_raw_records()

    assert fetcher.PartitionRecords is RawRecords
