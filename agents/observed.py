"""The database as seen by who watches the worker: what was stored, how long it took, and whether it answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from agents.vault import Connection, DatabaseVault
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import CommitUnknown, DatabaseUnavailable, PipelineError, Unstorable
from pipeline.core.marks import Evidence, StoredMarks
from pipeline.core.outbox import AlertRules
from pipeline.core.records import SourcePartition
from pipeline.metrics import Metrics
from pipeline.store.progress import Progress
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import Acquired


class Kept(NamedTuple):
    """A snapshot that was kept: when (s, monotonic), at which offset, and its compressed size in bytes."""

    at: float
    offset: int
    size: int


class Freshness(NamedTuple):
    """Latest event time stored, and up to when windows are complete; ms since the epoch, UTC; ``None``: not known."""

    effects_ms: int | None = None
    windows_ms: int | None = None


class ObservedVault(DatabaseVault):
    """A :class:`DatabaseVault` that counts; what it does stays the same.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        connect: Callable[[bool], Connection],
        progress: Progress,
        metrics: Metrics,
        clock: Callable[[], float],
        alerts: AlertRules | None = None,
        keep_every_s: float = 0.0,
    ) -> None:
        super().__init__(connect, progress, alerts, keep_every_s)
        self._metrics = metrics
        self._clock = clock
        self._asked: dict[object, float] = {}
        self.refusals = 0
        self.refusal: str | None = None
        self.answered_at = clock()
        self.fresh: dict[SourcePartition, Freshness] = {}
        self.kept: dict[SourcePartition, Kept] = {}

    def waited_s(self) -> float:
        """Return for how long the database has owed an answer, s."""
        return max((self._clock() - since for since in list(self._asked.values())), default=0.0)

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Store units; counted once per transaction."""
        began = self._clock()
        try:
            with self._attempt():
                hit = await super().store(units)
        except PipelineError as error:
            self._metrics.failed(_OUTCOMES.get(type(error), "failed"))
            raise
        self._metrics.stored(units, hit, self._clock() - began)
        for unit in units:
            if unit.source in hit:
                self.fresh[unit.source] = _fresher(self.fresh.get(unit.source, Freshness()), unit)
        return hit

    async def save(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot; size and time are noted."""
        with self._attempt():
            kept = await super().save(snapshot)
        if kept:
            self.kept[snapshot.source] = Kept(self._clock(), snapshot.offset, len(snapshot.state))
        return kept

    async def peek(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, StoredMarks]:
        """Look at marks; counted as asking the database."""
        with self._attempt():
            return await super().peek(sources)

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        """Take a partition over; timed."""
        began = self._clock()
        with self._attempt():
            taken = super().take_over(source, evidence)
        self._metrics.acquired(source, self._clock() - began, found_gap=taken.gap is not None)
        return taken

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        attempt = object()
        self._asked[attempt] = self._clock()
        try:
            yield
        except (DatabaseUnavailable, CommitUnknown) as error:
            self.refusals += 1
            self.refusal = str(error)
            raise
        else:
            self.answered_at = self._clock()
            self.refusal = None
        finally:
            del self._asked[attempt]


_OUTCOMES: dict[type[PipelineError], str] = {
    DatabaseUnavailable: "unavailable",
    CommitUnknown: "unknown",
    Unstorable: "unstorable",
}


def _fresher(before: Freshness, unit: UnitOfWork) -> Freshness:
    times = [latest for effects in unit.effects if (latest := effects.latest_ms) is not None]
    effects_ms = max([*times, *([before.effects_ms] if before.effects_ms is not None else [])], default=None)
    projections = unit.projections
    return Freshness(effects_ms, projections.watermark_ms if projections is not None else before.windows_ms)
