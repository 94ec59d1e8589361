"""When which machine sends, how many messages at once, and when that leaves the machine: numbers only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.options import PlantOptions

SENT, GARBAGE, LATE, OUT_OF_ORDER, OFFLINE = range(5)
KIND_NAMES = ("sent", "garbage", "late", "out_of_order", "offline")

BLOCK = 1024
"""Places in the schedule that are drawn at once."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the schedule, place by place; arrays of shape (n,) unless said otherwise.

    Parameters
    ----------
    machines
        Rows of the plant's machines.
    kinds
        :data:`SENT` to :data:`OFFLINE`.
    dues_ms
        When the record leaves the machine, event time.
    again_ms
        When it is sent once more; −1: it is not.
    ends
        Place i has the messages ``[ends[i - 1], ends[i])``.
    seqs, times_ms
        Sequence number and event time of every message; shape (ends[-1],).
    end_ms
        No place of a later block is due before this.
    """

    machines: Integers
    kinds: Integers
    dues_ms: Integers
    again_ms: Integers
    ends: Integers
    seqs: Integers
    times_ms: Integers
    end_ms: int


class Schedule:
    """The schedule of a plant.

    Place n is machine ``order[n % machines]`` at ``start_ms + n * interval_ms / machines``: machines take turns, evenly
    spread over the interval. A block is part of one turn or several whole turns, so that each machine's sequence numbers
    are a running sum over rows of the same width.
    """

    def __init__(self, options: PlantOptions, random: np.random.Generator) -> None:
        self._options = options
        self._random = random
        self._order = random.permutation(options.machines)
        self._next_seq = np.zeros(options.machines, np.int64)
        self._silent_from = np.zeros(options.machines)
        self._silent_until = np.zeros(options.machines)
        self._speaks_lab = random.random(options.machines) < options.lab_share

    @property
    def speaks_lab(self) -> npt.NDArray[np.bool_]:
        """Which machines speak the reference lab's format; shape (machines,)."""
        return self._speaks_lab

    def blocks(self) -> Iterator[Block]:
        """Yield the schedule block by block, up to ``options.messages`` places or for ever."""
        place, turns = 0, self._turns()
        while not self._options.messages or place < self._options.messages:
            width = self._options.machines
            if turns == 1:
                width = min(BLOCK, width - place % width)
            yield self._block(place, turns, width)
            place += turns * width

    def _turns(self) -> int:
        """Return how many turns a block has: few enough that a machine hardly reboots or falls silent twice in it."""
        share = max(self._options.offline_share, self._options.reboot_share)
        most = int(0.1 / share) if share else BLOCK
        return max(1, min(most, BLOCK // self._options.machines))

    def _time_of(self, places: Integers) -> npt.NDArray[np.float64]:
        step_ms = self._options.interval_ms / self._options.machines
        return (self._options.start_ms + places * step_ms).astype(np.float64)

    def _block(self, first: int, turns: int, width: int) -> Block:
        options = self._options
        places = np.arange(first, first + turns * width)
        machines = self._order[places % options.machines]
        begin_ms = self._time_of(places)
        kinds, in_arrays = self._kinds(len(places))
        counts = np.where(in_arrays & (kinds != GARBAGE), options.array_length, 1)
        seqs = self._sequence(machines[:width], counts.reshape(turns, width)).ravel()
        if options.messages:
            left = options.messages - first
            places, machines, begin_ms, kinds = places[:left], machines[:left], begin_ms[:left], kinds[:left]
            counts, seqs = counts[:left], seqs[:left]
        ends = np.cumsum(counts)
        nth = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        times_ms = (np.repeat(begin_ms, counts) + nth * (options.interval_ms / options.array_length)).astype(np.int64)
        dues_ms = self._dues(machines[:width], machines, times_ms[ends - 1], kinds)
        return Block(
            machines=machines,
            kinds=kinds,
            dues_ms=dues_ms,
            again_ms=self._again(machines, dues_ms, kinds),
            ends=ends,
            seqs=np.repeat(seqs, counts) + nth,
            times_ms=times_ms,
            end_ms=int(self._time_of(places[-1:] + 1)[0]),
        )

    def _kinds(self, count: int) -> tuple[Integers, npt.NDArray[np.bool_]]:
        options = self._options
        chance = self._random.random(count)
        bounds = np.cumsum([options.garbage_share, options.late_share, options.out_of_order_share])
        drawn = np.searchsorted(bounds, chance, side="right")
        kinds = np.array((GARBAGE, LATE, OUT_OF_ORDER, SENT))[drawn]
        return kinds, self._random.random(count) < options.array_share

    def _sequence(self, machines: Integers, counts: Integers) -> Integers:
        """Return the first sequence number of every place; ``counts`` has a row per turn, a column per machine."""
        reboots = self._random.random(len(machines)) < self._options.reboot_share * len(counts)
        first = np.where(reboots, 0, self._next_seq[machines])
        after = first + np.cumsum(counts, axis=0)
        self._next_seq[machines] = after[-1]
        seqs: Integers = after - counts
        return seqs

    def _dues(self, distinct: Integers, machines: Integers, ready_ms: Integers, kinds: Integers) -> Integers:
        """Return when each place's record leaves; a place caught in an outage becomes :data:`OFFLINE`, unless garbage."""
        options = self._options
        late_ms = self._random.random(len(machines)) * options.late_max_ms
        overtaken_ms = 1.5 * options.interval_ms
        dues = ready_ms + np.where(kinds == LATE, late_ms, 0.0) + np.where(kinds == OUT_OF_ORDER, overtaken_ms, 0.0)
        self._draw_outages(distinct, float(ready_ms[0]), float(ready_ms[-1]), len(machines) / len(distinct))
        until = self._silent_until[machines]
        caught = (self._silent_from[machines] <= dues) & (dues < until)
        kinds[caught & (kinds != GARBAGE)] = OFFLINE
        return np.ceil(np.where(caught, until, dues)).astype(np.int64)

    def _draw_outages(self, machines: Integers, from_ms: float, to_ms: float, turns: float) -> None:
        chance, place = self._random.random((2, len(machines)))
        free = self._silent_until[machines] <= from_ms
        begins = machines[free & (chance < self._options.offline_share * turns)]
        self._silent_from[begins] = from_ms + place[: len(begins)] * (to_ms - from_ms)
        self._silent_until[begins] = self._silent_from[begins] + self._options.offline_ms

    def _again(self, machines: Integers, dues_ms: Integers, kinds: Integers) -> Integers:
        options = self._options
        chance, delay = self._random.random((2, len(machines)))
        twice = (chance < options.duplicate_share) & (kinds != GARBAGE) & ~self._speaks_lab[machines]
        return np.where(twice, dues_ms + (delay * 2 * options.interval_ms).astype(np.int64), -1)
