"""Lives of compressors: how they begin, what ends them, and what is left of them at any time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from simulator.lives import Life, lives
from simulator.options import PlantOptions

HOUR_MS = 3_600_000

plants = st.builds(
    PlantOptions,
    seed=st.integers(0, 99),
    wear_pace=st.sampled_from([0.5, 1.0, 30.0, 1e6]),
    wear_age_share=st.sampled_from([0.0, 0.5, 1.0]),
    wear_planned_ms=st.sampled_from([0.0, 1.0, 5.0 * HOUR_MS]),
    wear_unplanned_ms=st.sampled_from([0.0, 1.0, 8.0 * HOUR_MS]),
)


def some(options: PlantOptions, count: int = 4, number: int = 0) -> list[Life]:
    return list(islice(lives(options, number, f"compressor-{number:05d}", "aurora"), count))


def fleet(machines: int = 150, count: int = 3, **options: object) -> list[Life]:
    return [life for number in range(machines) for life in some(PlantOptions(**options), count, number)]


@given(plants)
@settings(max_examples=50)
def test_the_same_options_give_the_same_lives(options: PlantOptions) -> None:
    assert some(options) == some(options)


@given(plants)
@settings(max_examples=50)
def test_lives_follow_each_other_with_a_repair_between_them(options: PlantOptions) -> None:
    found = some(options)

    assert [life.number for life in found] == [0, 1, 2, 3]
    assert all(life.began_ms <= life.ended_ms < life.repaired_ms for life in found)
    assert all(after.began_ms == before.repaired_ms >= before.ended_ms + 60_000 for before, after in pairwise(found))


@given(plants)
@settings(max_examples=50)
def test_a_life_ends_in_the_second_in_which_its_first_mode_fails_or_after_a_whole_cycle(options: PlantOptions) -> None:
    for life in some(options):
        operated_s, fails_s = life.age_s + sum(life.cycles_s), min(life.fails_s)
        assert life.component == ("seal" if life.fails_s[0] <= life.fails_s[1] else "governor")
        assert all(length_s in (60, 120, 180, 240, 300) for length_s in life.cycles_s[:-1])
        assert 1 <= life.cycles_s[-1] <= 300
        if life.is_censored:
            assert operated_s < fails_s
            assert life.cycles_s[-1] % 60 == 0
        else:
            assert operated_s == fails_s


@given(plants)
@settings(max_examples=50)
def test_maintenance_makes_lives_shorter_and_changes_nothing_else(options: PlantOptions) -> None:
    # The first lives begin at the same time; the later ones do not, but are drawn alike
    for life, whole in zip(
        some(options), some(replace(options, wear_planned_ms=0.0, wear_unplanned_ms=0.0)), strict=True
    ):
        assert (life.fails_s, life.age_s, life.component) == (whole.fails_s, whole.age_s, whole.component)
        assert life.cycles_s == whole.cycles_s[: len(life.cycles_s)]
        assert whole.kind == "failure"


def test_planned_maintenance_comes_after_the_cycle_that_runs_when_it_is_due() -> None:
    found = [life for life in fleet(wear_planned_ms=2 * HOUR_MS, machines=40) if life.kind == "planned"]

    assert len(found) > 60
    for life in found:
        ends_ms = [start + 1_000 * (length - 1) for start, length in zip(life.starts_ms, life.cycles_s, strict=True)]
        assert ends_ms[-1] - life.began_ms >= 2 * HOUR_MS
        assert all(end_ms - life.began_ms < 2 * HOUR_MS for end_ms in ends_ms[:-1])


def test_a_machine_that_fails_before_is_not_maintained() -> None:
    assert {life.kind for life in fleet(wear_planned_ms=1000 * HOUR_MS, machines=20)} == {"failure"}


def test_unplanned_maintenance_takes_what_comes_first() -> None:
    kinds = [life.kind for life in fleet(wear_planned_ms=6 * HOUR_MS, wear_unplanned_ms=10 * HOUR_MS)]

    assert min(kinds.count(kind) for kind in ("failure", "planned", "unplanned")) > 50


def test_modes_fail_after_lives_that_are_evenly_distributed() -> None:
    found = fleet(machines=300)
    seal_s, governor_s = np.array([life.fails_s for life in found]).T

    assert 5_000 <= seal_s.min() < 5_500
    assert 49_500 < seal_s.max() <= 50_000
    assert 89_000 < governor_s.max() <= 90_000
    assert seal_s.mean() == pytest.approx(27_500, rel=0.05)
    assert governor_s.mean() == pytest.approx(47_500, rel=0.05)
    # P(seal first), from the two laws: 1 - (45,000 / 2) / 85,000
    assert np.mean([life.component == "seal" for life in found]) == pytest.approx(0.735, abs=0.05)


def test_fleets_begin_at_any_age_up_to_the_share_and_only_then() -> None:
    found = fleet(wear_age_share=0.8)
    shares = [life.age_s / min(life.fails_s) for life in found]
    first = [share for life, share in zip(found, shares, strict=True) if life.number == 0]

    assert min(first) < 0.05
    assert 0.75 < max(first) <= 0.8
    assert {life.age_s for life in found if life.number} == {0}


@given(pace=st.sampled_from([0.1, 2.0, 10.0]), seed=st.integers(0, 99))
def test_at_another_pace_the_same_lives_are_as_many_times_shorter(pace: float, seed: int) -> None:
    for life, paced in zip(some(PlantOptions(seed=seed)), some(PlantOptions(seed=seed, wear_pace=pace)), strict=True):
        assert [each * pace for each in paced.fails_s] == pytest.approx(life.fails_s, abs=pace)


@given(plants, st.data())
@settings(max_examples=50)
def test_what_is_left_falls_by_every_second_of_operation_and_not_while_idle(options: PlantOptions, data) -> None:
    life = data.draw(st.sampled_from(some(options)))
    nth = data.draw(st.integers(0, len(life.cycles_s) - 1))
    second = data.draw(st.integers(0, life.cycles_s[nth] - 1))
    operated_s = life.age_s + sum(life.cycles_s[:nth]) + second + 1

    assert life.left_s(life.starts_ms[nth] + 1_000 * second) == min(life.fails_s) - operated_s
    assert life.left_s(life.starts_ms[nth] + 1_000 * (second + 70)) <= min(life.fails_s) - operated_s


@given(plants)
@settings(max_examples=50)
def test_of_a_life_that_failed_nothing_is_left_at_its_end_nor_later(options: PlantOptions) -> None:
    for life in some(options):
        assert (life.left_s(life.ended_ms) == 0) == (not life.is_censored)
        assert life.left_s(life.repaired_ms) == life.left_s(life.ended_ms)
        assert life.left_s(life.ended_ms - 1_000) > life.left_s(life.ended_ms)
