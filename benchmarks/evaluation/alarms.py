"""What detectors' alarms are worth against the truth about a machine: what was found, how soon, and what was made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.detectors.bank import DetectorBank
from pipeline.core.detectors.census import Census
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.kernel import Layouts, Messages
from simulator.series import Series

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MS_PER_DAY = 86_400_000
WARM_UP_MS = MS_PER_DAY // 4
"""At the beginning of a series nothing is judged for so long."""

QUIET_MS = 600_000
"""Flagged readings of a sensor that are no further apart than this are one alarm."""

REPAIR_MS = 1_800_000
"""For so long after a repair the way back to normal is no false alarm."""


TOGETHER = ("change", "stuck", "novelty", "multivariate")
"""Names of those that share a machine's budget of alarms."""


class Detector(Protocol):
    """Anything that says which readings are odd."""

    def __call__(self, times_ms: Integers, values: Floats) -> Flags:
        """Return for each reading of a new machine whether it is odd, knowing only what came before it.

        Parameters
        ----------
        times_ms
            Shape (n,), event time, ms since the epoch, UTC.
        values
            Shape (n, sensors).
        """


class Estimator(Protocol):
    """What is asked of a River detector of one sensor."""

    def score_one(self, x: dict[str, float]) -> float:
        """Return how odd a reading is that was not learned yet."""

    def learn_one(self, x: dict[str, float]) -> None:
        """Learn a reading."""


def per_sensor(make: Callable[[], Estimator], threshold: float) -> Detector:
    """Return a detector that has an estimator for every sensor; what scores more than the threshold is odd."""

    def flags(times_ms: Integers, values: Floats) -> Flags:
        found = np.zeros(values.shape, np.bool_)
        for column in range(values.shape[1]):
            estimator = make()
            for row, value in enumerate(values[:, column].tolist()):
                reading = {"value": value}
                found[row, column] = estimator.score_one(reading) > threshold
                estimator.learn_one(reading)
        return found

    return flags


def by_bank(rules: DetectorRules, times_ms: Integers, values: Floats) -> npt.NDArray[np.void]:
    """Return the alarms that a worker raises on a new machine, of :data:`pipeline.core.detectors.inspection.FOUND`.

    Parameters as of :class:`Detector`; the sensors' slots are their columns.
    """
    rows, columns = values.shape
    messages = Messages(
        layouts=np.zeros(rows, np.int32),
        offsets=np.arange(rows),
        indexes=np.zeros(rows, np.int32),
        times_ms=times_ms,
        ingest_ms=times_ms,
        seqs=np.arange(rows),
        ends=np.arange(1, rows + 1) * columns,
        values=values.ravel(),
    )
    one = np.zeros(1, np.int64)
    layouts = Layouts(one.astype(np.int32), one, np.array([0, columns]), np.arange(columns, dtype=np.int32))
    census = Census(["machine"], [f"sensor {n}" for n in range(columns)], np.zeros(columns, np.int32))
    return DetectorBank().inspect(messages, np.ones(rows, np.bool_), layouts, rules, census)


@dataclass
class Tally:
    """What was judged, over many machines.

    Parameters
    ----------
    episodes, found
        Faults, and those with a flagged reading on one of their sensors before the repair.
    delays
        Of those found, in readings from the first of the episode on.
    true_alarms, false_alarms
        Alarms that began within an episode on one of its sensors, and elsewhere.
    sensor_days, machine_days
        How long was judged.
    lasting_days
        How long the episodes' sensors were faulty, all together.
    """

    episodes: int = 0
    found: int = 0
    delays: list[int] = field(default_factory=list)
    true_alarms: int = 0
    false_alarms: int = 0
    sensor_days: float = 0.0
    lasting_days: float = 0.0

    @property
    def recall(self) -> float:
        """Share of the episodes that were found."""
        return self.found / self.episodes if self.episodes else float("nan")

    @property
    def precision(self) -> float:
        """Share of the alarms that were true."""
        alarms = self.true_alarms + self.false_alarms
        return self.true_alarms / alarms if alarms else float("nan")

    @property
    def false_per_sensor_day(self) -> float:
        """False alarms per sensor and day."""
        return self.false_alarms / self.sensor_days

    def by_chance(self, false_per_sensor_day: float) -> float:
        """Return the share of the episodes in which a false alarm would be taken for the true one."""
        return 1.0 - float(np.exp(-false_per_sensor_day * self.lasting_days / max(1, self.episodes)))


def judge(tally: Tally, truth: Series, flags: Flags) -> None:
    """Add what the flags of one machine are worth.

    Spikes and dips are odd by themselves: a flag there is neither true nor false. Faults that begin while the detector
    warms up are left out, with everything that is flagged in them.
    """
    from_ms = truth.times_ms[0] + WARM_UP_MS
    odd = flags & (truth.marks == 0) & (truth.times_ms >= from_ms)[:, np.newaxis]
    open_to_judgement = np.ones(odd.shape, np.bool_)
    begins = _begins(truth.times_ms, odd)
    for episode in truth.episodes:
        first, end, after = np.searchsorted(
            truth.times_ms, [episode.start_ms, episode.end_ms, episode.end_ms + REPAIR_MS]
        ).tolist()
        columns = list(episode.columns)
        open_to_judgement[first:after, columns] = False
        if episode.start_ms < from_ms:
            continue
        tally.episodes += 1
        tally.lasting_days += len(columns) * (episode.end_ms - episode.start_ms) / MS_PER_DAY
        tally.true_alarms += int(begins[first:end, columns].sum())
        hits = np.flatnonzero(odd[first:end, columns].any(axis=1))
        if len(hits):
            tally.found += 1
            tally.delays.append(int(hits[0]))
    tally.false_alarms += int((begins & open_to_judgement).sum())
    tally.sensor_days += odd.shape[1] * float(truth.times_ms[-1] - from_ms) / MS_PER_DAY


def _begins(times_ms: Integers, odd: Flags) -> Flags:
    """Return the flagged readings that begin an alarm."""
    begins = np.zeros_like(odd)
    for column in range(odd.shape[1]):
        rows = np.flatnonzero(odd[:, column])
        begins[rows[np.diff(times_ms[rows], prepend=-QUIET_MS - 1) > QUIET_MS], column] = True
    return begins


@dataclass
class Counts:
    """Readings that are odd and flagged, odd and not, flagged and not odd."""

    hits: int = 0
    missed: int = 0
    made_up: int = 0

    def add(self, odd: Flags, flagged: Flags) -> None:
        """Count readings."""
        self.hits += int((odd & flagged).sum())
        self.missed += int((odd & ~flagged).sum())
        self.made_up += int((~odd & flagged).sum())

    @property
    def precision(self) -> float:
        """Share of the flagged readings that are odd."""
        return self.hits / max(1, self.hits + self.made_up)

    @property
    def recall(self) -> float:
        """Share of the odd readings that were flagged."""
        return self.hits / max(1, self.hits + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.hits / max(1, 2 * self.hits + self.missed + self.made_up)


def median(numbers: Sequence[int]) -> float:
    """Return the median; not a number if there are none."""
    return float(np.median(numbers)) if numbers else float("nan")
