"""A broker of partitioned logs: what it holds, what it lost, and the clients that read it."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import BrokerUnavailable
from pipeline.core.marks import Evidence, LogRange, StoredMarks
from pipeline.core.records import Record, SourcePartition
from tests.core.sinks import record
from tests.simulation.trace import Trace


@dataclass
class Log:
    """One partition's log.

    Parameters
    ----------
    incarnation
        How often the topic was made; a client reads only the one it was assigned.
    start, end
        It holds offsets ``[start, end)``, not all of them: compaction and transactions leave holes.
    messages
        Every message ever appended, by offset: what of this incarnation was lost, too.
    """

    incarnation: int = 0
    start: int = 0
    end: int = 0
    records: list[Record] = field(default_factory=list)
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def reached(self) -> int:
        """The position behind the last record."""
        return self.records[-1].offset + 1 if self.records else self.start


class Broker:
    """All logs.

    Parameters
    ----------
    rng
        Decides how slow answers are and how many records one fetch gives.
    """

    def __init__(self, rng: random.Random, trace: Trace, sources: Collection[SourcePartition]) -> None:
        self._rng = rng
        self._trace = trace
        self.logs = {source: Log() for source in sources}
        self.former: dict[SourcePartition, list[Log]] = {source: [] for source in sources}
        self.away = False
        self.slow_s = 0.0
        # Partitions of which something went away that only the next record shows
        self.unnoticed: set[SourcePartition] = set()
        self._appended = asyncio.Event()

    def append(self, source: SourcePartition, message: dict[str, Any], hole: int = 0) -> None:
        """Append a message of the plain model, after so many offsets that nobody will ever see."""
        log = self.logs[source]
        offset = log.end + hole
        log.messages[offset] = message
        log.records.append(record(offset, message))
        log.end = offset + 1
        self._appended.set()
        self._appended = asyncio.Event()

    def drop_before(self, source: SourcePartition, start: int) -> None:
        """Forget the oldest records, as retention does."""
        log = self.logs[source]
        log.start = max(log.start, min(start, log.end))
        log.records = [each for each in log.records if each.offset >= log.start]

    def recreate(self, source: SourcePartition) -> None:
        """Begin a new, empty log."""
        self.former[source].append(self.logs[source])
        self.logs[source] = Log(self.logs[source].incarnation + 1)

    async def answer(self) -> None:
        """Take the time of one request.

        Raises
        ------
        BrokerUnavailable
            If there is no answer.
        """
        await asyncio.sleep(self._rng.random() * (0.01 + self.slow_s))
        if self.away:
            await asyncio.sleep(0.1)
            raise BrokerUnavailable("the broker does not answer")

    async def available(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, LogRange]:
        """Return what the logs hold: starts and ends by two requests, as the real client asks."""
        await self.answer()
        starts = {source: self.logs[source].start for source in sources}
        await self.answer()
        return {source: LogRange(starts[source], self.logs[source].end) for source in sources}

    async def ask(self, seen: Mapping[SourcePartition, StoredMarks | None]) -> dict[SourcePartition, Evidence]:
        """Return what the logs hold, and of each the record before the marks that were seen, by a request more."""
        ranges = await self.available(seen)
        await self.answer()
        return {
            source: Evidence(marks, ranges[source], self._checksum(source, marks)) for source, marks in seen.items()
        }

    def _checksum(self, source: SourcePartition, marks: StoredMarks | None) -> int | None:
        at = marks.last_record if marks is not None else None
        return next((zlib.crc32(each.value or b"") for each in self.logs[source].records if each.offset == at), None)

    async def wait_for_records(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._appended.wait()
        except TimeoutError:
            pass

    def read(self, source: SourcePartition, position: int) -> Sequence[Record]:
        """Return the next records from a position on: one fetch."""
        records = self.logs[source].records
        first = next((at for at, each in enumerate(records) if each.offset >= position), len(records))
        return records[first : first + self._rng.randint(1, 20)]
