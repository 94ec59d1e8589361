"""A Faust transport that delivers one event per fetched record batch instead of one per record.

Written against faust-streaming 0.15.3 and aiokafka 0.14. The agent's event value is a
:class:`~pipeline.core.records.RecordBatch`; acknowledgements are not used, since the sink's marks say what is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, cast

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from yarl import URL

from pipeline.broker.evidence import log_ranges
from pipeline.broker.fetching import FETCH_WAIT_MS, IDLE_S, READ_WAIT_S, deliver_raw_records
from pipeline.broker.membership import keep_member_id
from pipeline.broker.ownership import Ownership
from pipeline.broker.reading import Reader
from pipeline.broker.starting import start_patiently
from pipeline.broker.stopping import stop
from pipeline.core.errors import SettingsError
from pipeline.core.marks import LogRange
from pipeline.core.records import RecordBatch, SourcePartition, SourceRecord
from pipeline.crash_points import CrashPoint, reached

log = structlog.get_logger(__name__)

# What Faust's services say about their lives belongs to Faust's lines, not to ours
_LIFE = logging.getLogger("faust.transport")


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    logger = _LIFE

    def _create_worker_consumer(self, transport: Any) -> Any:
        deliver_raw_records()
        consumer = super()._create_worker_consumer(transport)
        # Faust lets a fetch wait 1.5 s at the broker, and whatever is asked on that connection waits behind it: records of
        # a partition that was just resumed, and where logs begin and end
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        await start_patiently(super().on_start, self._discard, lambda: self.should_stop)
        if self.app.conf.consumer_group_instance_id and not self.should_stop:
            coordinator = self._ensure_consumer()._coordinator
            keep_member_id(coordinator, cast(BatchConsumer, self.consumer).displaced)

    async def _discard(self) -> None:
        await stop(self._ensure_consumer())

    async def on_thread_stop(self) -> None:
        # The client awaits the fetches that it cancels, and one that was about to be tried again raises that: left to rise,
        # this thread would end without a word, and a stopping worker would wait a minute for it
        with contextlib.suppress(asyncio.CancelledError):
            await super().on_thread_stop()
        await self._ensure_consumer()._client.close()


class _Producer(driver.Producer):
    """Faust's own producer: nothing is sent by it, but the app starts with it."""

    logger = _LIFE

    async def on_start(self) -> None:
        await start_patiently(super().on_start, self._discard, lambda: self.should_stop)

    async def _discard(self) -> None:
        await self._ensure_producer().stop()


class BatchConsumer(driver.Consumer):
    """Faust's aiokafka consumer with batches for messages and leases for committed offsets.

    What is read and when is the :class:`~pipeline.broker.reading.Reader`'s to decide; this class only lends it the client.
    """

    logger = _LIFE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = _FaustClient(self)
        transport = cast(BatchTransport, self.transport)
        self._reader = Reader(self._client, transport.ownership)
        self._is_displaced = asyncio.Event()
        self.rebalances = 0
        transport.consumer = self

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Forget all ownership and want what is assigned.

        Faust calls this on several paths, overlapping, and ends the worker when it raises or takes long: so it does no
        work but this. Partitions stay paused until they are acquired.
        """
        self._reader.assigned(self._client.assignment())
        return {}

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Forget all ownership also when nothing is assigned, for which Faust seeks nothing."""
        self.rebalances += 1
        if not assigned:
            self._reader.assigned(())
        await super().on_partitions_assigned(assigned, generation_id)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109  # Faust's signature
        """Yield a message per fetched batch."""
        if not self.flow_active:
            # Faust's own wait also ends on stop; without flow there is neither fetch nor seek
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # any object with wait() is accepted
        async for batch in self._reader.read(min(timeout, READ_WAIT_S)):
            message = self._message(batch)
            yield message.tp, message

    def _message(self, batch: RecordBatch) -> ConsumerMessage:
        last = cast("Any", batch.records[-1])
        return ConsumerMessage(
            *batch.source,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            cast("Any", batch),
            None,
            0,
            0,
            TP(*batch.source),
            generation_id=self.app.consumer_generation_id,
        )

    # -- the group, for who looks at the worker from outside; from any thread -----------------------------------------

    @property
    def member_id(self) -> str:
        """Who this worker is in its group; empty before it joins."""
        coordinator = getattr(self._thread._consumer, "_coordinator", None) if self._thread is not None else None
        return coordinator.member_id if coordinator is not None else ""

    @property
    def paused(self) -> int:
        """How many assigned partitions are not fetched at the moment."""
        return len(self._paused_partitions)

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops of the worker and of its client."""
        return [self.loop, self._thread.thread_loop] if self._thread is not None else [self.loop]

    def displaced(self) -> None:
        """Note that another process has joined the group under this worker's name."""
        self.loop.call_soon_threadsafe(self._is_displaced.set)

    async def until_displaced(self) -> None:
        """Wait for ever, or until another process joins the group under this worker's name; raises ``SettingsError``."""
        await self._is_displaced.wait()
        name = self.app.conf.consumer_group_instance_id
        raise SettingsError(
            f"another worker has joined the group under the name {name!r}; give every worker a broker.instance_id of its own"
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
        consumer = self._thread._ensure_consumer()
        ranges: dict[SourcePartition, LogRange] = await self._thread.call_thread(log_ranges, consumer, sources)
        return ranges

    async def publish_marks(self, marks: Mapping[SourcePartition, int]) -> None:
        """Commit the sink's marks as the group's offsets, for lag tools; a failure is only noted, they decide nothing."""
        if not self.flow_active:
            # In the middle of a rebalance it would be refused, and the client answers that with one rebalance more: again and
            # again, if the next marks come before that is over
            return
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
            reached(CrashPoint.PUBLISHING_MARKS)
            await self._thread.call_thread(consumer.commit, offsets)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets.not_committed", reason=str(error))


class _FaustClient:
    """A Faust consumer as the reader sees it."""

    def __init__(self, consumer: BatchConsumer) -> None:
        self._consumer = consumer
        self.available = consumer.available

    @property
    def generation(self) -> int:
        return self._consumer.app.consumer_generation_id

    @property
    def is_flowing(self) -> bool:
        return self._consumer.flow_active and not self._consumer.should_stop

    def assignment(self) -> set[SourcePartition]:
        return {SourcePartition(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def pause(self, sources: Collection[SourcePartition]) -> None:
        self._consumer.pause_partitions({TP(*source) for source in sources})

    def resume(self, source: SourcePartition) -> None:
        self._consumer.resume_partitions({TP(*source)})

    async def seek(self, source: SourcePartition, position: int) -> None:
        await self._consumer.seek_wait({TP(*source): position})

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, Sequence[SourceRecord]]:
        active = self._consumer._get_active_partitions()
        if not active:
            await asyncio.sleep(IDLE_S)
            return {}
        fetched = await self._consumer._getmany(active_partitions=active, timeout=timeout_s)
        return {SourcePartition(tp.topic, tp.partition): records for tp, records in fetched.items()}


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
    Producer = _Producer

    def __init__(self, url: list[URL], app: AppT, ownership: Ownership) -> None:
        super().__init__(url, app)
        self.ownership = ownership
        self.consumer: BatchConsumer | None = None
        """Made when the app starts."""
