"""The partitions as ownership sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from pipeline.broker.ownership import Lease
from pipeline.core.marks import Evidence, StoredMarks
from pipeline.core.records import SourcePartition
from tables.partitions import Partitions

Peek = Callable[[Collection[SourcePartition]], Awaitable[Mapping[SourcePartition, StoredMarks]]]


class PartitionLeases:
    """Leases of partitions: each is taken in the database, with the state that goes with it.

    Parameters
    ----------
    peek
        Returns the marks of those partitions that have any.
    """

    def __init__(self, partitions: Partitions, peek: Peek) -> None:
        self._partitions = partitions
        self._peek = peek
        self.release = partitions.release
        self.revoke = partitions.revoke

    async def peek(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, StoredMarks]:
        """Return the marks of those partitions that have any."""
        return await self._peek(sources)

    async def acquire(self, source: SourcePartition, evidence: Evidence) -> Lease:
        """Take a partition over, whoever has it; see :meth:`Partitions.acquire`."""
        return Lease(*await self._partitions.acquire(source, evidence))
