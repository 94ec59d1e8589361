"""A replay's process: the stages of a worker, fed from a stretch of the logs, storing into a shadow schema."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

import structlog

from agents.stages import stages
from agents.vault import Connection, DatabaseVault
from pipeline import connections, rules
from pipeline.broker.evidence import Witness
from pipeline.broker.fetching import READ_WAIT_S
from pipeline.broker.log_client import LogClient
from pipeline.broker.reading import Reader
from pipeline.core.errors import BrokerUnavailable, NotOwner, PipelineError
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.settings import Settings

log = structlog.get_logger(__name__)

_RETRY_S = 1.0
_STEP_S = 0.2


class ReplayWorker:
    """Folds stretches of some partitions into a shadow schema; what a worker is for the live tables.

    It publishes nothing and joins no group. Killed at any moment, it goes on from the shadow's marks and snapshots.

    Parameters
    ----------
    name
        For people: rows and logs say who it was.
    schema
        The shadow.
    ends
        For each of its partitions the offset to stop before.
    rate
        Messages per second at most; 0: as fast as it goes.
    """

    def __init__(
        self, settings: Settings, name: str, schema: str, ends: Mapping[SourcePartition, int], rate: float
    ) -> None:
        self._settings, self._schema, self._ends, self._rate = settings, schema, dict(ends), rate
        self._vault = DatabaseVault(self._connect, rules.progress(settings, name))
        self._stages = stages(settings, self._vault)
        member = connections.group_member(settings)
        self._witness = Witness(member.address, member.security)
        # Ten times a second, when there is a limit: it holds for a batch as a whole
        most = max(1, min(member.batch_records, round(rate / 10))) if rate else member.batch_records
        self._client = LogClient(member.address, member.security, ends, most)
        self._reader = Reader(self._client, self._stages.ownership)
        self._stopping = False

    def _connect(self, autocommit: bool) -> Connection:
        return connections.database(self._settings, "pipeline replay", autocommit=autocommit, schema=self._schema)

    def stop(self) -> None:
        """Fold no more; what was folded is stored, and the state is kept."""
        self._stopping = True

    async def run(self) -> bool:
        """Fold until the ends, or until told to stop; return whether everything is stored.

        Raises
        ------
        NotOwner
            If another process has taken the replay over.
        PipelineError
            If broker or database fail for good.
        """
        wired = self._stages
        await self._client.start()
        try:
            self._reader.assigned(self._client.assignment())
            async with asyncio.TaskGroup() as group:
                flushing = group.create_task(wired.flusher.run())
                acquiring = group.create_task(wired.ownership.acquire_for_ever(lambda: 0, self._witness.ask))
                await wired.telemetry.run(self._batches())
                acquiring.cancel()
                await wired.flusher.finish()
                await flushing
        except* PipelineError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._client.stop()
            self._vault.close()
        return self._is_complete()

    def _is_complete(self) -> bool:
        held = self._stages.partitions.owned
        if lost := set(self._ends) - set(held):
            raise NotOwner(
                f"another process has taken {', '.join(map(str, sorted(lost)))} over: only one may work on it"
            )
        return not self._stopping and all(partition.is_stored for partition in held.values())

    async def _batches(self) -> AsyncIterator[RecordBatch]:
        pace = Pace(self._rate, time.monotonic)
        while not self._stopping and not self._has_all():
            try:
                async for batch in self._reader.read(READ_WAIT_S):
                    yield batch
                    await self._rest(pace.rest_s(len(batch.records)))
            except BrokerUnavailable as error:
                log.warning("replay.waiting", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _rest(self, rest_s: float) -> None:
        while rest_s > 0 and not self._stopping:
            await asyncio.sleep(min(rest_s, _STEP_S))
            rest_s -= _STEP_S

    def _has_all(self) -> bool:
        """Whether every partition was read to its end under a lease that still holds."""
        ownership = self._stages.ownership
        is_read = all(ownership.position(source) is not None for source in self._ends)
        return self._client.is_done and is_read and not ownership.waiting


class Pace:
    """Says how long to rest so that a rate is kept.

    Parameters
    ----------
    rate
        Messages per second; 0: any.
    clock
        Monotonic seconds.

    Examples
    --------
    >>> pace = Pace(100.0, lambda: 0.0)
    >>> pace.rest_s(50), pace.rest_s(50)
    (0.5, 1.0)
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._free_at = clock()

    def rest_s(self, messages: int) -> float:
        """Return the rest, s, that so many messages make necessary."""
        if not self._rate:
            return 0.0
        now = self._clock()
        # What was not used is not made up for: a slow stretch is no reason for a burst
        self._free_at = max(self._free_at, now) + messages / self._rate
        return self._free_at - now
