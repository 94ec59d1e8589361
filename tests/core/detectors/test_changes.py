"""The detector of changes (R21): steps and drift are found, spikes are none, and what lasts is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from pipeline.core.detectors.changes import STATE, ChangeDetector, ChangeRules, change_observe

THRESHOLD = 15.0
RULES = ChangeRules()


@njit(cache=True)
def _observe(rows, rules, times_ms, values, scores):
    for i in range(len(values)):
        scores[i] = change_observe(rows[0], rules, times_ms[i], values[i])[0]


def observe(rows: np.ndarray, values: np.ndarray, *, from_ms: int = 0) -> np.ndarray:
    scores = np.empty(len(values))
    _observe(rows, RULES, from_ms + 5_000 * np.arange(len(values)), values, scores)
    return scores


def noise(count: int, seed: int = 0, correlation: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=count)
    for n in range(1, count):
        values[n] = correlation * values[n - 1] + np.sqrt(1.0 - correlation**2) * values[n]
    return values


@given(
    st.integers(0, 10_000), st.sampled_from([-1, 1]), st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.floats(3.5, 100.0)
)
@settings(max_examples=40, derandomize=True)
@example(0, 1, 0.0, 1.0, 3.5)
@example(0, -1, 1e6, 1e-3, 100.0)
def test_a_step_is_found_within_20_readings_whatever_the_unit(
    seed: int, sign: int, mean: float, deviation: float, step: float
) -> None:
    rows = np.zeros(1, STATE)
    before = observe(rows, mean + max(deviation, abs(mean) * 1e-5) * noise(1000, seed))

    after = observe(rows, mean + max(deviation, abs(mean) * 1e-5) * (noise(20, seed + 1) + sign * step))

    assert abs(before).max() < THRESHOLD
    assert (sign * after).max() > THRESHOLD


@pytest.mark.parametrize("age", [300, 2000])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5])
def test_most_steps_of_autocorrelated_sensors_are_found_too(age: int, correlation: float) -> None:
    found = 0
    for seed in range(40):
        values = noise(age + 20, seed, correlation)
        values[age:] += 3.0
        found += observe(np.zeros(1, STATE), values)[age:].max() > THRESHOLD

    assert found >= 34


def test_a_young_baseline_is_not_believed_too_much() -> None:
    highest = [abs(observe(np.zeros(1, STATE), noise(300, seed, 0.5))).max() for seed in range(400)]

    assert np.quantile(highest, 0.99) < 9.0
    assert max(highest) < THRESHOLD


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_ten_days_without_a_change_have_no_alarm(correlation: float) -> None:
    scores = observe(np.zeros(1, STATE), 20.0 + noise(172_800, 1, correlation))

    assert abs(scores).max() < THRESHOLD


def test_single_spikes_are_no_change() -> None:
    random, values = np.random.default_rng(2), 55.0 + 2.4 * noise(20_000, 2)
    chance = random.random(len(values))
    values *= np.where(chance < 0.03, 1.8, np.where(chance < 0.06, 0.6, 1.0))
    rows = np.zeros(1, STATE)

    scores = observe(rows, values)

    assert abs(scores).max() < THRESHOLD
    assert rows["variance"][0] ** 0.5 == pytest.approx(2.4, rel=0.25)
    assert observe(rows, 55.0 + 7.2 + 2.4 * noise(20, 3)).max() > THRESHOLD


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_slow_drift_is_found_with_its_direction(sign: int) -> None:
    rows = np.zeros(1, STATE)
    observe(rows, noise(3000))

    scores = observe(rows, noise(2000, 1) + sign * 0.003 * np.arange(2000))

    assert (sign * scores).max() > THRESHOLD
    assert (sign * scores).min() > -THRESHOLD


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_lasting_level_is_accepted_and_told_apart_from_the_old_one(sign: int) -> None:
    rows = np.zeros(1, STATE)
    observe(rows, noise(1000))

    observe(rows, noise(400, 1) + sign * 8.0)

    assert (rows["accepted"][0], rows["direction"][0]) == (1, sign)
    assert abs(observe(rows, noise(500, 2) + sign * 8.0)).max() < THRESHOLD
    assert (-sign * observe(rows, noise(20, 3))).max() > THRESHOLD


def test_a_sensor_that_becomes_noisier_is_usual_in_the_end() -> None:
    rows = np.zeros(1, STATE)
    observe(rows, noise(2000))

    observe(rows, 5.0 * noise(10_000, 1))

    assert rows["variance"][0] ** 0.5 == pytest.approx(5.0, rel=0.2)


def test_sums_begin_anew_after_a_gap_and_the_level_is_remembered() -> None:
    rows = np.zeros(1, STATE)
    observe(rows, noise(1000))
    high = observe(rows, noise(6, 1) + 3.0, from_ms=5_000_000)[-1]

    after = observe(rows, noise(20, 2) + 3.0, from_ms=86_400_000)

    assert after[0] < 0.5 * high
    assert after.max() > THRESHOLD


def test_two_sensors_are_refused() -> None:
    with pytest.raises(ValueError, match="one sensor expected, not 2"):
        ChangeDetector().score_one({"a": 1.0, "b": 2.0})
