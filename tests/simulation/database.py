"""A database with the tables, the row locks and the transactions that exactly-once rests on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pipeline.core.controls import Control, PlacedControl, Polled
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.marks import Gap, StoredMarks
from pipeline.core.records import SourcePartition
from tests.core.sinks import factory_deltas, fragments_of, merged
from tests.simulation.trace import Trace


class Violation(AssertionError):
    """Something happened that must never happen."""


Place = tuple[SourcePartition, int, int]
Event = tuple[SourcePartition, int, int, bytes]


class Written(NamedTuple):
    """What else a row of ``event`` has: machine, the broker's time, and when it was stored, virtual s."""

    machine: str
    ingest_ms: int
    at_s: float


@dataclass
class Tables:
    """All rows by key. The rows are never changed, only replaced: so a copy is a copy of the dicts.

    ``log_since`` belongs to ``progress``: when a partition's log was last found to be another one.
    """

    progress: dict[SourcePartition, StoredMarks] = field(default_factory=dict)
    snapshots: dict[SourcePartition, tuple[int, bytes]] = field(default_factory=dict)
    log_since: dict[SourcePartition, float] = field(default_factory=dict)
    placed: dict[SourcePartition, tuple[PlacedControl, ...]] = field(default_factory=dict)
    windows_controls: dict[SourcePartition, int] = field(default_factory=dict)
    skips: list[tuple[SourcePartition, int, DeadLetterReason, str, float]] = field(default_factory=list)
    gaps: list[tuple[SourcePartition, Gap]] = field(default_factory=list)
    events: dict[Event, Written] = field(default_factory=dict)
    dead_letters: dict[Place, str] = field(default_factory=dict)
    anomalies: dict[tuple[SourcePartition, int, int, str, str], tuple[float, float, float]] = field(
        default_factory=dict
    )
    windows: dict[tuple[str, str, int], dict[str, float]] = field(default_factory=dict)
    factories: dict[tuple[SourcePartition, str, str, int], dict[str, float]] = field(default_factory=dict)
    fragments: list[tuple[SourcePartition, str, dict[str, Any]]] = field(default_factory=list)
    machines: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def copy(self) -> Tables:
        copies = {name: type(rows)(rows) for name, rows in vars(self).items()}
        return replace(self, **copies)


class Transaction:
    """What one connection does between BEGIN and COMMIT; it holds row locks, and may be ended from outside.

    Parameters
    ----------
    holder
        Whose connection it is.
    """

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self.holder = holder
        self.ended = False
        self._moves: list[tuple[UnitOfWork, StoredMarks]] = []

    def require_alive(self) -> None:
        if self.ended:
            raise DatabaseUnavailable("the connection was lost")

    async def lock(self, source: SourcePartition) -> None:
        """Take a row's lock, however long that takes."""
        locks = self._database.locks
        while True:
            self.require_alive()
            if source not in locks:
                locks[source] = self
                return
            await asyncio.sleep(0.02)

    def compare_and_set(self, unit: UnitOfWork) -> bool:
        """Move the marks of a row that is locked, if owner and marks are as expected."""
        row = self._database.tables.progress.get(unit.source)
        due = unit.projections
        if row is None or not self._database.matches(row, unit):
            return False
        if unit.controls != len(self._database.tables.placed.get(unit.source, ())):
            return False
        if due is not None and due.controls_expected != self._database.tables.windows_controls.get(unit.source, 0):
            return False
        crc, at = unit.checksum or (row.checksum, row.checksum_offset)
        moved = StoredMarks(row.owner, unit.next, due.next if due is not None else row.windows, crc, at)
        self._moves.append((unit, moved))
        return True

    def apply(self) -> None:
        """Let everything take effect at once."""
        tables = self._database.tables
        for unit, moved in self._moves:
            before = tables.progress[unit.source]
            if moved.effects < before.effects or moved.windows < before.windows:
                raise Violation(f"marks of {unit.source} went back from {before} to {moved}")
            tables.progress[unit.source] = moved
            _store_controls(tables, unit)
            _store_effects(tables, unit, self._database.trace.now())
            _merge_projections(tables, unit)
        self.end()

    def end(self) -> None:
        """Give the locks up; nothing that was not applied will be."""
        self.ended = True
        locks = self._database.locks
        for source in [source for source, holder in locks.items() if holder is self]:
            del locks[source]
        self._database.transactions.discard(self)


def _store_controls(tables: Tables, unit: UnitOfWork) -> None:
    placed = tables.placed.get(unit.source, ())
    for each in (each for effects in unit.effects for each in effects.controls):
        if each.ordinal != len(placed) or not each.offset <= unit.next:
            raise Violation(f"{unit.source} applied {each} after {placed}")
        placed += (each,)
    tables.placed[unit.source] = placed


