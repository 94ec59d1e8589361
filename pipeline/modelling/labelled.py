"""Cycles of machines cut into lives by what is known of their maintenance: what each life came to, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.facts import FAILURE, ends_life

Floats = npt.NDArray[np.float64]

EVER_MS = (-(2**62), 2**62)


class Maintenance(NamedTuple):
    """A maintenance record.

    Parameters
    ----------
    time_ms
        Event time, ms since the epoch, UTC.
    kind
        ``planned``, ``unplanned`` or ``failure``.
    requirement
        Class of maintenance, 0 to 5; -1: nobody has said.
    """

    machine_id: str
    time_ms: int
    kind: str
    component: str
    requirement: int = -1

    @property
    def ends_life(self) -> bool:
        """Whether the machine is as new afterwards."""
        return ends_life(self.kind, self.requirement)


class MachineCycles(NamedTuple):
    """What is known of a machine after each of its n operating cycles.

    Parameters
    ----------
    ends_ms
        Event time of each cycle's end, ms since the epoch, UTC, rising; shape (n,).
    rows
        Features; shape (n, features).
    ages_h
        Feature ``age``: operating hours of the life; shape (n,).
    """

    ends_ms: npt.NDArray[np.int64]
    rows: Floats
    ages_h: Floats


class LabelledLife(NamedTuple):
    """One life of one machine, or as much as is known of it.

    Parameters
    ----------
    ended_ms
        When it was recorded to have ended, or when it was last heard of; ms since the epoch, UTC.
    failed
        Component that failed; ``None``: it was maintained before, or still runs. How long it would have lasted nobody knows.
    ends_ms, rows
        As of :class:`MachineCycles`; at least one.
    operated_h
        Operating hours at the end of each cycle, counted from some moment of the life; shape (n,), rising.
    """

    machine_id: str
    ended_ms: int
    failed: str | None
    ends_ms: npt.NDArray[np.int64]
    rows: Floats
    operated_h: Floats

    @property
    def remaining_h(self) -> Floats:
        """Operating hours from each cycle's end to the end of the last one, in which the machine failed; shape (n,)."""
        left: Floats = self.operated_h[-1] - self.operated_h
        return left


def lives_of(
    machine_id: str,
    cycles: MachineCycles,
    records: Sequence[Maintenance],
    between_ms: tuple[int, int] = EVER_MS,
) -> list[LabelledLife]:
    """Return a machine's lives, each with at least one cycle.

    Every record ends a life, whatever was done, unless it says that nothing was: so does the fold see it. A cycle that
    ended by then is of the old life.

    Parameters
    ----------
    records
        Of this machine, in any order.
    between_ms
        Event times ``[from, until)``, ms since the epoch, UTC: cycles and records outside are as if nobody knew of them.

    Examples
    --------
    >>> cycles = MachineCycles(np.array([10, 20, 30, 40]), np.zeros((4, 1)), np.array([1.0, 2.5, 4.0, 0.5]))
    >>> first, second = lives_of("m", cycles, [Maintenance("m", 30, "failure", "seal")])
    >>> first.failed, first.remaining_h.tolist(), second.failed, second.ended_ms
    ('seal', [3.0, 1.5, 0.0], None, 40)
    """
    since_ms, until_ms = between_ms
    known = sorted(
        (each for each in records if each.ends_life and since_ms <= each.time_ms < until_ms),
        # Who repairs a failure may write a second record at once
        key=lambda each: (each.time_ms, each.kind != FAILURE, each.component),
    )
    wanted = (cycles.ends_ms >= since_ms) & (cycles.ends_ms < until_ms)
    ends_ms, rows, ages_h = (each[wanted] for each in cycles)
    times_ms = [each.time_ms for each in known]
    numbers = np.searchsorted(np.array(times_ms, np.int64), ends_ms, side="left")
    found = []
    for number in np.unique(numbers).tolist():
        mine = numbers == number
        record = known[number] if number < len(known) else None
        failed = record.component if record is not None and record.kind == FAILURE else None
        ended_ms = record.time_ms if record is not None else int(ends_ms[mine][-1])
        found.append(LabelledLife(machine_id, ended_ms, failed, ends_ms[mine], rows[mine], _operated(ages_h[mine])))
    return found


def _operated(ages_h: Floats) -> Floats:
    """Return operating hours that go on where an age began anew: a partition may hear late of maintenance."""
    steps = np.diff(ages_h, prepend=0.0)
    return np.cumsum(np.where(steps < 0.0, ages_h, steps))


def in_order(lives: Sequence[LabelledLife]) -> list[LabelledLife]:
    """Return lives as they are learned: by their ends, then by machine."""
    return sorted(lives, key=lambda life: (life.ended_ms, life.machine_id))


def of_machine(records: Sequence[Maintenance]) -> Mapping[str, list[Maintenance]]:
    """Return records by machine, in order of time."""
    found: dict[str, list[Maintenance]] = {}
    for each in sorted(records):
        found.setdefault(each.machine_id, []).append(each)
    return found
