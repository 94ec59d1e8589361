"""Spikes and dips by a mixture that is learned online (R20): nearly as good as knowing the numbers, and told none of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from benchmarks.evaluation.alarms import Counts
from benchmarks.evaluation.oracle import likelihood_ratio
from pipeline.core.compiling import uncounted
from pipeline.core.detectors.mixture import (
    FIRST,
    STATE,
    MixtureDetector,
    MixtureRules,
    mixture_learn,
    mixture_observe,
    mixture_score,
)
from simulator.options import PlantOptions
from simulator.sensors import LAB
from simulator.series import series

RULES = MixtureRules()
ODD = np.log10(2.0)
finite = st.floats(-1e140, 1e140)


@uncounted
def _observe(rows: Any, rules: Any, values: Any, scores: Any) -> None:
    for i in range(len(values)):
        for column in range(values.shape[1]):
            scores[i, column] = mixture_observe(rows[column], rules, 0, values[i, column])[0]


@uncounted
def _score_then_learn(rows: Any, rules: Any, values: Any, scores: Any) -> None:
    for i in range(len(values)):
        for column in range(values.shape[1]):
            scores[i, column] = mixture_score(rows[column], rules, 0, values[i, column])[0]
            mixture_learn(rows[column], rules, 0, values[i, column])


def observed(values: np.ndarray, rules: MixtureRules = RULES) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and the records after them, of sensors in columns."""
    columns = values.reshape(len(values), -1)
    rows, scores = np.zeros(columns.shape[1], STATE), np.zeros(columns.shape)
    _observe(rows, rules, columns, scores)
    return scores.reshape(values.shape), rows


def drawn(seed: int, count: int, mean: float, deviation: float, factors: tuple[float, float], share: float):
    random = np.random.default_rng(seed)
    values = random.normal(mean, deviation, count)
    marks = random.choice([0, 1, 2], count, p=[1 - 2 * share, share, share])
    return values * np.array([1.0, *factors])[marks], marks > 0


def test_on_the_lab_preset_it_is_within_a_hundredth_of_the_oracle_after_six_hours() -> None:
    lab = PlantOptions(machines=1)
    found, best = Counts(), Counts()
    for seed in range(4):
        truth = series(replace(lab, seed=seed), "press-00000", days=1.5)
        odd = truth.marks[4_320:] != 0
        found.add(odd, observed(truth.values)[0][4_320:] > ODD)
        best.add(odd, likelihood_ratio(LAB, lab, truth.values)[4_320:])

    assert 0.94 < best.f1 < 0.96
    assert found.f1 > best.f1 - 0.01


@pytest.mark.parametrize(("high", "low"), [(1.8, 0.6), (3.0, 0.2), (1.3, 0.75)])
def test_ratios_and_shares_of_outliers_are_learned_without_being_told(high: float, low: float) -> None:
    values, _ = drawn(1, 20_000, 50.0, 2.0, (high, low), 0.03)
    _, (row,) = observed(values)

    assert row["high"]["ratio"] == pytest.approx(high, rel=0.02)
    assert row["low"]["ratio"] == pytest.approx(low, rel=0.02)
    assert row["high"]["share"] == pytest.approx(0.03, rel=0.4)
    assert row["low"]["share"] == pytest.approx(0.03, rel=0.4)


def test_outliers_do_not_widen_what_is_normal() -> None:
    values, _ = drawn(2, 5_000, 50.0, 2.0, (1.8, 0.6), 0.05)
    _, (row,) = observed(values)

    assert row["mean"] == pytest.approx(50.0, abs=0.5)
    assert row["variance"] ** 0.5 == pytest.approx(2.0, rel=0.15)


def test_without_outliers_there_is_hardly_an_alarm() -> None:
    values, _ = drawn(3, 200_000, 50.0, 2.0, (1.0, 1.0), 0.0)

    assert (observed(values)[0] > ODD).sum() <= 5


def test_outliers_among_the_first_readings_are_no_harm() -> None:
    values, _ = drawn(4, 200, 50.0, 2.0, (1.0, 1.0), 0.0)
    values[[0, 5, 11]] = 90.0, 1e9, -40.0
    scores, (row,) = observed(values)

    assert row["mean"] == pytest.approx(50.0, abs=1.0)
    assert (scores > ODD).sum() == 0
    assert mixture_of(row, 90.0) > 10


def mixture_of(row: np.void, value: float) -> float:
    detector = MixtureDetector()
    detector._row[0] = row
    return detector.score_one({"sensor": value})


def test_while_warming_up_the_score_is_zero() -> None:
    values, _ = drawn(5, 100, 50.0, 2.0, (1.8, 0.6), 0.2)
    scores, _ = observed(values)

    assert not scores[: RULES.warm_up].any()
    assert scores[RULES.warm_up :].all()


