"""The telemetry agent: take a batch, fold it, let the sink have the effects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

import structlog

from pipeline.broker.ownership import Ownership
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import FoldBroken, PipelineError
from pipeline.core.records import RecordBatch, SourcePartition
from tables.partitions import Partitions

log = structlog.get_logger(__name__)

POISONED_AT_MOST = 20
"""Records that may fail in the fold with none succeeding between; more are a fault of the program."""


class Controls(Protocol):
    """Where control records are written."""

    async def skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        """Decide for good that a record becomes a dead letter, if the partition still has this owner."""


class Telemetry:
    """Drives the fold with the batches of all source partitions.

    A batch that another owner was meant to get is dropped: whoever owns the partition now reads it again. A record on which
    the fold fails becomes a dead letter by a control record, so that every later fold skips it too; to find it, the batch
    is folded again record by record.

    Parameters
    ----------
    partitions, ownership, controls
        What is owned, who decides that, and where poisoned records are noted.
    """

    def __init__(self, partitions: Partitions, ownership: Ownership, controls: Controls) -> None:
        self._partitions = partitions
        self._ownership = ownership
        self._controls = controls
        self._suspect: dict[SourcePartition, int] = {}
        self._poisoned: dict[SourcePartition, tuple[int, int]] = {}

    async def run(self, batches: AsyncIterator[RecordBatch]) -> None:
        """Fold batches for ever."""
        async for batch in batches:
            await self._partitions.room()
            if not self._partitions.owns(batch):
                continue
            if not self._partitions.follows(batch):
                log.warning("batch.does_not_follow", source=str(batch.source), start=batch.start)
                self._ownership.want_again(batch.source)
                continue
            await self._fold(batch)

    async def _fold(self, batch: RecordBatch) -> None:
        suspect_until = self._suspect.get(batch.source, 0)
        for part in single_records(batch) if batch.start < suspect_until else [batch]:
            try:
                self._partitions.fold(part)
            except Exception as error:  # noqa: BLE001  # whatever a record does to the fold must not stop the partition
                await self._failed(part, error)
                return
        if batch.next >= suspect_until:
            self._suspect.pop(batch.source, None)

    async def _failed(self, batch: RecordBatch, error: Exception) -> None:
        # Half folded, it must not be stored; and it is acquired anew only when the control record is there to be read
        self._partitions.revoke(batch.source)
        try:
            if len(batch.records) != 1:
                log.error(
                    "fold.failed", source=str(batch.source), start=batch.start, next=batch.next, error=repr(error)
                )
                self._suspect[batch.source] = batch.next
            else:
                await self._poison(batch, error)
        finally:
            self._ownership.want_again(batch.source)

    async def _poison(self, batch: RecordBatch, error: Exception) -> None:
        offset = batch.records[0].offset
        self._suspect.setdefault(batch.source, batch.next)
        poisoned, reached = self._poisoned.get(batch.source, (0, -1))
        poisoned = poisoned + 1 if batch.start <= reached else 1
        self._poisoned[batch.source] = poisoned, batch.next
        if poisoned > POISONED_AT_MOST:
            msg = f"the fold fails on record after record, last {batch.source} offset {offset}: {error!r}; nothing is lost"
            raise FoldBroken(msg) from error
        log.error("record.poisoned", source=str(batch.source), offset=offset, error=repr(error), exc_info=error)
        try:
            await self._controls.skip(
                batch.source, batch.owner, offset, DeadLetterReason.FOLD_FAILED, repr(error)[:500]
            )
        except PipelineError as unavailable:
            log.warning("record.poisoned.not_noted", source=str(batch.source), reason=str(unavailable))


def single_records(batch: RecordBatch) -> list[RecordBatch]:
    """Return a batch as batches of one record each, covering the same positions."""
    starts = [batch.start, *(record.offset + 1 for record in batch.records[:-1])]
    ends = [*starts[1:], batch.next]
    return [
        replace(batch, start=start, next=end, records=batch.records[i : i + 1])
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
