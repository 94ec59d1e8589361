"""The ticker: lets event time go on in partitions from which nothing comes, so that what is open there comes to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

import structlog

from pipeline.broker.inspector import Inspector
from pipeline.core.errors import PipelineError
from pipeline.core.records import SourcePartition
from tables.partitions import Partitions

log = structlog.get_logger(__name__)

LOOK_S = 5.0
"""How often it is looked for partitions that stand still, s."""


class _Stand(NamedTuple):
    """Where a partition stands under a lease, and since when, s."""

    owner: str
    position: int
    since: float


class Ticker:
    """Ticks partitions that have stood still for some time at the end of their logs.

    A partition that only waits for the broker, or for its turn, stands still too: the log itself is asked whether it has more.

    Parameters
    ----------
    inspector
        Asks the broker; its calls block, so they are made in a thread.
    after_s
        For how long a partition has to stand still, s.
    clock, wall_clock
        Monotonic seconds, and ms since the epoch.
    database_clock
        Gives the database's clock, ms since the epoch.
    """

    def __init__(
        self,
        partitions: Partitions,
        inspector: Inspector,
        after_s: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], int],
        database_clock: Callable[[], Awaitable[int]],
    ) -> None:
        self._partitions, self._inspector, self._after_s = partitions, inspector, after_s
        self._clock, self._wall_clock, self._database_clock = clock, wall_clock, database_clock
        self._stands: dict[SourcePartition, _Stand] = {}

    async def run(self) -> None:
        """Look for as long as the worker lives."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._after_s))
            await self.look()

    async def look(self) -> None:
        """Tick the partitions whose turn it is."""
        at_ms = self._wall_clock()
        quiet = [
            source for source in self._still() if self._partitions.owned[source].is_due(at_ms, self._partitions.rules)
        ]
        if not quiet:
            return
        held = {source: self._stands[source] for source in quiet}
        try:
            # A watermark never goes back: a clock that is ahead would make everything late for as long
            at_ms = min(at_ms, await self._database_clock())
            ended = await asyncio.to_thread(self._at_end, held)
        except PipelineError as error:
            log.warning("ticks.not_now", reason=str(error))
            return
        for source in ended:
            partition = self._partitions.owned.get(source)
            if partition is not None and (partition.owner, partition.position) == held[source][:2]:
                self._partitions.tick(source, at_ms)

    def _still(self) -> list[SourcePartition]:
        """Return the partitions that have stood where they are for long."""
        now, before = self._clock(), self._stands
        self._stands = {}
        for source, partition in self._partitions.owned.items():
            stand = before.get(source)
            if stand is None or stand[:2] != (partition.owner, partition.position):
                stand = _Stand(partition.owner, partition.position, now)
            self._stands[source] = stand
        return [source for source, stand in self._stands.items() if now - stand.since >= self._after_s]

    def _at_end(self, held: dict[SourcePartition, _Stand]) -> Collection[SourcePartition]:
        """Return the partitions whose logs have nothing to read where they stand."""
        ends = self._inspector.ends(held)
        # A log may end in markers, which are no records
        return [
            source
            for source, stand in held.items()
            if ends[source] == stand.position or not self._inspector.has_record(source, stand.position)
        ]
