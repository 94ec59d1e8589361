"""What a log is seen to hold, on a real broker: its range, and the record before the mark (R61)."""

from __future__ import annotations

import time
import zlib

import pytest

from pipeline.broker.evidence import Witness
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.marks import LogRange, StoredMarks
from pipeline.core.records import SourcePartition
from pipeline.processes import free_port
from tests.system.producing import delete_before, produce


def last_was(offset: int) -> StoredMarks:
    return StoredMarks("owner", offset + 1, offset + 1, 1, offset)


async def test_ranges_and_records_of_all_partitions_are_seen_in_a_moment(broker_address, topic) -> None:
    name = topic(partitions=8)
    for partition in range(8):
        produce(broker_address, name, [b"%d-%d" % (partition, n) for n in range(50)], partition=partition)
    seen = {SourcePartition(name, n): last_was(10 + n) for n in range(7)} | {SourcePartition(name, 7): None}
    began = time.monotonic()

    found = await Witness(broker_address, BrokerSecurity()).ask(seen)

    assert time.monotonic() - began < 2
    assert {source: evidence.seen for source, evidence in found.items()} == seen
    assert {evidence.held for evidence in found.values()} == {LogRange(0, 50)}
    checksums = [found[SourcePartition(name, n)].checksum for n in range(8)]
    assert checksums == [*(zlib.crc32(b"%d-%d" % (n, 10 + n)) for n in range(7)), None]


async def test_a_record_that_is_deleted_or_beyond_the_end_says_nothing(broker_address, topic) -> None:
    name = topic(partitions=2)
    for partition in range(2):
        produce(broker_address, name, [b"x"] * 10, partition=partition)
    delete_before(broker_address, name, 5)
    deleted, beyond = (SourcePartition(name, n) for n in range(2))

    found = await Witness(broker_address, BrokerSecurity()).ask({deleted: last_was(4), beyond: last_was(10)})

    assert (found[deleted].held, found[deleted].checksum) == (LogRange(5, 10), None)
    assert (found[beyond].held, found[beyond].checksum) == (LogRange(0, 10), None)


async def test_a_null_body_is_a_record_too(broker_address, topic) -> None:
    source = SourcePartition(topic(partitions=1), 0)
    produce(broker_address, source.topic, [b"x", None, b"y"])

    found = await Witness(broker_address, BrokerSecurity()).ask({source: last_was(1)})

    assert found[source].checksum == zlib.crc32(b"")


async def test_nobody_that_answers_is_a_reason_to_ask_again() -> None:
    source = SourcePartition("t", 0)

    with pytest.raises(BrokerUnavailable, match="does not say"):
        await Witness(f"127.0.0.1:{free_port()}", BrokerSecurity()).ask({source: None})
