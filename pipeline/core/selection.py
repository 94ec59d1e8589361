"""What of a fold's results is wanted: some factories, some machines, a stretch of event time.

Selected are results, never records: lateness, duplicates and models depend on everything in a partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.effects import Effects, Projections, UnitOfWork
from pipeline.core.maintenance.judgement import WINDOW_MS
from pipeline.core.maintenance.requirements import RequirementRows
from pipeline.core.windowing.aggregates import CycleRows, FactoryRows
from pipeline.core.windowing.windows import FACTORY_MS


class _OfMachine(Protocol):
    """What is of a machine, its factory and an event time."""

    @property
    def machine_id(self) -> str: ...
    @property
    def factory_id(self) -> str: ...
    @property
    def time_ms(self) -> int: ...


T = TypeVar("T", bound=_OfMachine)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which results are wanted; what is empty or ``None`` limits nothing.

    Parameters
    ----------
    factories, machines
        Ids. Dead letters have neither: with one of these, none is wanted. Windows of factories are about all of their machines:
        with machines, none is wanted.
    since_ms, until_ms
        Event time ``[since, until)``, ms since the epoch, UTC; of a window, all of it. With one of these no machine
        state is wanted, which is about all that a machine ever sent, and no operating cycle, which may have begun before.
    """

    factories: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Selection:
        """Return what options say that are named as the parameters."""
        return cls(
            frozenset(options.get("factories") or ()),
            frozenset(options.get("machines") or ()),
            options.get("since_ms"),
            options.get("until_ms"),
        )

    @property
    def is_all(self) -> bool:
        """Whether nothing is limited."""
        return self == Selection()

    @property
    def is_timed(self) -> bool:
        """Whether event time is limited."""
        return self.since_ms is not None or self.until_ms is not None

    @property
    def is_owned(self) -> bool:
        """Whether factories or machines are limited."""
        return bool(self.factories or self.machines)

    def of(self, unit: UnitOfWork, window_ms: int) -> UnitOfWork:
        """Return a unit of work with what is wanted of it; its marks are the same.

        Parameters
        ----------
        window_ms
            Length of the windows.
        """
        if self.is_all:
            return unit
        projections = unit.projections
        return replace(
            unit,
            effects=[self._effects(each) for each in unit.effects],
            projections=self._projections(projections, window_ms) if projections is not None else None,
        )

    def _effects(self, effects: Effects) -> Effects:
        events = effects.events
        return replace(
            effects,
            events=events.where(self._wanted(events.machine_ids, events.factory_ids, events.times_ms, events.times_ms)),
            anomalies=self._some(effects.anomalies),
            facts=self._some(effects.facts),
            new_machines=self._some(effects.new_machines),
            requirements=self._some(effects.requirements),
            recalculations=self._some(effects.recalculations),
            dead_letters=[each for each in effects.dead_letters if not self.is_owned and self._is_in(each.record_ms)],
        )

    def _some(self, found: Sequence[T]) -> list[T]:
        return [each for each in found if self._is_of(each.machine_id, each.factory_id) and self._is_in(each.time_ms)]

    def _projections(self, of: Projections, window_ms: int) -> Projections:
        rows = of.windows
        wanted = self._wanted(rows.machine_ids, rows.factory_ids, rows.starts_ms, rows.starts_ms + window_ms - 1)
        machines = [] if self.is_timed else [m for m in of.machines if self._is_of(m.machine_id, m.factory_id)]
        return replace(
            of,
            windows=rows.where(wanted),
            factories=self._factories(of.factories),
            cycles=self._cycles(of.cycles),
            requirements=self._requirements(of.requirements),
            machines=machines,
        )

    def _factories(self, of: FactoryRows) -> FactoryRows:
        if self.machines:
            return of.where(np.zeros(len(of.starts_ms), np.bool_))
        return of.where(self._wanted([], of.factory_ids, of.starts_ms, of.starts_ms + FACTORY_MS - 1))

    def _requirements(self, of: RequirementRows) -> RequirementRows:
        return of.where(self._wanted(of.machine_ids, of.factory_ids, of.starts_ms, of.starts_ms + WINDOW_MS - 1))

    def _cycles(self, of: CycleRows) -> CycleRows:
        closed = of.closed
        wanted = self._wanted(of.machine_ids, of.factory_ids, closed.started_ms, closed.ended_ms)
        return of.where(wanted & (not self.is_timed))

    def _wanted(
        self,
        machine_ids: Sequence[str],
        factory_ids: Sequence[str],
        first_ms: npt.NDArray[np.int64],
        last_ms: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        wanted = np.ones(len(factory_ids), np.bool_)
        if self.machines:
            wanted &= np.fromiter((each in self.machines for each in machine_ids), np.bool_, len(machine_ids))
        if self.factories:
            wanted &= np.fromiter((each in self.factories for each in factory_ids), np.bool_, len(factory_ids))
        if self.since_ms is not None:
            wanted &= first_ms >= self.since_ms
        if self.until_ms is not None:
            wanted &= last_ms < self.until_ms
        return wanted

    def _is_of(self, machine_id: str, factory_id: str) -> bool:
        return (not self.machines or machine_id in self.machines) and (
            not self.factories or factory_id in self.factories
        )

    def _is_in(self, time_ms: int) -> bool:
        return (self.since_ms is None or time_ms >= self.since_ms) and (
            self.until_ms is None or time_ms < self.until_ms
        )
