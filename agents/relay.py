"""The relay: publishes what the outbox has of the partitions that this worker owns, for as long as the worker lives.

Only the owner under the live group's lease publishes, and only out of the table: a fold that is done again, for a replay or
into another schema, writes no message that a relay would see.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from agents.vault import Connection, Line
from pipeline.core.errors import PipelineError
from pipeline.core.outbox import Outcome, Outgoing
from pipeline.core.records import SourcePartition
from pipeline.metrics import Metrics
from pipeline.store import outbox
from pipeline.store.progress import Progress
from tables.partitions import Partitions

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RelayRules:
    """When what is published.

    Parameters
    ----------
    keep_s
        How long messages stay in the outbox after they were done with, s.
    interval_s
        How often it is looked for messages while there are none, s.
    tidy_interval_s
        How often old messages are deleted, s.
    max_messages
        Most messages in memory, about.
    max_retry_s
        Longest pause before the broker or the database is tried again, s.
    """

    keep_s: float
    interval_s: float = 0.2
    tidy_interval_s: float = 60.0
    max_messages: int = 1000
    max_retry_s: float = 5.0


class Outbox(Protocol):
    """Where messages wait; each call may take long and raises ``PipelineError``."""

    async def waiting(self, owners: Collection[str], limit: int) -> list[Outgoing]:
        """Return messages that wait, in order, of partitions under these owners' tokens."""

    async def mark(self, owners: Collection[str], outcomes: Mapping[int, Outcome]) -> int:
        """Note what became of messages of partitions that are still under these tokens; return how many it was."""

    async def forget(self, keep_s: float, limit: int) -> int:
        """Delete messages that were done with long ago; return how many it was."""

    def close(self) -> None:
        """Let go of the database."""


class Outlet(Protocol):
    """Where messages go; each call blocks and raises ``BrokerUnavailable``."""

    def publish(self, messages: Sequence[Outgoing]) -> object:
        """Return when the broker has all messages."""

    def tail(self, topic: str, sources: Collection[SourcePartition], since_ms: int) -> set[str]:
        """Return the ids of messages about source partitions that a topic has had since a broker's time."""

    def close(self) -> None:
        """Wait for nothing any more."""


class DatabaseOutbox:
    """The table ``outbox`` through a connection of its own.

    Parameters
    ----------
    connect
        Opens a connection in autocommit mode or not; raises :class:`DatabaseUnavailable`.
    """

    def __init__(self, connect: Callable[[bool], Connection], progress: Progress) -> None:
        self._line = Line(lambda: connect(True))
        self._progress = progress

    async def waiting(self, owners: Collection[str], limit: int) -> list[Outgoing]:
        """Return what waits; see :func:`pipeline.store.outbox.waiting`."""
        return await self._use(lambda c: outbox.waiting(c, self._progress, owners, limit))

    async def mark(self, owners: Collection[str], outcomes: Mapping[int, Outcome]) -> int:
        """Note what became of messages; see :func:`pipeline.store.outbox.mark`."""
        return await self._use(lambda c: outbox.mark(c, self._progress, owners, outcomes))

    async def forget(self, keep_s: float, limit: int) -> int:
        """Delete what is old; see :func:`pipeline.store.outbox.forget`."""
        return await self._use(lambda c: outbox.forget(c, self._progress, keep_s, limit))

    def close(self) -> None:
        """End the connection."""
        self._line.close()

    async def _use(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._line.use, work)


class Relay:
    """Publishes in the order of the outbox, then notes that it did: at least once, each time with the same id.

    Before the first message under a lease, and after anything failed, it looks into the topic for what is there already:
    published by an owner that died before it could note that, or before the database was restored to an older point.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        partitions: Partitions,
        box: Outbox,
        outlet: Outlet,
        rules: RelayRules,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._partitions = partitions
        self._outbox = box
        self._outlet = outlet
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        self._there: dict[str, set[str]] = {}
        self._tidied_at = clock()
        self._closing = False
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Publish until :meth:`finish` is called; whatever is away is tried again for ever."""
        pause = self._rules.interval_s
        while not self._closing:
            try:
                async with self._busy:
                    done = await self.relay()
                    await self._tidy()
            except PipelineError as error:
                # Whatever was under way: the topic may have it, and the database may be another one
                self._there.clear()
                if not error.retriable:
                    raise
                if not self._closing:
                    log.warning("outbox.waiting", reason=str(error), retry_s=round(pause, 2))
                    await asyncio.sleep(pause)
                pause = min(2 * pause, self._rules.max_retry_s)
            else:
                pause = self._rules.interval_s
                if not done:
                    await asyncio.sleep(pause)

    def close(self) -> None:
        """Publish no more; what waits, the next owner publishes."""
        self._closing = True
        self._outlet.close()

    async def finish(self) -> None:
        """Publish no more, and wait until what is under way is over."""
        self.close()
        async with self._busy:
            self._outbox.close()

    async def relay(self) -> int:
        """Publish some of what waits, and note it; return how many messages were done with."""
        owners = self._owners()
        self._there = {owner: ids for owner, ids in self._there.items() if owner in owners}
        waiting = await self._outbox.waiting(owners, self._rules.max_messages) if owners else []
        self._metrics.outbox_waiting.set(len(waiting))
        if not waiting:
            return 0
        await self._look(waiting)
        outcomes = {each.seq: self._outcome(each) for each in waiting}
        fresh = [each for each in waiting if outcomes[each.seq] is Outcome.PUBLISHED]
        if not owners <= self._owners():
            # Looking took a while, and a partition went elsewhere: what its new owner has published was not seen
            return 0
        if fresh:
            await asyncio.to_thread(self._outlet.publish, fresh)
        noted = await self._outbox.mark(owners, outcomes)
        counts = Counter(outcomes.values())
        self._metrics.relayed(counts)
        say = log.debug if len(fresh) == len(waiting) else log.info
        say("outbox.relayed", noted=noted, **{str(outcome): number for outcome, number in counts.items()})
        return noted

    def _owners(self) -> set[str]:
        return {partition.owner for partition in self._partitions.owned.values()}

    async def _look(self, waiting: Sequence[Outgoing]) -> None:
        """Find out what the topics have of partitions whose lease is new."""
        new = [each for each in waiting if each.owner not in self._there]
        there: set[str] = set()
        for topic in sorted({each.topic for each in new}):
            sources = {each.place.source for each in new}
            there |= await asyncio.to_thread(self._outlet.tail, topic, sources, min(each.ingest_ms for each in new))
        for owner in {each.owner for each in new}:
            self._there[owner] = there

    def _outcome(self, message: Outgoing) -> Outcome:
        if message.id in self._there[message.owner]:
            return Outcome.FOUND
        return Outcome.EXPIRED if message.expired else Outcome.PUBLISHED

    async def _tidy(self) -> None:
        """Delete what is old, now and then, a bounded number at a time."""
        if self._clock() - self._tidied_at < self._rules.tidy_interval_s:
            return
        if await self._outbox.forget(self._rules.keep_s, self._rules.max_messages) < self._rules.max_messages:
            self._tidied_at = self._clock()
