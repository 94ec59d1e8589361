"""What the broker's logs hold, as evidence about marks that were seen before: their range, and one record of them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from pipeline.broker.credentials import for_aiokafka
from pipeline.broker.fetching import FETCH_WAIT_MS
from pipeline.broker.security import BrokerSecurity
from pipeline.broker.stopping import stop
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.marks import Evidence, LogRange, StoredMarks
from pipeline.core.records import SourcePartition

log = structlog.get_logger(__name__)

ANSWER_S = 10.0
"""Longest wait for all answers of one question, s."""

RECORD_S = 4.0
"""Longest wait for a record, from a broker that answers otherwise, s: behind a hole there may be none."""


class Witness:
    """Asks about logs with a client of its own, which is in no group and is ended with its question.

    Asking is rare (when partitions are acquired), so no connection is kept that would be cut while it idles.

    Parameters
    ----------
    address
        ``host:port`` of one or more brokers, separated by commas.
    """

    def __init__(self, address: str, security: BrokerSecurity) -> None:
        self._address = address
        self._security = security

    async def ask(self, seen: Mapping[SourcePartition, StoredMarks | None]) -> dict[SourcePartition, Evidence]:
        """Return what the logs of partitions hold now, given the marks that were seen of them.

        Raises
        ------
        BrokerUnavailable
            If the broker does not say.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._address,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=round(ANSWER_S * 1000),
            **for_aiokafka(self._security),
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                await consumer.start()
                ranges = await log_ranges(consumer, seen)
                checksums = await _checksums(consumer, _askable(seen, ranges))
        except (KafkaError, TimeoutError, OSError) as error:
            raise BrokerUnavailable(f"the broker does not say what its logs hold: {error!r}") from error
        finally:
            await stop(consumer)
        return {source: Evidence(seen[source], ranges[source], checksums.get(source)) for source in seen}


async def log_ranges(
    consumer: AIOKafkaConsumer, sources: Collection[SourcePartition]
) -> dict[SourcePartition, LogRange]:
    """Return what the broker's logs hold of partitions.

    Raises
    ------
    BrokerUnavailable
        If the broker does not answer.
    """
    partitions = {source: TopicPartition(*source) for source in sources}
    try:
        starts = await consumer.beginning_offsets(list(partitions.values()))
        ends = await consumer.end_offsets(list(partitions.values()))
    except (KafkaError, TimeoutError) as error:
        raise BrokerUnavailable(f"the broker does not say what its logs hold: {error!r}") from error
    return {source: LogRange(starts[tp], ends[tp]) for source, tp in partitions.items()}


def _askable(
    seen: Mapping[SourcePartition, StoredMarks | None], ranges: Mapping[SourcePartition, LogRange]
) -> dict[SourcePartition, int]:
    wanted = {source: marks.last_record for source, marks in seen.items() if marks is not None}
    return {
        source: offset
        for source, offset in wanted.items()
        if offset is not None and ranges[source].start <= offset < ranges[source].end
    }


async def _checksums(consumer: AIOKafkaConsumer, wanted: Mapping[SourcePartition, int]) -> dict[SourcePartition, int]:
    """Return the CRC-32 of the bodies at some offsets, of those that are there."""
    partitions = {source: TopicPartition(*source) for source in wanted}
    consumer.assign(list(partitions.values()))
    for source, offset in wanted.items():
        consumer.seek(partitions[source], offset)
    found = {}
    deadline = asyncio.get_running_loop().time() + RECORD_S
    # One after the other, out of fetches that carry all of them
    for source, offset in wanted.items():
        try:
            async with asyncio.timeout_at(deadline):
                record = await consumer.getone(partitions[source])
        except TimeoutError:
            if consumer.highwater(partitions[source]) is None:
                raise
            log.warning("evidence.no_record", source=str(source), offset=offset)
            continue
        if record.offset == offset:
            found[source] = zlib.crc32(record.value or b"")
    return found
