"""The poll for control records: whatever changes the fold's answer is told to the partitions that this worker owns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from pipeline.core.controls import Polled
from pipeline.core.errors import PipelineError
from pipeline.core.records import SourcePartition
from tables.partitions import NEVER, Partitions

log = structlog.get_logger(__name__)

INTERVAL_S = 1.0
"""How often a worker looks for control records, s."""


class ControlPoll:
    """Looks for control records for as long as the worker lives.

    A partition learns when it is acquired of all that there are then; only what came since is looked for here. Where it takes
    effect is decided and stored by the partition, so that it does not matter when it is heard of.

    Parameters
    ----------
    partitions
        Who is told.
    read
        Returns the control records that came since a horizon.
    again
        Has a partition acquired anew.
    interval_s
        How long to rest, s.
    """

    def __init__(
        self,
        partitions: Partitions,
        read: Callable[[int], Awaitable[Polled]],
        again: Callable[[SourcePartition], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._partitions = partitions
        self._read = read
        self._again = again
        self._interval_s = interval_s

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(self._interval_s)
            if self._partitions.controls_since != NEVER:
                await self.look()

    async def look(self) -> None:
        """Tell the partitions what came since they were told last."""
        since, self._partitions.controls_since = self._partitions.controls_since, NEVER
        horizons = {source: partition.horizon for source, partition in self._partitions.owned.items()}
        try:
            polled = await self._read(since)
        except PipelineError as error:
            log.warning("controls.not_read", reason=str(error))
        else:
            self._begin_anew(source for source, horizon in horizons.items() if horizon > polled.horizon)
            self._partitions.tell(polled.controls)
            since = polled.horizon
        # A partition that was acquired meanwhile may have looked earlier
        self._partitions.controls_since = min(self._partitions.controls_since, since)

    def _begin_anew(self, sources: Iterable[SourcePartition]) -> None:
        """Have partitions acquired anew that know what they know by the numbers of another database's transactions.

        Those of one never go back: what answers now was restored elsewhere, since a partition was acquired with higher ones.
        """
        for source in sources:
            log.warning("controls.other_database", source=str(source))
            self._again(source)
