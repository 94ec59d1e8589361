"""Maintenance that is heard of late: the new life is as old as the machine has worked since, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.fold import FoldRules
from pipeline.core.prognosis.features import HOUR_MS, LIFE, WEAR, take_cycle, take_sensor
from pipeline.core.prognosis.stretches import STRETCH, STRETCHES, remember, renew
from tests.core.prognosis.models_in_force import folded, maintained, partition, remaining_life, spoken_of
from tests.core.prognosis.test_predictions import BASE_MS, cycles, records_of, said

BEGAN_MS = 1_000_000

Times = list[tuple[int, int]]


def times_of(durations: list[tuple[int, int]]) -> Times:
    """Return when cycles began and ended, of pauses before them and durations, ms."""
    times, now_ms = [], BEGAN_MS
    for pause_ms, duration_ms in durations:
        times.append((now_ms + pause_ms, now_ms + pause_ms + duration_ms))
        now_ms = times[-1][1]
    return times


some_times = st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 10**6)), min_size=1, max_size=60).map(times_of)


class Machine:
    """One machine's life, since a repair."""

    def __init__(self) -> None:
        self.life, self.stretches, self.wears = np.zeros(1, LIFE), np.zeros(STRETCHES, STRETCH), np.zeros(1, WEAR)
        self.life["began_ms"] = self.life["ended_ms"] = BEGAN_MS

    def take(self, times: Times) -> None:
        for started_ms, ended_ms in times:
            before_ms = int(self.life["operating_ms"][0])
            if take_cycle(self.life[0], started_ms, ended_ms):
                remember(self.stretches, ended_ms, int(self.life["operating_ms"][0]) - before_ms)
                take_sensor(self.wears[0], 1.0, 1.0)

    def renew(self, at_ms: int) -> tuple[int, int]:
        """Return the age that a life has which begins at a moment, ms, and its cycles."""
        renew(self.life, self.wears, self.stretches, at_ms)
        return int(self.life["operating_ms"][0]), int(self.life["cycles"][0])


def since(times: Times, at_ms: int) -> tuple[int, int]:
    after = [(max(began, at_ms), ended) for began, ended in times if ended > at_ms]
    return sum(ended - began for began, ended in after), len(after)


@given(some_times, st.data())
def test_a_late_life_is_as_old_as_the_work_since_but_for_pauses_that_are_not_kept(
    times: Times, data: st.DataObject
) -> None:
    machine = Machine()
    machine.take(times)
    at_ms = data.draw(st.integers(BEGAN_MS, times[-1][1]))
    within = [each for each in machine.stretches if each["began_ms"] < at_ms < each["ended_ms"]]
    unsure = sum(int(each["ended_ms"] - each["began_ms"] - each["operating_ms"]) for each in within)
    assert machine.stretches["operating_ms"].sum() == since(times, BEGAN_MS)[0]
    assert machine.stretches["cycles"].sum() == len(times)

    age_ms, count = machine.renew(at_ms)

    true_ms, true_count = since(times, at_ms)
    assert abs(age_ms - true_ms) <= unsure
    assert 0 <= age_ms <= times[-1][1] - at_ms
    assert (count > 0) == (true_count > 0)
    if len(times) <= STRETCHES:
        assert (age_ms, count, unsure) == (true_ms, true_count, 0)
    assert machine.life[0]["began_ms"] == at_ms
    assert machine.life[0]["ended_ms"] == times[-1][1]
    assert machine.wears["cycles"].tolist() == [0], "what sensors wear is not known since"


@given(some_times.filter(lambda times: len(times) <= STRETCHES), st.data())
def test_told_in_time_or_late_or_late_twice_a_life_goes_on_alike(times: Times, data: st.DataObject) -> None:
    heard = data.draw(st.integers(0, len(times)))
    at_ms = data.draw(st.integers(BEGAN_MS + 1, times[-1][1]))
    earlier_ms = data.draw(st.integers(BEGAN_MS, at_ms))
    before = [each for each in times if each[1] <= at_ms]
    in_time, late, twice = Machine(), Machine(), Machine()
    in_time.take(before)
    in_time.renew(at_ms)
    in_time.take(times[len(before) :])
    heard = max(heard, len(before))
    for machine, moments in ((late, [at_ms]), (twice, [earlier_ms, at_ms])):
        machine.take(times[:heard])
        for moment in moments:
            machine.renew(moment)
        machine.take(times[heard:])
        assert machine.life[0].item() == in_time.life[0].item()
        machine.take(times)

    for machine in (late, twice):
        assert machine.life[0].item() == in_time.life[0].item()
        assert machine.stretches.tobytes() == in_time.stretches.tobytes()


def test_years_of_a_machine_that_never_pauses_are_kept_in_as_little() -> None:
    machine = Machine()
    machine.take([(BEGAN_MS + n * 305_000, BEGAN_MS + n * 305_000 + 300_000) for n in range(50_000)])
    now_ms = int(machine.life["ended_ms"][0])
    for hours in (4000.0, 100.0, 24.0, 1.0):
        age_ms, _ = machine.renew(now_ms - int(hours * HOUR_MS))
        assert age_ms / HOUR_MS == pytest.approx(hours * 300 / 305, abs=10 / 3600 + hours * 1e-3)


def test_of_days_with_nights_and_breaks_the_last_are_kept_well() -> None:
    day = [(0, 4.0), (0.5, 4.0), (0.1, 3.4)]
    durations = [(int((pause or 12.0) * HOUR_MS), int(work * HOUR_MS)) for _ in range(40) for pause, work in day]
    times = times_of(durations)
    for hours in (3, 20, 50, 100):
        machine = Machine()
        machine.take(times)
        at_ms = times[-1][1] - hours * HOUR_MS
        assert machine.renew(at_ms)[0] == pytest.approx(since(times, at_ms)[0], abs=0.5 * HOUR_MS)


@given(st.lists(st.integers(40, 400), min_size=2, max_size=8), st.integers(0, 24), st.integers(20, 3000))
@example([100] * 5, 12, 150)
def test_models_are_given_the_same_age_when_maintenance_was_heard_of_late(
    pauses_s: list[int], heard: int, at_s: int
) -> None:
    # The first cycle, of 20 s, begins the first life, whenever in it the machine was maintained
    starts_s = np.cumsum([0, *(20 + pause for pause in pauses_s)]).tolist()
    records = records_of(cycles("m0", starts_s))
    live, renewed = spoken_of(1, "live", remaining_life()), maintained(2, "m0", BASE_MS + at_s * 1000)

    def ages(at: int) -> dict[int, float]:
        told = {0: [live, renewed]} if at == 0 else {0: [live], at: [renewed]}
        return {each.offset: each.inputs[3] for each in said(folded(partition(), records, [], FoldRules(), told))}

    place = min(heard, len(records))
    in_time, late = ages(0), ages(place)

    assert {at: age for at, age in late.items() if at >= place} == pytest.approx(
        {at: age for at, age in in_time.items() if at >= place}
    )
