"""A stretch of some logs, read from wherever leases say to an end, in no group: what a replay reads from."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from pipeline.broker.credentials import for_aiokafka
from pipeline.broker.evidence import log_ranges
from pipeline.broker.fetching import FETCH_BYTES, FETCH_WAIT_MS, IDLE_S, deliver_raw_records
from pipeline.broker.security import BrokerSecurity
from pipeline.broker.stopping import stop
from pipeline.core.errors import BrokerUnavailable, PipelineError
from pipeline.core.marks import LogRange
from pipeline.core.records import SourcePartition, SourceRecord

_ANSWER_S = 30.0


class LogClient:
    """A client for :class:`pipeline.broker.reading.Reader` that is given its partitions, and where to end in each.

    Parameters
    ----------
    address
        ``host:port`` of one or more brokers, separated by commas.
    ends
        For each partition the offset to stop before.
    batch_records
        Most records of one fetch.
    """

    generation = 0

    def __init__(
        self, address: str, security: BrokerSecurity, ends: Mapping[SourcePartition, int], batch_records: int
    ) -> None:
        deliver_raw_records()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=address,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            max_poll_records=batch_records,
            **for_aiokafka(security),
        )
        self._ends = dict(ends)
        self._reading: set[SourcePartition] = set()
        self._next: dict[SourcePartition, int] = {}
        self._done: set[SourcePartition] = set()
        self.is_flowing = True

    @property
    def is_done(self) -> bool:
        """Whether everything before the ends was delivered."""
        return len(self._done) == len(self._ends)

    async def start(self) -> None:
        """Connect; raises :class:`BrokerUnavailable`."""
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await stop(self._consumer)
            raise BrokerUnavailable(f"the broker does not answer: {error!r}") from error
        self._consumer.assign([TopicPartition(*source) for source in self._ends])
        self.pause(self._ends)

    async def stop(self) -> None:
        """Deliver nothing more, and disconnect."""
        self.is_flowing = False
        await stop(self._consumer)

    def assignment(self) -> Collection[SourcePartition]:
        """Return the partitions that were given."""
        return self._ends.keys()

    def pause(self, sources: Collection[SourcePartition]) -> None:
        """Fetch nothing of some partitions."""
        self._reading -= set(sources)
        self._consumer.pause(*(TopicPartition(*source) for source in sources))

    def resume(self, source: SourcePartition) -> None:
        """Fetch a partition again."""
        self._reading.add(source)
        self._consumer.resume(TopicPartition(*source))

    async def seek(self, source: SourcePartition, position: int) -> None:
        """Go on at a position; what was delivered from there on is delivered again."""
        self._done.discard(source)
        self._next[source] = position
        self._consumer.seek(TopicPartition(*source), position)

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, Sequence[SourceRecord]]:
        """Return what comes next before the ends.

        Raises
        ------
        BrokerUnavailable
            If the broker does not deliver; nothing is skipped when it is asked again.
        PipelineError
            If a log ends before its end: it is another one by the same name, or was cut.
        """
        if not self._reading:
            await asyncio.sleep(IDLE_S)
            return {}
        reading = {source: TopicPartition(*source) for source in self._reading}
        try:
            async with asyncio.timeout(timeout_s + _ANSWER_S):
                fetched = await self._consumer.getmany(*reading.values(), timeout_ms=round(timeout_s * 1000))
                positions = {source: await self._consumer.position(tp) for source, tp in reading.items()}
        except (KafkaError, TimeoutError) as error:
            # What the client had taken of one partition when another failed would be missing
            for source, tp in reading.items():
                self._consumer.seek(tp, self._next[source])
            raise BrokerUnavailable(f"the broker does not deliver: {error!r}") from error
        for source, position in positions.items():
            self._next[source] = position
            # Behind the last record there may be markers, which are none
            if position >= self._ends[source]:
                self._done.add(source)
                self.pause([source])
        if not fetched and self._reading:
            await self._require_ends(self._reading)
        return {source: self._before_end(source, fetched[tp]) for source, tp in reading.items() if tp in fetched}

    async def _require_ends(self, sources: Collection[SourcePartition]) -> None:
        for source, (_, end) in (await self.available(sources)).items():
            if end < self._ends[source]:
                raise PipelineError(
                    f"the log of {source} ends at {end}, before {self._ends[source]}, where it ended when this was begun:"
                    " it was cut or made anew; start another replay"
                )

    def _before_end(self, source: SourcePartition, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        end = self._ends[source]
        if not records or records[-1].offset < end:
            return records
        return [record for record in records if record.offset < end]

    async def available(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, LogRange]:
        """Return what the broker's logs hold of partitions; raises :class:`BrokerUnavailable`."""
        return await log_ranges(self._consumer, sources)
