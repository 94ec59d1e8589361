"""The detector of stuck sensors (R21): what repeats by nature, what does not, and when a new nature is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.detectors.stuck import StuckDetector, StuckRules

RANDOM = np.random.default_rng(5)


def learn(detector: StuckDetector, values) -> list[float]:
    scores = []
    for value in values:
        scores.append(detector.score_one({"t": float(value)}))
        detector.learn_one({"t": float(value)})
    return scores


@pytest.fixture
def noisy() -> StuckDetector:
    """A detector that knows a sensor which hardly ever repeats itself."""
    detector = StuckDetector()
    learn(detector, RANDOM.normal(20.0, 1.0, 1000))
    return detector


def test_each_repetition_of_a_sensor_that_hardly_repeats_itself_is_a_decade(noisy: StuckDetector) -> None:
    scores = learn(noisy, [20.5] * 13)

    assert scores[0] == 0.0
    assert scores[1:] == pytest.approx(range(1, 13))


def test_a_run_ends_with_another_value(noisy: StuckDetector) -> None:
    learn(noisy, [20.5] * 30)

    assert learn(noisy, [21.0]) == [0.0]


def test_a_creeping_sensor_is_not_stuck(noisy: StuckDetector) -> None:
    scores = learn(noisy, 20.0 + 0.004 * np.arange(100))

    assert max(scores) < 5.0


def test_a_long_run_teaches_nothing_until_it_is_accepted(noisy: StuckDetector) -> None:
    rules = StuckRules()
    before = learn(noisy, [20.5] * 10)[-1]
    learn(noisy, [20.5] * (rules.patience - 50))
    learn(noisy, [19.0])

    assert learn(noisy, [20.5] * 10)[-1] == pytest.approx(before, rel=0.1)


def test_a_sensor_that_became_constant_is_usual_in_the_end(noisy: StuckDetector) -> None:
    scores = learn(noisy, [20.5] * 8000)

    assert max(scores) > 500.0
    assert scores[-1] < 1.0


def test_a_sensor_that_is_constant_by_nature_is_usual_for_ever() -> None:
    detector = StuckDetector()

    assert max(learn(detector, [20.5] * 30_000)) < 1.0


def test_a_sensor_that_was_constant_for_long_may_be_stuck_again_once_it_moved() -> None:
    detector = StuckDetector()
    learn(detector, [20.5] * 20_000)
    learn(detector, RANDOM.normal(20.0, 1.0, 2_500))

    assert learn(detector, [20.5] * 13)[-1] == pytest.approx(12.0)


def test_a_quantised_sensor_may_repeat_itself_more_often() -> None:
    values = np.rint(RANDOM.normal(20.0, 0.4, 3000))
    detector = StuckDetector()

    usual = learn(detector, values)

    assert max(usual) < 7.0
    assert learn(detector, [20.0] * 100)[-1] > 8.0


@given(st.integers(1, 400))
@settings(max_examples=20, derandomize=True)
@example(1)
@example(400)
def test_a_sensor_that_switches_between_two_values_is_usual(length: int) -> None:
    detector = StuckDetector()

    scores = learn(detector, [float(n // length % 2) for n in range(8 * length)])

    assert max(scores[4 * length :], default=0.0) < 4.0


def test_after_a_gap_a_run_begins_anew(noisy: StuckDetector) -> None:
    noisy.learn_one({"t": 20.5, "time_ms": 0.0})
    for n in range(10):
        noisy.learn_one({"t": 20.5, "time_ms": 5_000.0 * n})

    assert noisy.score_one({"t": 20.5, "time_ms": 50_000.0}) > 9.0
    assert noisy.score_one({"t": 20.5, "time_ms": 86_400_000.0}) == 0.0
