"""Judging alarms: found or not, how soon, made up or not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.evaluation.alarms import QUIET_MS, REPAIR_MS, WARM_UP_MS, Counts, Tally, judge, per_sensor
from benchmarks.evaluation.oracle import likelihood_ratio
from simulator.episodes import Episode
from simulator.options import PlantOptions
from simulator.sensors import LAB
from simulator.series import Series

STEP_MS = 60_000
COUNT = (2 * WARM_UP_MS) // STEP_MS
FIRST = WARM_UP_MS // STEP_MS
"""The first row that is judged."""


def judged(flagged: list[tuple[int, int]], episodes: list[tuple[int, int, int]] = (), marked: list = ()) -> Tally:
    """Judge flags at (row, column), of two sensors; episodes are (first row, end row, column)."""
    flags, marks = np.zeros((COUNT, 2), np.bool_), np.zeros((COUNT, 2), np.int8)
    for row, column in flagged:
        flags[row, column] = True
    for row, column in marked:
        marks[row, column] = 1
    told = tuple(
        Episode("step", "m", "f", ("ab"[column],), first * STEP_MS, end * STEP_MS, 3.0, (column,))
        for first, end, column in episodes
    )
    times_ms = np.arange(COUNT) * STEP_MS
    tally = Tally()
    judge(tally, Series(times_ms, np.zeros((COUNT, 2)), ("a", "b"), told, marks), flags)
    return tally


def test_an_episode_is_found_by_a_flag_on_its_own_sensor_and_the_delay_is_told() -> None:
    tally = judged([(FIRST + 25, 0)], [(FIRST + 20, FIRST + 60, 0)])

    assert (tally.episodes, tally.found, tally.delays) == (1, 1, [5])
    assert (tally.true_alarms, tally.false_alarms, tally.recall, tally.precision) == (1, 0, 1.0, 1.0)


def test_a_flag_on_another_sensor_or_before_the_episode_is_false() -> None:
    tally = judged([(FIRST + 25, 1), (FIRST + 5, 0)], [(FIRST + 20, FIRST + 60, 0)])

    assert (tally.found, tally.true_alarms, tally.false_alarms, tally.recall) == (0, 0, 2, 0.0)


@pytest.mark.parametrize(("minutes", "false"), [(1, 0), (REPAIR_MS // STEP_MS - 1, 0), (REPAIR_MS // STEP_MS + 1, 1)])
def test_soon_after_the_repair_an_alarm_is_neither_true_nor_false(minutes: int, false: int) -> None:
    tally = judged([(FIRST + 60 + minutes, 0)], [(FIRST + 20, FIRST + 60, 0)])

    assert (tally.found, tally.true_alarms, tally.false_alarms) == (0, 0, false)


@pytest.mark.parametrize(("apart", "alarms"), [(1, 1), (QUIET_MS // STEP_MS, 1), (QUIET_MS // STEP_MS + 1, 2)])
def test_flags_close_to_each_other_are_one_alarm(apart: int, alarms: int) -> None:
    assert judged([(FIRST + 5, 0), (FIRST + 5 + apart, 0)]).false_alarms == alarms


def test_spikes_and_what_comes_while_warming_up_are_not_judged() -> None:
    tally = judged(
        [(FIRST + 5, 0), (FIRST + 2, 1), (FIRST - 90, 1)], [(FIRST - 60, FIRST + 20, 1)], marked=[(FIRST + 5, 0)]
    )

    assert (tally.episodes, tally.true_alarms, tally.false_alarms) == (0, 0, 0)
    assert tally.sensor_days == pytest.approx(0.5, rel=0.01)


def test_what_would_be_found_by_chance_grows_with_false_alarms_and_lengths() -> None:
    short, long = judged([], [(FIRST, FIRST + 12, 0)]), judged([], [(FIRST, FIRST + 120, 0)])

    assert short.by_chance(0.0) == 0.0
    assert long.by_chance(1.0) == pytest.approx(1 - np.exp(-2 / 24), rel=0.01)
    assert short.by_chance(1.0) < long.by_chance(1.0) < long.by_chance(5.0)


def test_every_sensor_has_an_estimator_of_its_own_that_scores_before_it_learns() -> None:
    class Newest:
        def __init__(self) -> None:
            self.last = 0.0

        def score_one(self, x: dict[str, float]) -> float:
            return abs(x["value"] - self.last)

        def learn_one(self, x: dict[str, float]) -> None:
            self.last = x["value"]

    flags = per_sensor(Newest, 1.0)(np.arange(3), np.array([[0.0, 5.0], [0.5, 5.0], [9.0, 5.0]]))

    assert flags.tolist() == [[False, True], [False, False], [True, False]]


def test_counts_are_precision_recall_and_their_harmonic_mean() -> None:
    counts = Counts()
    counts.add(np.array([True, True, True, False, False]), np.array([True, True, False, True, False]))

    assert (counts.hits, counts.missed, counts.made_up) == (2, 1, 1)
    assert (counts.precision, counts.recall, counts.f1) == (2 / 3, 2 / 3, pytest.approx(2 / 3))


def test_the_oracle_flags_what_is_likelier_odd() -> None:
    rows = np.tile(LAB.means, (4, 1))
    rows[1:, 4] = 11.0, 12.0, 31.0

    assert likelihood_ratio(LAB, PlantOptions(), rows)[:, 4].tolist() == [False, True, False, True]
    assert not likelihood_ratio(LAB, PlantOptions(), rows)[:, :4].any()
