"""Where a replay reads from: what is stored of each partition, up to where its log takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

import structlog

from pipeline.broker.fetching import IDLE_S
from pipeline.broker.log_client import LogClient
from pipeline.core.errors import PipelineError
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import SourcePartition, SourceRecord, StoredEvents
from pipeline.history import StoredHistory
from tables.loading import batches

log = structlog.get_logger(__name__)

_RETRY_S = 1.0

_PARTITIONS_AT_ONCE = 2
"""While one is folded the next is read; an archive gives hundreds of megabytes at a time."""

_NOTHING = StoredEvents.of(())

Carry = Callable[[SourcePartition, int], None]


class ChainClient:
    """A client of the logs that gives stored events before them.

    Parameters
    ----------
    log
        Has what is not read from what is stored.
    stored_to
        For some partitions the offset before which they are read from what is stored.
    history
        Gives stored events; called in threads.
    carry
        Is told of a partition, and the offset before which it is read from what is stored, before that is done; in a thread.
    batch_events
        Most stored events of one batch, about.
    """

    generation = 0

    def __init__(
        self,
        log: LogClient,
        stored_to: Mapping[SourcePartition, int],
        history: StoredHistory,
        carry: Carry,
        batch_events: int,
    ) -> None:
        self._log, self._history, self._carry, self._most = log, history, carry, batch_events
        self._stored_to = {source: end for source, end in stored_to.items() if end > 0}
        self._readings: dict[SourcePartition, _Reading] = {}
        self._paused: set[SourcePartition] = set()

    @property
    def is_flowing(self) -> bool:
        """Whether records may be delivered."""
        return self._log.is_flowing

    @property
    def is_done(self) -> bool:
        """Whether everything before the ends was delivered."""
        return not self._readings and self._log.is_done

    async def start(self) -> None:
        """Connect; raises :class:`BrokerUnavailable`."""
        await self._log.start()

    async def stop(self) -> None:
        """Deliver nothing more, and disconnect."""
        for reading in self._readings.values():
            await reading.close()
        self._readings.clear()
        await self._log.stop()

    def assignment(self) -> Collection[SourcePartition]:
        """Return the partitions that were given."""
        return self._log.assignment()

    def pause(self, sources: Collection[SourcePartition]) -> None:
        """Deliver nothing of some partitions."""
        self._paused.update(sources)
        self._log.pause(sources)

    def resume(self, source: SourcePartition) -> None:
        """Deliver a partition again."""
        self._paused.discard(source)
        if source not in self._readings:
            self._log.resume(source)

    async def seek(self, source: SourcePartition, position: int) -> None:
        """Go on at a position, wherever that is stored."""
        if (reading := self._readings.pop(source, None)) is not None:
            await reading.close()
        end = self._stored_to.get(source, 0)
        if position >= end:
            await self._log.seek(source, position)
            return

        def since(at: int) -> Iterator[StoredEvents]:
            self._carry(source, end)
            yield from batches(self._history.events(source, at, end), self._most)

        self._readings[source] = _Reading(source, since, position)

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, Sequence[SourceRecord]]:
        """Return what comes next: of partitions that are stored a batch each, as soon as one has it; else of the logs."""
        ready = await self._next_stored(timeout_s)
        if ready or (self._readings and not self._is_log_read()):
            return ready
        # While stored events are on their way, logs are asked for what they have at once
        return await self._log.fetch(0.0 if self._readings else timeout_s)

    def _is_log_read(self) -> bool:
        return len(self._readings) < len(self._log.assignment())

    async def _next_stored(self, timeout_s: float) -> dict[SourcePartition, Sequence[SourceRecord]]:
        flowing = (item for item in self._readings.items() if item[0] not in self._paused)
        reading = {source: each.coming() for source, each in islice(flowing, _PARTITIONS_AT_ONCE)}
        if not reading:
            if self._readings:
                await asyncio.sleep(IDLE_S)
            return {}
        await asyncio.wait(reading.values(), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        found: dict[SourcePartition, Sequence[SourceRecord]] = {}
        read: list[SourcePartition] = []
        for source, coming in reading.items():
            events = self._readings[source].take() if coming.done() else None
            if events:
                found[source] = events
            elif events is not None:
                read.append(source)
        # What was taken is delivered first: the broker may not answer whoever hands over
        for source in read if not found else ():
            await self._hand_over(source)
        return found

    async def _hand_over(self, source: SourcePartition) -> None:
        """Go on in the log, which has to begin where what is stored ends."""
        end = self._stored_to[source]
        held = (await self._log.available([source]))[source]
        if held.start > end:
            raise PipelineError(
                f"the log of {source} begins at {held.start} by now, and what is stored was read to {end}: resumed, the replay"
                " goes on from what is stored"
            )
        del self._readings[source]
        await self._log.seek(source, end)
        self._log.resume(source)

    async def available(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, LogRange]:
        """Return what can be read of partitions; raises :class:`BrokerUnavailable`."""
        found = await self._log.available(sources)
        return {source: self._with_stored(source, held) for source, held in found.items()}

    def proven(self, evidence: Mapping[SourcePartition, Evidence]) -> dict[SourcePartition, Evidence]:
        """Return evidence about logs as evidence about all that can be read."""
        return {source: each._replace(held=self._with_stored(source, each.held)) for source, each in evidence.items()}

    def _with_stored(self, source: SourcePartition, held: LogRange) -> LogRange:
        stored_to = self._stored_to.get(source, 0)
        return LogRange(0, max(held.end, stored_to)) if held.start <= stored_to else held


class _Reading:
    """Batches of a partition's stored events, the next of them always under way in a thread.

    Parameters
    ----------
    source
        For the log.
    since
        Gives the batches from a position on.
    """

    def __init__(self, source: SourcePartition, since: Callable[[int], Iterator[StoredEvents]], position: int) -> None:
        self._source, self._since, self._position = source, since, position
        self._batches = since(position)
        self._next: asyncio.Task[StoredEvents] | None = None

    def coming(self) -> asyncio.Task[StoredEvents]:
        """Return the next batch as it is under way."""
        if self._next is None:
            self._next = self._begin(0.0)
        return self._next

    def _begin(self, wait_s: float) -> asyncio.Task[StoredEvents]:
        async def read() -> StoredEvents:
            await asyncio.sleep(wait_s)
            return await asyncio.to_thread(next, self._batches, _NOTHING)

        return asyncio.create_task(read())

    def take(self) -> StoredEvents | None:
        """Return the batch that came, empty behind the last; ``None`` if it has to be asked for again."""
        try:
            events = self.coming().result()
        except PipelineError as error:
            if not error.retriable:
                raise
            log.warning("replay.waiting", source=str(self._source), reason=str(error))
            self._batches = self._since(self._position)
            self._next = self._begin(_RETRY_S)
            return None
        if events:
            self._position = events[-1].offset + 1
            self._next = self._begin(0.0)
        return events

    async def close(self) -> None:
        """Let go of what is read from."""
        # A thread cannot be interrupted: what it reads comes to its end first
        if self._next is not None:
            await asyncio.wait([self._next])
        close = getattr(self._batches, "close", None)
        if close is not None:
            await asyncio.to_thread(close)
