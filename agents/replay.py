"""A replay's process: the stages of a worker, fed from a stretch of the logs, storing into a shadow schema."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import structlog

from agents.replay_source import ChainClient
from agents.stages import stages
from agents.vault import Connection, SelectingVault
from pipeline import connections, rules
from pipeline.broker.evidence import Witness
from pipeline.broker.fetching import READ_WAIT_S
from pipeline.broker.log_client import LogClient
from pipeline.broker.reading import Reader
from pipeline.core.errors import BrokerUnavailable, NotOwner, PipelineError
from pipeline.core.marks import Evidence, StoredMarks
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.selection import Selection
from pipeline.history import StoredHistory
from pipeline.settings import Settings

log = structlog.get_logger(__name__)

_RETRY_S = 1.0
_STEP_S = 0.2


@dataclass(frozen=True, slots=True)
class Share:
    """What one process of a replay does.

    Parameters
    ----------
    replay, schema
        Its name, and its shadow.
    ends
        For each of its partitions the offset to stop before.
    stored_to
        For each of them the offset before which it is read from what is stored.
    selection
        What of the results is wanted.
    rate
        Messages per second at most; 0: as fast as it goes.
    """

    replay: str
    schema: str
    ends: Mapping[SourcePartition, int]
    stored_to: Mapping[SourcePartition, int]
    selection: Selection
    rate: float


class ReplayWorker:
    """Folds stretches of some partitions into a shadow schema; what a worker is for the live tables.

    It publishes nothing and joins no group. Killed at any moment, it goes on from the shadow's marks and snapshots.
    """

    def __init__(self, settings: Settings, share: Share) -> None:
        self._settings, self._share = settings, share
        history, window_ms = StoredHistory(settings), rules.fold_rules(settings).window.size_ms
        progress = rules.progress(settings, f"replay-{share.replay}")
        self._vault = SelectingVault(self._connect, progress, share.selection, window_ms, history.events)
        self._stages = stages(settings, self._vault)
        member = connections.group_member(settings)
        self._witness = Witness(member.address, member.security)
        # Ten times a second, when there is a limit: it holds for a batch as a whole
        most = max(1, min(member.batch_records, round(share.rate / 10))) if share.rate else member.batch_records
        self._client = ChainClient(
            LogClient(member.address, member.security, share.ends, most),
            {source: min(end, share.ends[source]) for source, end in share.stored_to.items()},
            history,
            lambda source, end: history.carry_dead_letters(share.schema, source, end, share.selection),
            most,
        )
        self._reader = Reader(self._client, self._stages.ownership)
        self._stopping = False

    def _connect(self, autocommit: bool) -> Connection:
        # A crash of the server takes the last commits whole, marks with rows and snapshots: it goes on from older marks. What
        # tells that the replay is complete is committed later, and waits for all that comes before it
        return connections.database(
            self._settings,
            "pipeline replay",
            autocommit=autocommit,
            schema=self._share.schema,
            waits_for_disk=False,
        )

    async def _ask(self, seen: Mapping[SourcePartition, StoredMarks | None]) -> dict[SourcePartition, Evidence]:
        return self._client.proven(await self._witness.ask(seen))

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
                acquiring = group.create_task(wired.ownership.acquire_for_ever(lambda: 0, self._ask))
                await wired.telemetry.run(self._batches())
                acquiring.cancel()
                if not self._stopping:
                    wired.partitions.pass_controls(self._share.ends)
                await wired.flusher.finish()
                await flushing
            if not self._stopping:
                await self._pass_ends()
        except* PipelineError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._client.stop()
            self._vault.close()
        return self._is_complete()

    async def _pass_ends(self) -> None:
        """Move the marks to the ends: behind the last record there may be markers, or what was never accepted."""
        for source, held in self._stages.partitions.owned.items():
            if held.is_stored and held.position < self._share.ends[source]:
                await self._vault.pass_by(source, held.owner, held.position, self._share.ends[source])

    def _is_complete(self) -> bool:
        held = self._stages.partitions.owned
        if lost := set(self._share.ends) - set(held):
            raise NotOwner(
                f"another process has taken {', '.join(map(str, sorted(lost)))} over: only one may work on it"
            )
        return not self._stopping and all(partition.is_stored for partition in held.values())

    async def _batches(self) -> AsyncIterator[RecordBatch]:
        pace = Pace(self._share.rate, time.monotonic)
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
        is_read = all(ownership.position(source) is not None for source in self._share.ends)
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