def test_a_fault_is_not_learned_but_a_lasting_new_level_is() -> None:
    before, _ = drawn(6, 1_000, 50.0, 2.0, (1.0, 1.0), 0.0)
    _, (row,) = observed(np.concatenate([before, np.full(RULES.patience - 1, 80.0)]))
    assert row["mean"] == pytest.approx(50.0, abs=0.5)

    after, _ = drawn(7, 300, 80.0, 2.0, (1.0, 1.0), 0.0)
    scores, (row,) = observed(np.concatenate([before, after]))
    assert (scores[1_000 : 1_000 + RULES.patience] > ODD).all()
    assert (scores[1_000 + RULES.patience :] > ODD).sum() == 0
    assert row["mean"] == pytest.approx(80.0, abs=1.0)


def test_a_level_that_seems_usual_now_and_then_is_accepted_too() -> None:
    before, _ = drawn(13, 1_000, 50.0, 0.1, (1.0, 1.0), 0.0)
    after, _ = drawn(14, 500, 50.0, 2.0, (1.0, 1.0), 0.0)
    scores, (row,) = observed(np.concatenate([before, after]))

    assert (scores[1_000:1_100] <= ODD).sum() > 5
    assert (scores[1_000:1_100] > ODD).sum() >= RULES.patience
    assert (scores[1_100:] > ODD).sum() <= 5
    assert row["variance"] ** 0.5 == pytest.approx(2.0, rel=0.2)


def test_the_score_grows_without_bound() -> None:
    values, _ = drawn(8, 500, 50.0, 2.0, (1.0, 1.0), 0.0)
    _, (row,) = observed(values)
    scores = [mixture_of(row, value) for value in (50.0, 58.0, 60.0, 70.0, 90.0, 150.0, 1e4, 1e9, 1e100, 1e140)]

    assert scores == sorted(set(scores))
    assert np.isfinite(scores).all()


def test_what_is_large_does_not_jump_where_the_exponential_ends() -> None:
    values, _ = drawn(9, 500, 50.0, 2.0, (1.0, 1.0), 0.0)
    _, (row,) = observed(values)
    row["mean"], row["variance"], edge = 50.0, 4.0, 50.0 + 2.0 * 1_200**0.5

    assert mixture_of(row, edge - 1e-6) == pytest.approx(mixture_of(row, edge + 1e-6), rel=1e-3)


@pytest.mark.parametrize("scale", [-1.0, 1_000.0, 1e-3])
def test_units_and_signs_do_not_matter(scale: float) -> None:
    values, _ = drawn(10, 3_000, 50.0, 2.0, (1.8, 0.6), 0.03)

    assert observed(values * scale)[0] == pytest.approx(observed(values)[0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_sensor_that_reads_whole_numbers_or_switches_is_not_odd_when_it_moves_by_one(share: float) -> None:
    values = 20.0 + (np.random.default_rng(12).random(5_000) < share)
    scores, _ = observed(values)

    # The very first step is the only one that cannot be known
    assert (scores > ODD).sum() <= 1


def test_a_constant_sensor_is_odd_when_it_jumps() -> None:
    scores, _ = observed(np.concatenate([np.full(500, 20.0), [36.0]]))

    assert not scores[:-1].round(2).any()
    assert scores[-1] > 10


@given(st.lists(finite, min_size=1, max_size=80))
@example([0.0] * 40)
@example([7.0] * 40 + [7.5, 7.0])
@example([1e140, -1e140] * 30)
@example([5.0] * 20 + [1e140] * 45 + [-1e-300] * 40)
@settings(max_examples=60)
def test_whatever_is_read_scores_are_finite_and_observing_is_scoring_then_learning(values: list[float]) -> None:
    columns = np.array(values, np.float64).reshape(-1, 1)
    at_once, (row,) = observed(columns)
    rows, apart = np.zeros(1, STATE), np.zeros(columns.shape)
    _score_then_learn(rows, RULES, columns, apart)

    assert (at_once >= 0).all()
    assert np.isfinite(at_once).all()
    assert at_once.tolist() == apart.tolist()
    assert rows[0].tobytes() == row.tobytes()
    assert np.isfinite([row["mean"], row["variance"], *row["high"].tolist(), *row["low"].tolist()]).all()


def test_the_view_is_the_kernel_and_what_is_not_finite_teaches_nothing() -> None:
    values, _ = drawn(11, 300, 50.0, 2.0, (1.8, 0.6), 0.03)
    detector, seen = MixtureDetector(), []
    for value in values.tolist():
        seen.append(detector.score_one({"sensor": value}))
        assert detector.score_one({"sensor": value}) == seen[-1]
        detector.learn_one({"sensor": value})
        detector.learn_one({"sensor": float("nan")})

    assert seen == observed(values)[0].tolist()
    assert detector.clone().score_one({"sensor": 1e9}) == 0.0


def test_the_record_is_small() -> None:
    assert STATE.itemsize <= 256
    assert RULES.warm_up > FIRST
