"""Lives of all machines of a partition as arrays, and what is gathered of each operating cycle that ends.

Cycles are taken in the order in which they ended, and each one's features before the next cycle's change them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.banks import Bank
from pipeline.core.compiling import uncounted
from pipeline.core.detectors.census import Census
from pipeline.core.prognosis.features import (
    LIFE,
    WEAR,
    gather,
    hours_per_day,
    plan,
    sensor_names,
    take_cycle,
    take_sensor,
)
from pipeline.core.prognosis.stretches import STRETCH, STRETCHES, remember, renew

MOST_RENEWALS = 16
"""Maintenance of one machine that may lie ahead of what its partition has folded; the oldest gives way."""


class Gathered(NamedTuple):
    """Features of the machines whose cycles ended, one after the other.

    Parameters
    ----------
    cycles
        Which of the ended cycles each row is of, rising; shape (n,).
    wants
        Which list of features it is; shape (n,).
    ends
        Where its features end among ``values``; shape (n,).
    hours_per_day
        Hours of operation per calendar day in the machine's life, in [0, 24]; shape (n,).
    """

    cycles: npt.NDArray[np.int64]
    wants: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    hours_per_day: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


class _Plans(NamedTuple):
    """Of each machine row, its lists of features: those of places ``[firsts[row], firsts[row + 1])``.

    Place ``p`` stands for the list ``wants[p]`` of features, which are at ``[ends[p - 1], ends[p])`` of ``slots`` and
    ``kinds``.
    """

    firsts: npt.NDArray[np.int64]
    wants: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.int32]


@uncounted
def _take(
    ended: Any,
    readings: Any,
    begin: int,
    end: int,
    lives: Any,
    wears: Any,
    stretches: Any,
    plans: Any,
    out: Any,
    used: int,
    filled: int,
) -> tuple[int, int]:
    """Take the ended cycles ``[begin, end)``; return (rows used, values filled) of what was gathered."""
    for k in range(begin, end):
        cycle = ended[k]
        row = cycle.machine
        first = ended[k - 1].end if k > 0 else 0
        before_ms = lives[row].operating_ms
        if not take_cycle(lives[row], cycle.started_ms, cycle.ended_ms):
            continue
        remember(stretches[row], cycle.ended_ms, lives[row].operating_ms - before_ms)
        for r in range(first, cycle.end):
            take_sensor(wears[readings[r].slot], readings[r].mean, readings[r].max)
        for place in range(plans.firsts[row], plans.firsts[row + 1]):
            start = plans.ends[place - 1] if place > 0 else 0
            width = plans.ends[place] - start
            gather(
                lives[row],
                wears,
                plans.slots[start : start + width],
                plans.kinds[start : start + width],
                out.values[filled : filled + width],
            )
            filled += width
            out.cycles[used], out.wants[used], out.ends[used] = k, plans.wants[place], filled
            out.hours_per_day[used] = hours_per_day(lives[row])
            used += 1
    return used, filled


class Lives:
    """The present life of every machine of a partition."""

    def __init__(self) -> None:
        self.lives = Bank(LIFE)
        self.wears = Bank(WEAR)
        self.stretches = Bank(STRETCH, STRETCHES)
        self.renewals: dict[int, list[int]] = {}
        """By machine row, when it was maintained, ms since the epoch, UTC: of what its cycles have not come to."""
        self.foretold: Callable[[int], Sequence[int]] = lambda _: ()
        """Asked for the maintenance of a machine row when that is met first: times that are not known otherwise, ms since the
        epoch, UTC, at most :data:`MOST_RENEWALS`. History that is learned from has them; what comes live has none."""
        self._wanted: list[tuple[str, tuple[str, ...]]] = []
        self._plans: _Plans | None = None
        self._most = 0

    def grow(self, census: Census) -> None:
        """Make room for everybody that there is."""
        machines, sensors = len(census.machine_types), len(census.owners)
        if machines > self.lives.used or sensors > self.wears.used:
            met = range(self.lives.used, machines)
            self.lives.extend(len(met))
            self.stretches.extend(len(met))
            self.renewals |= {row: sorted(times) for row in met if (times := self.foretold(row))}
            self.wears.extend(sensors - self.wears.used)
            self._plans = None

    def want(self, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        """Say which features are gathered of machines of which type; the place in this list is the number of a list."""
        self._wanted = list(wanted)
        self._plans = None

    def renew(self, row: int, census: Census, at_ms: int) -> None:
        """Begin a machine's life anew with its maintenance, or note that it is to begin when its cycles have come to that.

        Parameters
        ----------
        at_ms
            Event time of the maintenance, ms since the epoch, UTC. One before the present life changes nothing; after one that
            comes late, the age is what the machine has worked since.
        """
        self.grow(census)
        if at_ms > self.lives.rows["ended_ms"][row]:
            waiting = sorted({*self.renewals.get(row, ()), at_ms})
            self.renewals[row] = waiting[-MOST_RENEWALS:]
        elif at_ms > self.lives.rows["began_ms"][row]:
            self._begin(row, census, at_ms)

    def _begin(self, row: int, census: Census, at_ms: int) -> None:
        if self.lives.rows["cycles"][row] == 0 and self.lives.rows["began_ms"][row] == 0:
            # Nothing is known of the life before: the first cycle begins it
            return
        sensors = np.flatnonzero(census.owners == row)
        worn = self.wears.rows[sensors]
        renew(self.lives.rows[row : row + 1], worn, self.stretches.rows[row], at_ms)
        self.wears.rows[sensors] = worn

    def take(
        self,
        ended: npt.NDArray[np.void],
        readings: npt.NDArray[np.void],
        census: Census,
        slots: Mapping[tuple[int, str], int],
    ) -> Gathered:
        """Take the cycles that a batch closed, and return the features that are wanted of them.

        Parameters
        ----------
        ended, readings
            Of :data:`pipeline.core.windowing.cycles.ENDED` and :data:`pipeline.core.windowing.cycles.ENDED_READINGS`.
        slots
            By machine row and name of a sensor.
        """
        plans = self._plans or self._make_plans(census.machine_types, slots)
        places = np.diff(plans.firsts)[ended["machine"]]
        most = int(places.sum())
        out = Gathered(
            np.empty(most, np.int64),
            np.empty(most, np.int64),
            np.empty(most, np.int64),
            np.empty(most),
            np.empty(most * self._most),
        )
        used = filled = begin = 0
        for end, row, at_ms in [*self._due(ended), (len(ended), -1, 0)]:
            banks = self.lives.rows, self.wears.rows, self.stretches.rows
            used, filled = _take(ended, readings, begin, end, *banks, plans, out, used, filled)
            begin = end
            if row >= 0:
                self._begin(row, census, at_ms)
        return Gathered(
            out.cycles[:used], out.wants[:used], out.ends[:used], out.hours_per_day[:used], out.values[:filled]
        )

    def _due(self, ended: npt.NDArray[np.void]) -> list[tuple[int, int, int]]:
        """Return the renewals that fall before some of the ended cycles: (before which one, machine row, time in ms)."""
        if not self.renewals:
            return []
        due = []
        for k, row, ended_ms in zip(
            range(len(ended)), ended["machine"].tolist(), ended["ended_ms"].tolist(), strict=True
        ):
            waiting = self.renewals.get(row)
            while waiting and waiting[0] < ended_ms:
                due.append((k, row, waiting.pop(0)))
            if waiting is not None and not waiting:
                del self.renewals[row]
        return due

    def _make_plans(self, machine_types: Sequence[str], slots: Mapping[tuple[int, str], int]) -> _Plans:
        """Work out where every machine has what is wanted of it: a list of features for all machines of its type at once."""
        used = self.lives.used
        places = _places(used, slots, {name for _, features in self._wanted for name in sensor_names(features)})
        rows, wants, widths, found = list[Any](), list[Any](), list[Any](), list[Any]()
        for number, (machine_type, features) in enumerate(self._wanted):
            mine = np.flatnonzero([each == machine_type for each in machine_types[:used]])
            wanted = plan(features, {name: at for at, name in enumerate(places)})
            table = np.vstack([*places.values(), np.full(used, -1, np.int32)])
            rows.append(mine)
            wants.append(np.full(len(mine), number))
            widths.append(np.full(len(mine), len(features)))
            found += [(table[wanted.slots, row], wanted.kinds) for row in mine.tolist()]
        row = np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64)
        order = np.argsort(row, kind="stable")
        self._most = max((len(features) for _, features in self._wanted), default=0)
        self._plans = _Plans(
            np.searchsorted(row[order], np.arange(used + 1)),
            np.concatenate([*wants, np.empty(0, np.int64)])[order].astype(np.int64),
            np.cumsum(np.concatenate([*widths, np.empty(0, np.int64)])[order]).astype(np.int64),
            *(
                np.concatenate([*(found[at][part] for at in order.tolist()), np.empty(0, np.int32)]).astype(np.int32)
                for part in (0, 1)
            ),
        )
        return self._plans

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of the lives, as plain lists and arrays."""
        return {
            "lives": self.lives.copy(),
            "wears": self.wears.copy(),
            "stretches": self.stretches.copy(),
            "renewals": sorted([row, *times] for row, times in self.renewals.items()),
        }

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_arrays` described; what another version described begins anew."""
        banks = {"lives": self.lives, "wears": self.wears, "stretches": self.stretches}
        if any(name not in arrays or arrays[name].dtype != bank.rows.dtype for name, bank in banks.items()):
            return
        for name, bank in banks.items():
            bank.load(arrays[name])
        self.renewals = {row: times for row, *times in arrays["renewals"]}
        self._plans = None


def _places(
    machines: int, slots: Mapping[tuple[int, str], int], names: Collection[str]
) -> dict[str, npt.NDArray[np.int32]]:
    """Return the slot of each of some sensors in each machine, -1: it has none; shape (machines,)."""
    places = {name: np.full(machines, -1, np.int32) for name in sorted(names)}
    for (row, name), slot in slots.items():
        if name in places:
            places[name][row] = slot
    return places
