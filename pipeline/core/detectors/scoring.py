"""One detector over the rows of a table, a batch at a time: the score of every row, and which rows are anomalies.

The kernels are those of a worker. A row is one message of one machine, its columns are the machine's sensors; so the rows'
alarms are those that a worker finds in the same messages by the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.banks import SENSOR
from pipeline.core.compiling import uncounted
from pipeline.core.detectors.bank import DetectorBank
from pipeline.core.detectors.catalogue import DETECTORS, Detector
from pipeline.core.detectors.census import Census
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.detectors.inspection import FOUND, inspect_machine, inspect_reading, lay_out
from pipeline.core.spikes import SpikeRules, spike_learn, spike_score

Numbers = npt.NDArray[np.float64]

_NOT_SEEN = -1


class Scores(NamedTuple):
    """Of each row its score, ≥ 0 and finite, NaN where there is none; whether it is an anomaly, and whether one begins with it.

    All of shape (n,). A worker tells of an anomaly when it begins.
    """

    scores: Numbers
    anomalies: npt.NDArray[np.bool_]
    begins: npt.NDArray[np.bool_]


def _none(rows: int) -> Scores:
    return Scores(np.full(rows, math.nan), np.zeros(rows, np.bool_), np.zeros(rows, np.bool_))


class BankScorer:
    """A detector of a worker's bank, and those others that share the budget of alarms with it.

    A detector of single sensors looks at every column: the row's score is the largest of them, and one alarm is enough.
    The first row is the first message of a machine that nobody knows, so a row's score depends on those before it alone.
    It fails, as the detectors do, on rows that are not in the order of time.

    Parameters
    ----------
    detector
        Whose scores and alarms are told.
    rules
        Which detectors are on.
    sensors
        Names of the columns.
    machine_type
        Chooses among the rules.

    Examples
    --------
    >>> from pipeline.core.detectors.catalogue import CHANGE
    >>> scorer = BankScorer(CHANGE, DetectorRules(("change",)), ["temperature"])
    >>> times_ms = np.arange(200) * 60_000
    >>> values = np.where(times_ms < 180 * 60_000, 55.0, 70.0) + times_ms // 60_000 * 7 % 5
    >>> found = scorer.score(times_ms, values[:, None])
    >>> float(found.scores[:180].max()) < 10.0, 180 < int(np.flatnonzero(found.begins)[0]) < 190
    (True, True)
    """

    def __init__(
        self, detector: Detector, rules: DetectorRules, sensors: Sequence[str], machine_type: str = ""
    ) -> None:
        self._number, self._rules = DETECTORS.index(detector), rules
        self._sensors, self._machine_type = sensors, machine_type
        self._seen: list[int] = []
        self._bank = DetectorBank()

    def score(self, times_ms: npt.NDArray[np.int64], values: Numbers) -> Scores:
        """Score the next rows, then learn them.

        Parameters
        ----------
        times_ms
            Event times, ms since the epoch, UTC; shape (n,). They may stand still or step back.
        values
            In the sensors' units, magnitude at most 1e140; NaN: no reading. Shape (n, columns). A row without any reading is
            not shown to the detectors.
        """
        self._meet(values)
        slots = np.full(len(self._sensors), _NOT_SEEN, np.int32)
        slots[self._seen] = np.arange(len(self._seen))
        found = _none(len(values))
        hits = np.empty(len(DETECTORS) * (len(self._sensors) + 1), FOUND)
        room = np.empty(len(self._sensors)), np.empty(len(self._sensors), np.int32)
        _score_rows(times_ms, values, slots, self._number, self._bank.parts(), *room, hits, *found)
        return found

    def _meet(self, values: Numbers) -> None:
        """Make rows for the sensors that are there for the first time, in the order in which a worker sees them."""
        present = ~np.isnan(values)
        firsts = {column: int(present[:, column].argmax()) for column in np.flatnonzero(present.any(axis=0)).tolist()}
        new = [column for column in firsts if column not in self._seen]
        self._seen += sorted(new, key=lambda column: (firsts[column], column))
        names = [self._sensors[column] for column in self._seen]
        self._bank.adopt(self._rules, Census([self._machine_type], names, np.zeros(len(names), np.int32)))


@uncounted
def _score_rows(
    times_ms: Any,
    values: Any,
    slots: Any,
    number: int,
    parts: Any,
    row_values: Any,
    row_slots: Any,
    hits: Any,
    scores: Any,
    anomalies: Any,
    begins: Any,
) -> None:
    """Fill what there is to tell of rows by the detector with a number; ``row_…`` and ``hits`` are room for one row."""
    for i in range(len(times_ms)):
        there = flagged = 0
        for column in range(values.shape[1]):
            value = values[i, column]
            if math.isnan(value):
                continue
            row_values[there], row_slots[there] = value, slots[column]
            there += 1
            parts.scores[number], parts.odd[number] = math.nan, False
            flagged = inspect_reading(parts, 0, i, slots[column], times_ms[i], value, hits, flagged)
            scores[i], anomalies[i] = _larger(scores[i], parts.scores[number]), anomalies[i] or parts.odd[number]
        if there == 0:
            continue
        lay_out(row_values, row_slots, 0, there, parts)
        parts.scores[number], parts.odd[number] = math.nan, False
        flagged = inspect_machine(parts, 0, i, times_ms[i], hits, flagged)
        scores[i], anomalies[i] = _larger(scores[i], parts.scores[number]), anomalies[i] or parts.odd[number]
        for hit in range(flagged):
            begins[i] |= hits[hit].detector == number


@uncounted
def _larger(score: float, other: float) -> float:
    """Return the larger of two scores; one that is NaN is none."""
    return other if math.isnan(score) or other > score else score


class SpikeScorer:
    """The detector of spikes and dips, on every column; the row's score is the largest of them.

    Parameters
    ----------
    rules
        As the worker has them; a reading beyond their threshold is an anomaly.
    columns
        How many.

    Examples
    --------
    >>> scorer = SpikeScorer(SpikeRules(warm_up=4), columns=1)
    >>> values = np.array([10.0, 11.0, 9.0, 10.5, 9.5, 18.0, 10.0])[:, None]
    >>> scorer.score(np.arange(7), values).anomalies.tolist()
    [False, False, False, False, False, True, False]
    """

    def __init__(self, rules: SpikeRules, columns: int) -> None:
        self._rules = rules
        self._sensors = np.zeros(columns, SENSOR)

    def score(self, _: npt.NDArray[np.int64], values: Numbers) -> Scores:
        """Score the next rows, then learn them; as :meth:`BankScorer.score`, but times say nothing."""
        found = _none(len(values))
        rules = self._rules
        _score_spikes(values, self._sensors, rules.threshold, rules.fading, rules.warm_up, *found)
        return found


@uncounted
def _score_spikes(
    values: Any,
    sensors: Any,
    threshold: float,
    fading: float,
    warm_up: int,
    scores: Any,
    anomalies: Any,
    begins: Any,
) -> None:
    for i in range(len(values)):
        for column in range(values.shape[1]):
            value = values[i, column]
            if math.isnan(value):
                continue
            sensor = sensors[column]
            score = spike_score(sensor.mean, sensor.variance, sensor.seen, value, warm_up)
            sensor.mean, sensor.variance, sensor.seen, sensor.streak = spike_learn(
                sensor.mean, sensor.variance, sensor.seen, sensor.streak, value, score, threshold, fading
            )
            scores[i] = _larger(scores[i], abs(score))
            anomalies[i] |= abs(score) > threshold
        begins[i] = anomalies[i]
