"""Record batches as a broker sends them, and as it does not."""

from __future__ import annotations

from aiokafka.record.control_record import ControlRecord
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

RECORDS = [
    (b"press-1", b'{"seq":1}', [("type", b"machine"), ("empty", None)]),
    (None, b"[]", []),
    (b"press-2", None, []),
]
MS = 1_790_000_000_000


def record_batch(
    first: int, count: int, *, is_transactional: int = 0, compression: int = 3, records: list[tuple] = RECORDS
) -> bytes:
    """Return a record batch of so many records, from offset ``first`` on."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=compression, is_transactional=is_transactional,
        producer_id=9 if is_transactional else -1, producer_epoch=-1, base_sequence=-1, batch_size=10_000,
    )  # fmt: skip
    for number in range(count):
        builder.append(number, MS + number, *records[number % len(records)])
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def sealed(batch: bytearray) -> bytes:
    """Return a record batch that was changed with the checksum that it has now."""
    batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")
    return bytes(batch)


def damaged(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


def compacted(first: int, kept: int, end: int) -> bytes:
    """Return a record batch that reached to before offset ``end``, of which only the first records are still there."""
    batch = bytearray(record_batch(first, kept))
    batch[23:27] = (end - first - 1).to_bytes(4, "big")
    return sealed(batch)


def marker(at: int, outcome: ControlRecord) -> bytes:
    """Return what a broker writes where a transaction ends."""
    key = outcome.version.to_bytes(2, "big") + outcome.type_.to_bytes(2, "big")
    batch = bytearray(record_batch(at, 1, is_transactional=1, compression=0, records=[(key, bytes(6), [])]))
    # Among a batch's attributes there is one for this, which the client's builder never sets
    batch[22] |= 0x20
    return sealed(batch)


def legacy(first: int, count: int, magic: int, compression: int) -> bytes:
    """Return a batch of an old format: one record, or several that were compressed together."""
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=compression, batch_size=10_000)
    for number in range(count):
        # The later of the two formats counts within the batch
        builder.append(number if magic else first + number, MS + number, *RECORDS[number % len(RECORDS)][:2])
    return (first + count - 1).to_bytes(8, "big") + bytes(builder.build())[8:]
