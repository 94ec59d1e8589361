"""The sink: one transaction per flush.

In order, inside one transaction:

1. compare-and-set the marks of every partition, in (topic, partition) order; a partition that is not hit is left out,
2. COPY events and what is to be published, and merge anomalies, facts and dead letters, of the partitions that were hit,
3. merge window deltas and machine states of those that bring them,
4. COMMIT.

Offsets are committed to the broker afterwards and decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.decoding.metadata import MetadataCommand
from pipeline.core.effects import UnitOfWork, WindowRows
from pipeline.core.errors import CommitUnknown, DatabaseUnavailable, PipelineError, Unstorable
from pipeline.core.facts import Fact
from pipeline.core.outbox import AlertRules
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store import (
    aggregate_rows,
    controls,
    cycles,
    fact_rows,
    machine_rows,
    merges,
    metadata,
    requirement_rows,
    rows,
)
from pipeline.store.announcing import announce
from pipeline.store.bisect import find_unstorable
from pipeline.store.failures import failure, line
from pipeline.store.prediction_rows import PredictionRows
from pipeline.store.progress import Backend, Progress, compare_and_set

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

_NOT_STORED = "the database did not store the batch"
_BACKEND = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"


class Sink:
    """Stores units of work, each exactly once.

    Used by one thread at a time.

    Parameters
    ----------
    connect
        Opens a connection; raises :class:`DatabaseUnavailable`.
    progress
        Whose marks are moved.
    alerts
        Where anomalies are to be published; ``None``: nowhere.
    announce
        Whether what commands change, and what maintenance was done, is told to every partition of the group.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        progress: Progress,
        alerts: AlertRules | None = None,
        *,
        announce: bool = True,
    ) -> None:
        self._connect = connect
        self._progress = progress
        self._alerts = alerts
        self._announce = announce
        self._connection: Connection | None = None
        self._backend: Backend | None = None
        self._not_new: dict[SourcePartition, str] = {}

    @property
    def backend(self) -> Backend | None:
        """The connection that is written with, as the server knows it; ``None`` before the first."""
        return self._backend

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._connect()
            try:
                merges.prepare(connection)
                cycles.prepare(connection)
                row = connection.execute(_BACKEND).fetchone()
                connection.commit()
            except psycopg.Error as error:
                connection.close()
                raise failure(error, _NOT_STORED) from error
            assert row is not None  # noqa: S101  # a connection always sees itself
            self._connection, self._backend = connection, Backend(*row)
        return self._connection

    def close(self) -> None:
        """End the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Store units in one transaction; return the partitions whose marks were hit.

        The same units can be stored again after any error but :class:`CommitUnknown`: the compare-and-set lets them take
        effect once.

        Parameters
        ----------
        units
            At most one per partition.

        Raises
        ------
        DatabaseUnavailable
            Nothing was stored; try again later.
        CommitUnknown
            The connection was lost inside COMMIT: acquire the partitions anew.
        Unstorable
            Nothing was stored, and never will be with this one record.
        """
        connection = self._open()
        try:
            with connection.cursor() as cursor:
                hit = self.write(cursor, units)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise self._unstorable(connection, units, error) from error
        except psycopg.Error as error:
            self.close()
            raise failure(error, _NOT_STORED) from error
        try:
            reached(CrashPoint.BEFORE_COMMIT)
            connection.commit()
            reached(CrashPoint.AFTER_COMMIT)
        except psycopg.Error as error:
            self.close()
            msg = f"the connection was lost inside COMMIT: {line(error)}"
            raise CommitUnknown(msg) from error
        return hit

    def write(self, cursor: Cursor, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        """Do all of :meth:`store` but the COMMIT, with a cursor of the caller's transaction."""
        assert self._backend is not None  # noqa: S101  # set together with the connection
        hit = compare_and_set(cursor, self._progress, self._backend, units)
        reached(CrashPoint.MARKS_MOVED)
        mine = [unit for unit in units if unit.source in hit]
        self.write_effects(cursor, mine)
        reached(CrashPoint.BEFORE_WINDOWS)
        cluster = self._progress.subscriber.cluster
        due = [(unit.source, unit.projections) for unit in mine if unit.projections is not None]
        merges.merge(
            cursor,
            merges.READING_WINDOW,
            [self._write_new(cursor, u, u.projections.windows) for u in mine if u.projections is not None],
        )
        merges.merge(
            cursor, merges.FACTORY_WINDOW, [aggregate_rows.factories(cluster, at, of.factories) for at, of in due]
        )
        counted = [requirement_rows.aggregates(cluster, at, of.requirements) for at, of in due]
        merges.merge(cursor, merges.MAINTENANCE_AGGREGATE, counted)
        cycles.join(cursor, cluster, [(at, of.cycles) for at, of in due])
        merges.merge(cursor, merges.MACHINE_STATE, [rows.machines(cluster, at, of.machines) for at, of in due])
        return hit

    def _write_new(self, cursor: Cursor, unit: UnitOfWork, windows: WindowRows) -> bytes:
        """Write the windows that are new by a plain COPY, at a third of a merge's cost; return the rows that are to be merged.

        A window that is new to this partition may be there all the same: another partition has the machine's earlier
        readings, or a log that was lost had them. Then all are merged, for as long as this lease lasts.
        """
        cluster = self._progress.subscriber.cluster
        if windows.first.any() and self._not_new.get(unit.source) != unit.owner:
            new = rows.windows(cluster, unit.source, windows.where(windows.first))
            try:
                with cursor.connection.transaction():
                    merges.copy_in(cursor, merges.READING_WINDOW.table, rows.READING_WINDOW, [new])
                windows = windows.where(~windows.first)
            except psycopg.errors.UniqueViolation:
                self._not_new[unit.source] = unit.owner
        return rows.windows(cluster, unit.source, windows)

    def write_effects(self, cursor: Cursor, units: Sequence[UnitOfWork]) -> None:
        """Write what the effects mark stands for."""
        subscriber = self._progress.subscriber
        anomalies, alerts, letters = [], [], []
        events = self._write_requirements(cursor, units) + self._write_predictions(cursor, units)
        facts: dict[type[Fact], list[bytes]] = {kind: [] for kind in merges.FACTS}
        for unit in units:
            for effects in unit.effects:
                events.append(rows.telemetry(subscriber.cluster, unit.source, effects.events))
                for told in fact_rows.by_kind(subscriber.cluster, unit.source, effects.facts):
                    events.append(told.events())
                    if told.kind in facts:
                        facts[told.kind].append(told.rows())
                if effects.new_machines:
                    events.append(machine_rows.new_machines(subscriber.cluster, unit.source, effects.new_machines))
                if effects.anomalies:
                    found = rows.AnomalyRows(subscriber, unit.source, effects.anomalies)
                    events.append(found.events())
                    anomalies.append(found.rows())
                    if self._alerts is not None:
                        alerts.append(found.alerts(self._alerts))
                if effects.dead_letters:
                    letters.append(rows.dead_letters(subscriber, unit.source, effects.dead_letters))
        if any(events):
            reached(CrashPoint.BEFORE_EVENTS)
            merges.copy_in(cursor, "event", rows.EVENT, events)
        merges.merge(cursor, merges.ANOMALY, [b"".join(anomalies)])
        for kind, parts in facts.items():
            merges.merge(cursor, merges.FACTS[kind], [b"".join(parts)])
        if self._alerts is not None and alerts:
            merges.copy_in(cursor, "outbox", rows.outbox_columns(self._alerts), alerts)
        merges.merge(cursor, merges.DEAD_LETTER, [b"".join(letters)])
        self._write_controls(cursor, units)

    def _write_requirements(self, cursor: Cursor, units: Sequence[UnitOfWork]) -> list[bytes]:
        """Write changes of what machines need; return the events that tell of them and of corrected windows."""
        cluster, changed, events = self._progress.subscriber.cluster, [], []
        for unit in units:
            for effects in unit.effects:
                if effects.requirements:
                    found = requirement_rows.DerivedRows(cluster, unit.source, effects.requirements)
                    changed.append(found.rows())
                    events.append(found.events())
                if effects.recalculations:
                    again = requirement_rows.DerivedRows(cluster, unit.source, effects.recalculations)
                    events.append(again.events())
        merges.merge(cursor, merges.MAINTENANCE_REQUIREMENT, [b"".join(changed)])
        return events

    def _write_predictions(self, cursor: Cursor, units: Sequence[UnitOfWork]) -> list[bytes]:
        """Write what models say; return the events that tell of it."""
        found = [
            PredictionRows(self._progress.subscriber, unit.source, effects.predictions)
            for unit in units
            for effects in unit.effects
            if effects.predictions
        ]
        merges.merge(cursor, merges.MAINTENANCE_PREDICTION, [b"".join(each.rows() for each in found)])
        return [each.events() for each in found]

    def _write_controls(self, cursor: Cursor, units: Sequence[UnitOfWork]) -> None:
        for unit in units:
            for effects in unit.effects:
                if any(letter.reason in _BY_CONTROL for letter in effects.dead_letters):
                    merges.note_skips(cursor, self._progress.key(unit.source), effects)
                commands = [fact for fact in effects.facts if isinstance(fact, MetadataCommand)]
                metadata.store(cursor, self._progress, unit.source, commands)
                if self._announce:
                    announce(cursor, self._progress, unit.source, effects.facts)
                if effects.controls:
                    controls.note(cursor, self._progress, unit.source, effects.controls)

    def _unstorable(self, connection: Connection, units: Sequence[UnitOfWork], error: psycopg.Error) -> PipelineError:
        """Return the error that says which record it was."""
        try:
            connection.rollback()
            found = find_unstorable(connection, units, self.write_effects)
        except psycopg.Error as lost:
            self.close()
            return failure(lost, _NOT_STORED)
        if found is None:
            # No record alone is to blame: the rows are sound, so something else changed under us
            return DatabaseUnavailable(f"the batch was refused, and no record of it alone: {line(error)}")
        source, offset, reason = found
        return Unstorable(*source, offset, reason)


_BY_CONTROL = frozenset({DeadLetterReason.FOLD_FAILED, DeadLetterReason.UNSTORABLE})
