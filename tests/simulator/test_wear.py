"""What wear does to a compressor's readings: worn seals heat and leak, worn governors race, and nothing leaves its bounds."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from simulator.wear import NOISE, SENSORS, Shape, health, operate, rested

SPEED, TEMPERATURE, PRESSURE, VIBRATION = range(4)
NEW = 80_000.0


def operated(seal_s: float = NEW, governor_s: float = NEW, seconds: int = 300, pace: float = 1.0, noise: float = 0.0):
    return operate(rested(), Shape((seal_s, governor_s), pace, seconds - 20), np.full((seconds, len(SENSORS)), noise))


def by_hand(seal_s: float, governor_s: float, seconds: int) -> list[tuple[float, float, float]]:
    """The laws as they are written in the docs."""
    speed, temperature, pressure = 0.0, 20.0, 101.0
    rows = []
    for second in range(seconds):
        h1, h2 = (1 - 0.05 - np.exp(-0.3 * (left - second) ** 0.2) for left in (seal_s, governor_s))
        desired = 1000 if second < seconds - 20 else 0
        speed = (speed + (2 - h2) * desired) / 2
        temperature = (2 - h1) * np.clip(temperature + (speed / 10 - temperature) * 0.01 * speed / 1000, 20, 120)
        pressure = h1 * max(pressure + (2 * speed - pressure) * 0.3 * speed / 1000, 101)
        rows.append((speed, temperature, pressure))
    return rows


@given(left_s=st.floats(0.0, 90_000.0), more_s=st.floats(0.0, 10_000.0))
def test_health_falls_from_below_95_per_cent_to_5_per_cent_below_nothing(left_s: float, more_s: float) -> None:
    assert health(0.0) == pytest.approx(-0.05)
    assert health(0.0) <= health(left_s) <= health(left_s + more_s) < 0.95


@given(seal_s=st.integers(300, 90_000), governor_s=st.integers(300, 90_000))
@settings(max_examples=20)
def test_a_cycle_follows_the_documented_laws(seal_s: int, governor_s: int) -> None:
    shown = operated(float(seal_s), float(governor_s), 300)

    assert shown[:, :VIBRATION] == pytest.approx(np.array(by_hand(seal_s, governor_s, 300)))


def test_readings_are_off_by_no_more_than_the_noise() -> None:
    shown = operated(noise=1.0) - operated(noise=0.0)

    assert shown == pytest.approx(np.broadcast_to(NOISE, shown.shape))


def test_a_worn_seal_heats_up_and_lets_pressure_off_and_leaves_the_speed_alone() -> None:
    new, worn = operated(), operated(seal_s=1_000.0)

    assert worn[200, TEMPERATURE] > new[200, TEMPERATURE] + 10
    assert worn[200, PRESSURE] < new[200, PRESSURE] - 300
    assert worn[:, SPEED].tolist() == new[:, SPEED].tolist()


def test_a_worn_governor_lets_speed_and_vibration_rise() -> None:
    new, worn = operated(), operated(governor_s=1_000.0)

    assert worn[200, SPEED] > new[200, SPEED] + 100
    assert worn[200, VIBRATION] / new[200, VIBRATION] == pytest.approx(worn[200, SPEED] / new[200, SPEED])


def test_a_compressor_coasts_down_in_the_last_twenty_seconds() -> None:
    speeds = operated()[:, SPEED]

    assert speeds[279] > 1_000
    assert speeds[280:] == pytest.approx(speeds[279] / 2.0 ** np.arange(1, 21))


def test_a_compressor_goes_on_as_the_last_cycle_left_it() -> None:
    state = rested()
    first = operate(state, Shape((NEW, NEW), 1.0, 280), np.zeros((300, 4)))
    second = operate(state, Shape((NEW, NEW), 1.0, 280), np.zeros((300, 4)))

    assert first[0, TEMPERATURE] < 30
    assert second[0, TEMPERATURE] > 100


def test_twice_the_pace_is_twice_as_near_to_the_failure() -> None:
    assert operated(2_000.0, 4_000.0, 60, pace=2.0)[-1] == pytest.approx(
        operate_until(1_000.0, 2_000.0, 60)[-1], rel=1e-3
    )


def operate_until(seal_s: float, governor_s: float, seconds: int):
    """At each second half as far from the failure: the same laws at pace 1, health by health."""
    state, rows = rested(), []
    for second in range(seconds):
        left = (2 * (seal_s - second), 2 * (governor_s - second))
        rows.append(operate(state, Shape(left, 1.0, int(second < seconds - 20)), np.zeros((1, 4)))[0])
    return rows


@given(seal_s=st.integers(1, 300), pace=st.sampled_from([0.01, 1.0, 1000.0]))
@settings(max_examples=20)
def test_up_to_the_last_second_of_a_life_every_reading_is_a_number_within_reason(seal_s: int, pace: float) -> None:
    shown = operated(seal_s * pace, 2 * seal_s * pace, seal_s, pace)

    assert np.isfinite(shown).all()
    assert shown.min() >= 0
    assert (shown.max(axis=0) < [2_100, 252, 2_100, 15]).all()
