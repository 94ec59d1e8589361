"""A Faust transport that delivers one event per fetched record batch instead of one per record.

Written against faust-streaming 0.15.3 and aiokafka 0.14. The agent's event value is a
:class:`~pipeline.core.records.RecordBatch`; acknowledgements are not used, since the sink's marks say what is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, cast

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from yarl import URL

from pipeline.broker.ownership import LogRange, Ownership
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.records import RecordBatch, SourcePartition

log = structlog.get_logger(__name__)

# What Faust's services say about their lives belongs to Faust's lines, not to ours
_LIFE = logging.getLogger("faust.transport")

FETCH_WAIT_S = 0.2
"""Longest wait for records: bounds how long an acquired partition waits for its seek."""

FETCH_WAIT_MS = 100
"""Longest wait of one fetch at the broker while no partition has records, ms."""

IDLE_S = 0.02


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    logger = _LIFE

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust lets a fetch wait 1.5 s at the broker, and whatever is asked on that connection waits behind it: records of
        # a partition that was just resumed, and where logs begin and end
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class BatchConsumer(driver.Consumer):
    """Faust's aiokafka consumer with batches for messages and leases for committed offsets."""

    logger = _LIFE

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def ownership(self) -> Ownership:
        """The worker's ownership, from the transport."""
        return cast(BatchTransport, self.transport).ownership

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Forget all ownership and want what is assigned.

        Faust calls this on several paths, overlapping, and ends the worker when it raises or takes long: so it does no
        work but this. Partitions stay paused until they are acquired.
        """
        assigned = self.assignment()
        self.pause_partitions(assigned)
        self.ownership.assign([SourcePartition(tp.topic, tp.partition) for tp in assigned])
        return {}

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Forget all ownership also when nothing is assigned, for which Faust seeks nothing."""
        if not assigned:
            self.ownership.assign(())
        await super().on_partitions_assigned(assigned, generation_id)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109  # Faust's signature
        """Yield a message per fetched batch; the only place that seeks, so no fetch is under way when it does."""
        if not self.flow_active:
            # Faust's own wait also ends on stop; without flow there is neither fetch nor seek
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # any object with wait() is accepted
        await self._seek_acquired()
        active = self._get_active_partitions()
        if not active:
            await asyncio.sleep(IDLE_S)
            return
        fetched = await self._getmany(active_partitions=active, timeout=min(timeout, FETCH_WAIT_S))
        generation = self.app.consumer_generation_id
        for tp, records in fetched.items():
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if records and await self._is_in_place(tp, records[0].offset):
                message = self._batch_message(tp, records)
                if message is not None:
                    yield message.tp, message

    async def _seek_acquired(self) -> None:
        while self.flow_active and (acquired := self.ownership.take_acquired(self.app.consumer_generation_id)):
            source, lease = acquired
            tp = TP(source.topic, source.partition)
            if tp not in self.assignment():
                continue
            await self.seek_wait({tp: lease.position})
            self.ownership.begin_reading(source, lease)
            self.resume_partitions({tp})

    async def _is_in_place(self, tp: TP, first: int) -> bool:
        """Return whether records that begin at offset ``first`` go on where the lease stands.

        They do not when the lease was lost, and when the client went on somewhere else by itself: at the log's start,
        because that has moved past the position, or because the topic was recreated. The partition is acquired anew then,
        which notes the gap. Other holes are normal: compaction, transaction markers.
        """
        source = SourcePartition(tp.topic, tp.partition)
        position = self.ownership.position(source)
        if position == first:
            return True
        if position is not None and first > position:
            try:
                if (await self.available([source]))[source].start <= position:
                    return True
            except BrokerUnavailable as error:
                log.info("partition.out_of_place", source=str(source), reason=str(error))
        self.pause_partitions({tp})
        if position is not None:
            self.ownership.want_again(source)
        return False

    def _batch_message(self, tp: TP, records: list[Any]) -> ConsumerMessage | None:
        last = records[-1]
        source = SourcePartition(tp.topic, tp.partition)
        lease = self.ownership.advance(source, last.offset + 1)
        if lease is None:
            return None
        batch = RecordBatch(source, lease.owner, lease.position, last.offset + 1, records)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            cast("Any", batch),
            None,
            0,
            0,
            TP(tp.topic, tp.partition),
            generation_id=self.app.consumer_generation_id,
        )

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust judges by acknowledgements, which are not used here; paused partitions would look stuck."""

    async def available(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, LogRange]:
        """Return what the broker's logs hold of partitions.

        Raises
        ------
        BrokerUnavailable
            If the broker does not answer.
        """
        partitions = [TopicPartition(source.topic, source.partition) for source in sources]
        consumer = self._thread._ensure_consumer()
        try:
            starts = await self._thread.call_thread(consumer.beginning_offsets, partitions)
            ends = await self._thread.call_thread(consumer.end_offsets, partitions)
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(f"the broker does not say what its logs hold: {error!r}") from error
        return {source: LogRange(starts[tp], ends[tp]) for source, tp in zip(sources, partitions, strict=True)}

    async def publish_marks(self, marks: Mapping[SourcePartition, int]) -> None:
        """Commit the sink's marks as the group's offsets, for lag tools; a failure is only noted, they decide nothing."""
        assigned = self.assignment()
        offsets = {
            TopicPartition(source.topic, source.partition): OffsetAndMetadata(mark, "")
            for source, mark in marks.items()
            if TP(source.topic, source.partition) in assigned
        }
        if not offsets:
            return
        consumer = self._thread._ensure_consumer()
        try:
            await self._thread.call_thread(consumer.commit, offsets)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets.not_committed", reason=str(error))


class BatchTransport(driver.Transport):
    """The aiokafka transport with :class:`BatchConsumer`.

    Parameters
    ----------
    url, app
        As Faust's transports take them.
    ownership
        Which partitions this worker owns.
    """

    Consumer = BatchConsumer

    def __init__(self, url: list[URL], app: AppT, ownership: Ownership) -> None:
        super().__init__(url, app)
        self.ownership = ownership
