"""Which machines are faulty when: episodes, drawn in the order in which they begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from simulator.episodes import Episode
from simulator.options import PUMP_FAULTS, PlantOptions
from simulator.sensors import Floats
from simulator.signatures import AGAINST, FLUTTER, affected, distort

_MS_PER_DAY = 86_400_000

Integers = npt.NDArray[np.int64]


class Faults:
    """The faults of machines that have the same sensors.

    Episodes begin as a Poisson process over all machines. A machine has one at a time: another that would begin meanwhile is
    left out.

    Parameters
    ----------
    options
        What they are like.
    sensors
        Of each machine.
    machines
        (machine id, factory id) of each.
    kinds
        Those that can befall them; not empty.
    random
        Its draws depend on nothing but the options.
    """

    def __init__(
        self,
        options: PlantOptions,
        sensors: Sequence[str],
        machines: Sequence[tuple[str, str]],
        kinds: Sequence[str],
        random: np.random.Generator,
    ) -> None:
        self._options, self._sensors, self._machines, self._kinds = options, sensors, machines, kinds
        self._random = random
        self._beginning = self._episodes()
        self._next_row, self._next = next(self._beginning)
        self._of: dict[int, list[Episode]] = {}

    def distort(self, rows: Integers, times_ms: Integers, scores: Floats) -> list[tuple[Integers, Episode]]:
        """Change the scores of what was measured in episodes, in place; return which messages lie in which.

        Parameters
        ----------
        rows, times_ms
            Machine and event time of each message, shape (n,); the earliest time is not before that of the last call.
        scores
            Shape (n, sensors).
        """
        self._begin(int(times_ms.max()))
        from_ms = int(times_ms.min())
        found = []
        for row in self._of.keys() & set(rows.tolist()):
            self._of[row] = [episode for episode in self._of[row] if episode.end_ms > from_ms]
            own = np.flatnonzero(rows == row)
            for episode in self._of[row]:
                within = own[(episode.start_ms <= times_ms[own]) & (times_ms[own] < episode.end_ms)]
                if len(within):
                    disturbed = scores[within]
                    distort(disturbed, times_ms[within], episode)
                    scores[within] = disturbed
                    found.append((within, episode))
            if not self._of[row]:
                del self._of[row]
        return found

    def _begin(self, until_ms: int) -> None:
        while self._next.start_ms <= until_ms:
            own = self._of.setdefault(self._next_row, [])
            if not own or own[-1].end_ms <= self._next.start_ms:
                own.append(self._next)
            self._next_row, self._next = next(self._beginning)

    def _episodes(self) -> Iterator[tuple[int, Episode]]:
        """Yield machines and what befalls them, in the order in which it begins, for ever."""
        between_ms = _MS_PER_DAY / (self._options.fault_rate * len(self._machines))
        at_ms = float(self._options.start_ms)
        while True:
            at_ms += self._random.exponential(between_ms)
            row = int(self._random.integers(len(self._machines)))
            kind = self._kinds[int(self._random.integers(len(self._kinds)))]
            yield row, self._episode(row, kind, int(at_ms))

    def _episode(self, row: int, kind: str, start_ms: int) -> Episode:
        random, options = self._random, self._options
        lasts_ms = max(1, int(options.fault_ms * random.uniform(0.5, 1.5)))
        sign = 1.0 if random.random() < 0.5 else -1.0
        mixed = random.permutation(len(self._sensors)).tolist()
        columns = affected(kind) or tuple(sorted(mixed[: int(random.integers(2, 4)) if kind == "correlated" else 1]))
        sizes = {
            "step": sign * options.fault_size,
            "drift": sign * options.fault_drift,
            "stuck": FLUTTER if sign < 0 else 0.0,
            "correlated": AGAINST,
        }
        machine_id, factory_id = self._machines[row]
        sensors = tuple(self._sensors[column] for column in columns)
        size, end_ms = float(sizes.get(kind, options.fault_size)), start_ms + lasts_ms
        held = float(np.clip(random.standard_normal(), -2.0, 2.0))
        usual = options.sensor_correlation
        return Episode(kind, machine_id, factory_id, sensors, start_ms, end_ms, size, columns, held, usual)


def faults_of(
    options: PlantOptions,
    sensors: Sequence[str],
    machines: Sequence[tuple[str, str]],
    random: np.random.Generator,
    *,
    pumps: bool,
) -> Faults | None:
    """Return the faults of machines or of pumps; ``None`` if nothing befalls them."""
    kinds = [kind for kind in options.fault_kinds if pumps or kind not in PUMP_FAULTS]
    if not options.fault_rate or not kinds or not machines:
        return None
    return Faults(options, sensors, machines, kinds, random)
