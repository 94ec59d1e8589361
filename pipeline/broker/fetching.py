"""aiokafka's fetch results without Python code per record.

The client unpacks a record into a C object, copies that, field by field, into a frozen dataclass, and hands it on through
three Python calls: 1.9 µs, a tenth of all that a worker does with a message. What the fold wants of a record
(:class:`pipeline.core.records.SourceRecord`) the C object has already. Written against aiokafka 0.14.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException

READ_WAIT_S = 0.2
"""Longest wait for records: bounds how long an acquired partition waits for its seek."""

FETCH_WAIT_MS = 100
"""Longest wait of one fetch at the broker while no partition has records, ms."""

FETCH_BYTES = 1024**2
"""Most bytes of one partition in a fetch: thousands of messages, compressed. What is fetched ahead of all takes memory."""

IDLE_S = 0.02
"""How long to wait while there is nothing to fetch, s."""


class RawRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka publishes no types
    """Records as the client's C code unpacked them: no topic, no partition, no deserialised copies."""

    _records_iterator: Iterator[Any]

    def take(self, count: int | None) -> list[Any]:
        """Return the next ``count`` records, fewer at the end; ``None``: all."""
        try:
            records = list(islice(self._records_iterator, count))
        except BaseException:
            # What was taken before it is fetched again; the iterator would go on behind it
            self._records_iterator = iter(())
            raise
        if count is not None and len(records) == count:
            self.next_fetch_offset = records[-1].offset + 1
        return records

    def _unpack_records(self) -> Iterator[Any]:
        if self._isolation_level == fetcher.READ_COMMITTED:
            return super()._unpack_records()  # type: ignore[no-any-return]
        # A fetch that is dropped half read (a rebalance does that) has megabytes, which must not wait for the garbage collector
        return chain.from_iterable(_batches(weakref.proxy(self)))

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


def _batches(fetched: Any) -> Iterator[Iterable[Any]]:
    while fetched._records.has_next():
        batch = fetched._records.next_batch()
        if fetched._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {fetched._tp}")
        if not batch.is_control_batch:
            yield _asked_for(batch, fetched.next_fetch_offset)
        # The batch says where it ended also when compaction took its last record
        fetched.next_fetch_offset = max(fetched.next_fetch_offset, batch.next_offset)


def _asked_for(batch: Any, first: int) -> Iterable[Any]:
    """Leave out what comes before the offset that was asked for: a broker sends whole batches."""
    if getattr(batch, "base_offset", -1) >= first:
        return batch  # type: ignore[no-any-return]
    return [record for record in batch if record.offset >= first]


class WholeFetches(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka publishes no types
    """What one fetch brought of a partition, taken many records at a time."""

    _partition_records: RawRecords | None

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next ``max_records`` records, fewer at the end; none if the partition was taken or moved meanwhile."""
        source = self._partition_records
        if source is None or not self.check_assignment(self._topic_partition):
            return []
        records = source.take(max_records)
        self._update_position()
        if max_records is None or len(records) < max_records:
            self._partition_records = None
        return records


def deliver_raw_records() -> None:
    """Let every consumer of this process that is made from now on deliver raw records, a fetch at a time."""
    fetcher.PartitionRecords = RawRecords
    fetcher.FetchResult = WholeFetches
