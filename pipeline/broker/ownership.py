"""Who owns which partition: wanted, being acquired, acquired.

The group coordinator assigns partitions; that alone gives no right to write. A partition is *owned* once a lease for it was
taken where the effects are stored, and the lease says at which position to go on. This module keeps that order straight; the
lease itself is somebody else's (:class:`Leases`), so nothing here knows of a database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple, Protocol

import structlog

from pipeline.core.errors import PipelineError
from pipeline.core.marks import Evidence, StoredMarks
from pipeline.core.records import SourcePartition

log = structlog.get_logger(__name__)


Ask = Callable[[Mapping[SourcePartition, StoredMarks | None]], Awaitable[Mapping[SourcePartition, Evidence]]]
"""Asks the broker about the logs of some partitions, given their marks."""


class Lease(NamedTuple):
    """The right to write the effects of a partition, until somebody else takes it.

    Parameters
    ----------
    owner
        Random token; every batch and every transaction carries it.
    position
        Where to go on reading.
    """

    owner: str
    position: int


class Leases(Protocol):
    """Where leases are taken."""

    async def peek(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, StoredMarks]:
        """Return the marks of those partitions that have any; raises :class:`PipelineError`."""

    async def acquire(self, source: SourcePartition, evidence: Evidence) -> Lease:
        """Take the lease, whoever holds it; raises :class:`PipelineError` when that cannot be done now."""

    def release(self, wanted: Collection[SourcePartition]) -> None:
        """Give up every lease; those of ``wanted`` will be acquired anew."""

    def revoke(self, source: SourcePartition) -> None:
        """Give up one lease, together with all that was not stored under it."""


class Ownership:
    """The partitions of this worker on their way from assigned to owned.

    Parameters
    ----------
    leases
        Where leases are taken and given up.
    retry_s
        Pause before what could not be acquired is tried again, s.
    """

    def __init__(self, leases: Leases, retry_s: float = 0.5) -> None:
        self._leases = leases
        self._retry_s = retry_s
        self._assigned: set[SourcePartition] = set()
        self._wanted: set[SourcePartition] = set()
        self._changed = asyncio.Event()
        self._acquired: deque[tuple[int, SourcePartition, Lease]] = deque()
        self._reading: dict[SourcePartition, Lease] = {}

    @property
    def assigned(self) -> Collection[SourcePartition]:
        """Partitions that the group gave to this worker last."""
        return self._assigned

    @property
    def waiting(self) -> Collection[SourcePartition]:
        """Partitions that are assigned and not acquired yet."""
        return self._wanted

    def assign(self, sources: Collection[SourcePartition]) -> None:
        """Forget all ownership and want exactly these partitions; touches no database and cannot fail."""
        self._leases.release(sources)
        self._acquired.clear()
        self._reading.clear()
        self._assigned = set(sources)
        self._wanted = set(sources)
        self._changed.set()

    def want_again(self, source: SourcePartition) -> None:
        """Acquire a partition anew: its lease was lost, or a batch did not begin where the last one ended.

        One that is assigned to another worker by now is only given up, or it would be taken from that worker.
        """
        self._leases.revoke(source)
        self._reading.pop(source, None)
        if source in self._assigned:
            self._wanted.add(source)
            self._changed.set()

    def take_acquired(self, generation: int) -> tuple[SourcePartition, Lease] | None:
        """Return the next acquired partition of this generation of the group, or ``None``."""
        while self._acquired:
            acquired_in, source, lease = self._acquired.popleft()
            if acquired_in == generation:
                return source, lease
        return None

    def begin_reading(self, source: SourcePartition, lease: Lease) -> None:
        """Note that fetching goes on at the lease's position."""
        self._reading[source] = lease

    def position(self, source: SourcePartition) -> int | None:
        """Return where fetching of a partition goes on; ``None`` if it is not owned."""
        lease = self._reading.get(source)
        return lease.position if lease is not None else None

    def advance(self, source: SourcePartition, position: int) -> Lease | None:
        """Move a partition's position on; return owner and the position before, or ``None`` if it is not owned."""
        lease = self._reading.get(source)
        if lease is not None:
            self._reading[source] = Lease(lease.owner, position)
        return lease

    async def acquire_for_ever(self, generation: Callable[[], int], ask: Ask) -> None:
        """Acquire what is wanted, and retry for ever; runs beside the consumer.

        Parameters
        ----------
        generation
            The group's current generation.
        ask
            Asks the broker what its logs hold; raises :class:`PipelineError` when it cannot say.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._wanted:
                if not await self._acquire_wanted(generation, ask):
                    await asyncio.sleep(self._retry_s)

    async def _acquire_wanted(self, generation: Callable[[], int], ask: Ask) -> bool:
        """Acquire each wanted partition; return whether none has to be tried again later."""
        acquired_in = generation()
        try:
            wanted = sorted(self._wanted)
            # In this order: only what the log holds after the marks were seen is evidence about them
            seen = await self._leases.peek(wanted)
            found = await ask({source: seen.get(source) for source in wanted})
        except PipelineError as error:
            log.warning("partition.waiting", reason=str(error))
            return False
        done = True
        for source, evidence in found.items():
            if acquired_in != generation():
                return done
            if source not in self._wanted:
                continue
            try:
                lease = await self._leases.acquire(source, evidence)
            except PipelineError as error:
                log.warning("partition.waiting", source=str(source), reason=str(error))
                done = False
                continue
            if acquired_in == generation() and source in self._wanted:
                self._wanted.discard(source)
                self._acquired.append((acquired_in, source, lease))
                log.info("partition.acquired", source=str(source), position=lease.position)
        return done