def _store_effects(tables: Tables, unit: UnitOfWork, at_s: float) -> None:
    for effects in unit.effects:
        events = effects.events
        for offset, index, machine, ingest_ms, body in zip(
            events.offsets.tolist(),
            events.indexes.tolist(),
            events.machine_ids,
            events.ingest_ms.tolist(),
            events.bodies,
            strict=True,
        ):
            row = (unit.source, offset, index, body)
            if row in tables.events:
                raise Violation(f"{unit.source} offset {offset} was stored twice")
            tables.events[row] = Written(machine, ingest_ms, at_s)
        for a in effects.anomalies:
            tables.anomalies[unit.source, a.offset, a.index, a.sensor, a.kind] = (a.value, a.expected, a.score)
        for letter in effects.dead_letters:
            tables.dead_letters[unit.source, letter.offset, letter.index] = str(letter.reason)


def _merge_projections(tables: Tables, unit: UnitOfWork) -> None:
    if unit.projections is None:
        return
    tables.windows_controls[unit.source] = unit.projections.controls
    rows = unit.projections.windows
    names = rows.deltas.dtype.names
    for values, start_ms, machine, sensor in zip(
        rows.deltas.tolist(), rows.starts_ms.tolist(), rows.machine_ids, rows.sensors, strict=True
    ):
        new, key = dict(zip(names, values, strict=True)), (machine, sensor, start_ms)
        tables.windows[key] = merged(tables.windows[key], new) if key in tables.windows else new
    for of_factory, new in factory_deltas(unit.projections.factories).items():
        place = (unit.source, *of_factory)
        tables.factories[place] = merged(tables.factories[place], new) if place in tables.factories else new
    tables.fragments.extend((unit.source, *each) for each in fragments_of(unit.projections.cycles))
    for m in unit.projections.machines:
        messages, duplicates, late = tables.machines.get(m.machine_id, (0, 0, 0))
        tables.machines[m.machine_id] = (messages + m.messages, duplicates + m.duplicates, late + m.late)


class Database:
    """The server: tables, locks, and the connections' transactions."""

    def __init__(self, rng: random.Random, trace: Trace) -> None:
        self.rng = rng
        self.trace = trace
        self.tables = Tables()
        self.locks: dict[SourcePartition, Transaction] = {}
        self.transactions: set[Transaction] = set()
        self.away = False
        self.slow_s = 0.0
        # Where each partition was first read from: what was gone by then, nobody ever promised
        self.began: dict[SourcePartition, int] = {}
        self._backups: list[Tables] = []
        # By number, with the moment when their transaction is committed. They are never lost: whoever is behind reads again
        # the commands that they came from
        self.controls: dict[int, tuple[Control, float]] = {}

    def write_control(self, kind: str, body: dict[str, object]) -> None:
        """Write a control record in a transaction that takes some time; those that begin later may be over sooner."""
        number = len(self.controls) + 1
        self.controls[number] = (
            Control(number, kind, body, number),
            self.trace.now() + self.rng.choice((0.0, 0.01, 0.5)),
        )

    def polled(self, horizon: int) -> Polled:
        """Return what is committed of the control records from a horizon on."""
        open_ = [number for number, (_, at_s) in self.controls.items() if at_s > self.trace.now()]
        found = [one for number, (one, at_s) in self.controls.items() if number >= horizon and number not in open_]
        return Polled(found, min(open_, default=len(self.controls) + 1))

    @staticmethod
    def matches(row: StoredMarks, unit: UnitOfWork) -> bool:
        """Return whether the compare-and-set of a unit hits a row."""
        due = unit.projections
        return (row.owner, row.effects) == (unit.owner, unit.expected) and (due is None or due.expected == row.windows)

    def begin(self, holder: str) -> Transaction:
        """Open a transaction.

        Raises
        ------
        DatabaseUnavailable
            If nobody answers.
        """
        self.require_available()
        transaction = Transaction(self, holder)
        self.transactions.add(transaction)
        return transaction

    def require_available(self) -> None:
        if self.away:
            raise DatabaseUnavailable("the database does not answer")

    def end_all(self, holder: str | None = None) -> None:
        """Roll back what is open, of one holder or of all."""
        for transaction in sorted(self.transactions, key=lambda each: each.holder):
            if holder is None or transaction.holder == holder:
                transaction.end()

    def back_up(self) -> None:
        self._backups.append(self.tables.copy())

    def restore(self) -> bool:
        """Put an older state in place of the present one; all connections are lost. Return whether there is one."""
        if not self._backups:
            return False
        self.end_all()
        self.tables = self.rng.choice(self._backups).copy()
        return True

    def find_unstorable(self, units: Sequence[UnitOfWork], marker: bytes) -> tuple[SourcePartition, int] | None:
        """Return partition and offset of the first event that no table can take."""
        for unit in units:
            for effects in unit.effects:
                for offset, body in zip(effects.events.offsets.tolist(), effects.events.bodies, strict=True):
                    if marker in body:
                        return unit.source, offset
        return None
