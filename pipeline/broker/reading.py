"""Reading what is owned: from acquired leases to record batches that follow one another.

What is decided here knows neither Faust nor a network: a client of any kind is driven through :class:`Client`, the real one
by the transport, a made-up one by tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from pipeline.broker.ownership import Ownership
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.marks import LogRange
from pipeline.core.records import RecordBatch, SourcePartition, SourceRecord
from pipeline.crash_points import CrashPoint, reached

log = structlog.get_logger(__name__)


class Client(Protocol):
    """The broker's client as a member of the group, as far as reading needs it."""

    @property
    def generation(self) -> int:
        """The group's present generation."""

    @property
    def is_flowing(self) -> bool:
        """Whether records may be delivered; not so during a rebalance and while the worker stops."""

    def assignment(self) -> Collection[SourcePartition]:
        """Return the partitions that the group assigned to this worker."""

    def pause(self, sources: Collection[SourcePartition]) -> None:
        """Fetch nothing of some partitions."""

    def resume(self, source: SourcePartition) -> None:
        """Fetch a partition again."""

    async def seek(self, source: SourcePartition, position: int) -> None:
        """Go on fetching a partition at a position."""

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, Sequence[SourceRecord]]:
        """Return what the partitions that are not paused have next, by rising offset; waits a while when that is nothing."""

    async def available(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, LogRange]:
        """Return what the broker's logs hold of partitions; raises :class:`BrokerUnavailable`."""


class Reader:
    """Reads the partitions of one worker: each from where its lease says, batch after batch without a hole or a repeat.

    Parameters
    ----------
    client
        Fetches.
    ownership
        Which partitions this worker owns.
    """

    def __init__(self, client: Client, ownership: Ownership) -> None:
        self._client = client
        self._ownership = ownership

    def assigned(self, sources: Collection[SourcePartition]) -> None:
        """Forget all ownership and want what is assigned; does no other work, and nothing flows until it is acquired."""
        self._client.pause(sources)
        self._ownership.assign(sources)

    async def read(self, timeout_s: float) -> AsyncIterator[RecordBatch]:
        """Yield a batch per partition of one fetch.

        This is the only place that seeks, so no fetch is under way when it does.

        Parameters
        ----------
        timeout_s
            Longest wait for records, s; bounds how long an acquired partition waits for its seek.
        """
        await self._seek_acquired()
        fetched = await self._client.fetch(timeout_s)
        generation = self._client.generation
        for source, records in fetched.items():
            if not self._client.is_flowing or self._client.generation != generation:
                return
            if records and await self._is_in_place(source, records[0].offset):
                batch = self._batch(source, records)
                if batch is not None:
                    yield batch

    async def _seek_acquired(self) -> None:
        client = self._client
        while client.is_flowing and (acquired := self._ownership.take_acquired(client.generation)):
            source, lease = acquired
            if source not in client.assignment():
                continue
            reached(CrashPoint.BEFORE_SEEK)
            await client.seek(source, lease.position)
            self._ownership.begin_reading(source, lease)
            client.resume(source)

    async def _is_in_place(self, source: SourcePartition, first: int) -> bool:
        """Return whether records that begin at offset ``first`` go on where the lease stands.

        They do not when the lease was lost, and when the client went on somewhere else by itself: at the log's start,
        because that has moved past the position, or because the topic was recreated. The partition is acquired anew then,
        which notes the gap. Other holes are normal: compaction, transaction markers.
        """
        position = self._ownership.position(source)
        if position == first:
            return True
        if position is not None and first > position:
            try:
                if (await self._client.available([source]))[source].start <= position:
                    return True
            except BrokerUnavailable as error:
                log.info("partition.out_of_place", source=str(source), reason=str(error))
        self._client.pause([source])
        if position is not None:
            self._ownership.want_again(source)
        return False

    def _batch(self, source: SourcePartition, records: Sequence[SourceRecord]) -> RecordBatch | None:
        end = records[-1].offset + 1
        lease = self._ownership.advance(source, end)
        if lease is None:
            return None
        return RecordBatch(source, lease.owner, lease.position, end, records)
