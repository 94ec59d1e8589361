"""The database as the worker's coroutines use it: blocking calls in threads, one connection for each purpose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import psycopg

from pipeline.core.controls import PlacedControl, Polled
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.marks import Evidence, StoredMarks
from pipeline.core.outbox import AlertRules
from pipeline.core.records import SourcePartition, StoredEvents
from pipeline.core.selection import Selection
from pipeline.store import controls, snapshots, takeover
from pipeline.store.failures import failure
from pipeline.store.history import stored_events
from pipeline.store.migrate import make_partitions
from pipeline.store.progress import Progress, pass_by
from pipeline.store.sink import Sink
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import Acquired

Connection = psycopg.Connection[Any]
Stored = Callable[[SourcePartition, int, int], Iterable[StoredEvents]]
T = TypeVar("T")


class DatabaseVault:
    """Effects through the sink's connection; leases, snapshots and control records through connections of their own.

    Parameters
    ----------
    connect
        Opens a connection in autocommit mode or not; raises :class:`DatabaseUnavailable`.
    alerts
        Where anomalies are to be published; ``None``: nowhere.
    keep_every_s
        How often a snapshot is kept for good, s; 0: never.
    announce
        Whether what commands change is told to every partition of the group.
    """

    def __init__(
        self,
        connect: Callable[[bool], Connection],
        progress: Progress,
        alerts: AlertRules | None = None,
        keep_every_s: float = 0.0,
        *,
        announce: bool = True,
    ) -> None:
        self._connect = connect
        self._progress = progress
        self._keep_every_s = keep_every_s
        self._sink = Sink(lambda: connect(False), progress, alerts, announce=announce)
        self._leasing = Line(lambda: connect(True))
        self._keeping = Line(lambda: connect(True))

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Store units in one transaction; see :meth:`Sink.store`."""
        return await asyncio.to_thread(self._sink.store, units)

    async def save(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot; see :func:`pipeline.store.snapshots.save`."""

        def save(connection: Connection) -> bool:
            kept = snapshots.save(connection, self._progress, snapshot)
            if kept and self._keep_every_s:
                snapshots.keep(connection, self._progress, snapshot.source, self._keep_every_s)
            return kept

        return await asyncio.to_thread(self._keeping.use, save)

    async def skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        """Write a control record; see :func:`pipeline.store.controls.skip`."""
        await asyncio.to_thread(
            self._keeping.use, lambda c: controls.skip(c, self._progress, source, owner, offset, reason, detail)
        )

    async def controls_since(self, horizon: int) -> Polled:
        """Return control records that came since; see :func:`pipeline.store.controls.since`."""
        return await asyncio.to_thread(self._leasing.use, lambda c: controls.since(c, self._progress, horizon))

    async def clock_ms(self) -> int:
        """Return the database's clock, ms since the epoch."""
        return await asyncio.to_thread(self._leasing.use, controls.clock_ms)

    async def make_partitions(self) -> None:
        """Make the days ahead of ``event``; see :func:`pipeline.store.migrate.make_partitions`."""
        await asyncio.to_thread(self._keeping.use, make_partitions)

    async def apart(self, work: Callable[[Connection], T]) -> T:
        """Do some work that may take seconds, over a connection of its own in autocommit mode; return its result."""

        def connected() -> T:
            with self._connect(True) as connection:
                return work(connection)

        return await asyncio.to_thread(connected)

    async def peek(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, StoredMarks]:
        """Return the marks of those partitions that have any; see :func:`pipeline.store.takeover.peek`."""
        return await asyncio.to_thread(self._leasing.use, lambda c: takeover.peek(c, self._progress, sorted(sources)))

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        """Take a partition over; blocks, see :func:`pipeline.store.takeover.take_over`."""
        backend = self._sink.backend
        return self._leasing.use(lambda c: takeover.take_over(c, self._progress, source, evidence, backend))

    def placed_controls(self, source: SourcePartition, first: int) -> list[PlacedControl]:
        """Return control records that a partition applied; blocks, see :func:`pipeline.store.controls.placed`."""
        return self._leasing.use(lambda c: controls.placed(c, self._progress, source, first))

    def backends(self) -> list[int]:
        """Return the server's process ids of the connections that are open; from any thread."""
        pids = (self._sink.backend.pid if self._sink.backend else None, self._leasing.pid, self._keeping.pid)
        return [pid for pid in pids if pid is not None]

    def stored_events(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        """Yield what is stored of some offsets; blocks, see :func:`pipeline.store.history.stored_events`."""
        with self._connect(False) as connection:
            yield from stored_events(connection, self._progress, source, first, end)

    def close(self) -> None:
        """End all connections."""
        self._sink.close()
        self._leasing.close()
        self._keeping.close()


class SelectingVault(DatabaseVault):
    """Stores what is wanted of the effects, and moves the marks past all of them.

    Parameters
    ----------
    window_ms
        Length of the windows.
    history
        Gives all events, of which this stores some.
    """

    def __init__(
        self,
        connect: Callable[[bool], Connection],
        progress: Progress,
        selection: Selection,
        window_ms: int,
        history: Stored,
    ) -> None:
        super().__init__(connect, progress, announce=False)
        self._selection, self._window_ms, self._history = selection, window_ms, history

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        """Take a partition over; what the live partitions have not applied, it does not apply either."""
        return replace(super().take_over(source, evidence), waiting=())

    async def pass_by(self, source: SourcePartition, owner: str, position: int, end: int) -> None:
        """Move both marks to the end; see :func:`pipeline.store.progress.pass_by`."""
        offsets = (position, end)
        await asyncio.to_thread(self._keeping.use, lambda c: pass_by(c, self._progress, source, owner, offsets))

    def stored_events(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        """Yield what is stored of some offsets: here, if all of it is stored here."""
        if self._selection.is_all:
            yield from super().stored_events(source, first, end)
        else:
            yield from self._history(source, first, end)

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Store what is wanted of units in one transaction."""
        return await super().store([self._selection.of(unit, self._window_ms) for unit in units])


class Line:
    """A connection that is opened when it is needed and forgotten when it breaks; for one thread after the other."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._in_use = threading.Lock()

    def use(self, work: Callable[[Connection], T]) -> T:
        """Do some work with the connection; whatever the database says becomes a ``PipelineError``."""
        with self._in_use:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            try:
                return work(self._connection)
            except psycopg.Error as error:
                self.close()
                raise failure(error, "the database did not answer") from error

    @property
    def pid(self) -> int | None:
        """The server's process id of the connection, if there is one."""
        connection = self._connection
        return connection.info.backend_pid if connection is not None and not connection.closed else None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
