"""Features of a machine's life: what each closed cycle changes, and what it must not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.prognosis.features import (
    BASE_CYCLES,
    FAST,
    HOUR_MS,
    LIFE,
    MACHINE_FEATURES,
    QUICK,
    SENSOR_FEATURES,
    SLOW,
    WEAR,
    begin_life,
    feature_names,
    gather,
    hours_per_day,
    plan,
    take_cycle,
    take_sensor,
)

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def worn(means: list[float], maxima: list[float] | None = None) -> np.ndarray:
    wears = np.zeros(1, WEAR)
    for mean, maximum in zip(means, maxima or means, strict=True):
        take_sensor(wears[0], mean, maximum)
    return wears


def gathered(life: np.ndarray, wears: np.ndarray, features: list[str], slots: dict[str, int]) -> list[float]:
    found = plan(features, slots)
    out = np.empty(len(features))
    gather(life[0], wears, found.slots, found.kinds, out)
    return out.tolist()


def faded(readings: list[float], rate: float) -> float:
    mean = 0.0
    for n, reading in enumerate(readings, 1):
        share = max(rate, 1.0 / n)
        mean = (1.0 - share) * mean + share * reading
    return mean


@given(values)
def test_a_sensors_state_is_what_the_formulas_say(means: list[float]) -> None:
    maxima = [mean + 1.0 for mean in means]

    wear = worn(means, maxima)[0]

    scale = max(1.0, *map(abs, means))
    expected = {
        "fast": faded(means, FAST),
        "slow": faded(means, SLOW),
        "quick": faded(means, QUICK),
        "quick_max": faded(maxima, QUICK),
        "base": float(np.mean(means[:BASE_CYCLES])),
        "base_max": float(np.mean(maxima[:BASE_CYCLES])),
        "last": means[-1],
        "last_max": maxima[-1],
    }
    assert {name: float(wear[name]) for name in expected} == pytest.approx(expected, abs=1e-9 * scale)
    assert wear["cycles"] == len(means)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_cycle_without_a_finite_mean_or_maximum_changes_nothing(wrong: float) -> None:
    before, after = worn([1.0, 2.0]), worn([1.0, 2.0])

    take_sensor(after[0], wrong, 3.0)
    take_sensor(after[0], 3.0, wrong)

    assert after.tobytes() == before.tobytes()


def test_every_feature_is_told_by_its_name() -> None:
    wears = worn([float(n) for n in range(30)], [float(n) + 5.0 for n in range(30)])
    life = np.zeros(1, LIFE)
    take_cycle(life[0], HOUR_MS, 4 * HOUR_MS)
    wear = wears[0]

    found = gathered(life, wears, list(feature_names(["oil.t"], SENSOR_FEATURES, MACHINE_FEATURES)), {"oil.t": 0})

    assert found == [
        wear["fast"], wear["fast"] - wear["slow"], wear["fast"] - wear["base"], wear["quick"], wear["quick"] - wear["base"],
        wear["quick_max"] - wear["base_max"], wear["last"], wear["last_max"], 3.0, math.log1p(3.0),
    ]  # fmt: skip


def test_what_a_machine_does_not_have_or_has_not_had_yet_is_nan() -> None:
    found = gathered(np.zeros(1, LIFE), np.zeros(1, WEAR), ["oil.fast", "speed.fast", "age", "log_age"], {"oil": 0})

    assert np.isnan(found).all()


@pytest.mark.parametrize("name", ["oil.median", "fast", "oil.", "", "age.fast-"])
def test_a_feature_that_does_not_exist_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"no feature '{name}'"):
        plan([name], {"oil": 0})


def test_a_cycle_that_comes_twice_or_late_or_ended_before_the_life_began_is_none_of_it() -> None:
    life = np.zeros(1, LIFE)
    begin_life(life, np.zeros(0, WEAR), 1000)

    taken = [
        take_cycle(life[0], *times) for times in [(100, 900), (500, 1000), (1500, 2500), (1500, 2500), (1200, 1400)]
    ]

    assert taken == [False, False, True, False, False]
    assert (life[0]["cycles"], life[0]["operating_ms"], life[0]["ended_ms"]) == (1, 1000, 2500)


def test_of_a_cycle_in_which_the_life_began_only_the_rest_is_operating_time() -> None:
    life = np.zeros(1, LIFE)
    begin_life(life, np.zeros(0, WEAR), 1000)

    assert take_cycle(life[0], 400, 1700)
    assert life[0]["operating_ms"] == 700


def test_cycles_that_overlap_count_each_moment_once() -> None:
    life = np.zeros(1, LIFE)
    assert take_cycle(life[0], 0, 20_000)
    assert take_cycle(life[0], 5_000, 25_000)
    assert int(life[0]["operating_ms"]) == 25_000


def test_a_repair_forgets_the_machines_sensors_and_leaves_the_others() -> None:
    lives, wears = np.zeros(2, LIFE), np.concatenate([worn([1.0]), worn([2.0]), worn([3.0])])
    take_cycle(lives[1], 100, 200)

    begin_life(lives[0:1], wears[0:2], 5000)

    assert wears["cycles"].tolist() == [0, 0, 1]
    assert lives["began_ms"].tolist() == [5000, 100]


def test_operating_hours_become_calendar_hours_at_the_pace_of_the_life() -> None:
    life = np.zeros(1, LIFE)
    for day in range(3):
        take_cycle(life[0], 24 * day * HOUR_MS, (24 * day + 6) * HOUR_MS)

    assert 24.0 * 9.0 / hours_per_day(life[0]) == pytest.approx(9.0 * 54.0 / 18.0)
    assert hours_per_day(np.zeros(1, LIFE)[0]) == 0.0
