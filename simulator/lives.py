"""Lives of machines that wear out: from new to failure, or to the maintenance that came before; and what is left of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from simulator.options import PlantOptions
from simulator.wear import COMPONENTS, CYCLE_MINUTES, IDLE_S, LIVES_S

_STARTS_WITHIN_S = 60
_LEAST_REPAIR_S = 60
_REPAIR_S = {"failure": (1_800, 7_200), "planned": (600, 1_800), "unplanned": (600, 1_800)}


class Life(NamedTuple):
    """One life of one machine.

    Every repair makes both modes new, whatever it was for.

    Parameters
    ----------
    number
        0 for the machine's first life in this plant.
    kind
        What ended it: ``failure``, or ``planned`` or ``unplanned`` maintenance before.
    component
        Of the mode that failed; of the one that would have failed first, if maintenance came before.
    began_ms, ended_ms
        First and last second of its operation; event time, ms since the epoch, UTC.
    repaired_ms
        When the record of the repair is sent, and the next life begins; ms since the epoch, UTC.
    age_s
        Operation before the plant began, s; of a machine's first life only.
    fails_s
        Seconds of operation from new to failure, by mode; the first of them ends the life unless maintenance does.
    cycles_s
        Length of each of its operating cycles in this plant, s. Between two, the machine idles :data:`simulator.wear.IDLE_S`.
    """

    machine_id: str
    factory_id: str
    number: int
    kind: str
    component: str
    began_ms: int
    ended_ms: int
    repaired_ms: int
    age_s: int
    fails_s: tuple[int, int]
    cycles_s: tuple[int, ...]

    @property
    def is_censored(self) -> bool:
        """Whether maintenance ended it before the machine failed."""
        return self.kind != "failure"

    @property
    def starts_ms(self) -> list[int]:
        """When each of its cycles starts, ms since the epoch, UTC."""
        lengths = (1_000 * (length_s + IDLE_S) for length_s in self.cycles_s[:-1])
        return list(accumulate(lengths, initial=self.began_ms))

    def left_s(self, at_ms: int) -> int:
        """Return how many seconds of operation were left until the machine fails, or would have failed without maintenance.

        Parameters
        ----------
        at_ms
            Event time, ms since the epoch, UTC; before the life it is as at its beginning, after it as at its end. What is
            sent at this very time has been operated.

        Examples
        --------
        >>> life = Life("c", "f", 0, "failure", "seal", 0, 179_000, 900_000, 5, (125, 300), (60, 60))
        >>> [life.left_s(at_ms) for at_ms in (-1, 0, 59_000, 90_000, 120_000, 179_000)]
        [120, 119, 60, 60, 59, 0]
        """
        starts_ms = self.starts_ms
        begun = bisect_right(starts_ms, at_ms)
        operated_s = sum(self.cycles_s[:begun])
        if begun:
            unfinished_s = self.cycles_s[begun - 1] - ((at_ms - starts_ms[begun - 1]) // 1_000 + 1)
            operated_s -= max(0, unfinished_s)
        return min(self.fails_s) - self.age_s - operated_s


def lives(options: PlantOptions, number: int, machine_id: str, factory_id: str) -> Iterator[Life]:
    """Yield the lives of a machine, one after the other, for ever.

    Every life takes as many draws with maintenance as without, and its own: without it the modes, and the lengths of
    cycles, are the same, life by life.

    Parameters
    ----------
    number
        Of the machine, from 0 on.
    """
    at_ms = options.start_ms
    for nth in range(2**62):
        random = np.random.default_rng([options.seed, 8, number, nth])
        if nth == 0:
            at_ms += 1_000 * int(random.integers(_STARTS_WITHIN_S))
        life = _life(options, random, Life(machine_id, factory_id, nth, "", "", at_ms, at_ms, at_ms, 0, (0, 0), ()))
        yield life
        at_ms = life.repaired_ms


def _life(options: PlantOptions, random: np.random.Generator, born: Life) -> Life:
    """Return a life that begins when ``born`` does."""
    drawn = (int(random.integers(least, most, endpoint=True)) for least, most in LIVES_S)
    seal_s, governor_s = (max(1, round(each / options.wear_pace)) for each in drawn)
    age = random.random() * options.wear_age_share * (born.number == 0)
    age_s = int(age * min(seal_s, governor_s))
    maintained_ms = {"planned": options.wear_planned_ms, "unplanned": random.exponential() * options.wear_unplanned_ms}
    repair = random.random()
    cycles_s = _cycles(random, min(seal_s, governor_s) - age_s)
    life = born._replace(
        kind="failure",
        component=COMPONENTS[governor_s < seal_s],
        age_s=age_s,
        fails_s=(seal_s, governor_s),
        cycles_s=cycles_s,
    )
    ends_ms = [start_ms + 1_000 * (length_s - 1) for start_ms, length_s in zip(life.starts_ms, cycles_s, strict=True)]
    count = len(cycles_s)
    for kind, after_ms in sorted(maintained_ms.items(), key=lambda each: each[1]):
        # What is due while the last cycle runs comes too late
        due = next((n for n, end_ms in enumerate(ends_ms[:-1], 1) if end_ms - born.began_ms >= after_ms), count)
        if after_ms and due < count:
            life, count = life._replace(kind=kind, cycles_s=cycles_s[:due]), due
    least_s, most_s = _REPAIR_S[life.kind]
    lasts_s = max(_LEAST_REPAIR_S, int((least_s + repair * (most_s - least_s)) / options.wear_pace))
    ended_ms = ends_ms[count - 1]
    return life._replace(ended_ms=ended_ms, repaired_ms=ended_ms + 1_000 * lasts_s)


def _cycles(random: np.random.Generator, left_s: int) -> tuple[int, ...]:
    """Return lengths of cycles that take so many seconds together; the machine fails in the last of them."""
    least, most = CYCLE_MINUTES
    lengths_s = 60 * random.integers(least, most, size=left_s // (60 * least) + 1, endpoint=True)
    ends_s = np.cumsum(lengths_s)
    count = int(np.searchsorted(ends_s, left_s)) + 1
    lengths_s[count - 1] -= ends_s[count - 1] - left_s
    return tuple(lengths_s[:count].tolist())
