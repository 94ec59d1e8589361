"""The spike detector (R20, R29): what it learns from, and when a fault becomes the new level."""

from __future__ import annotations

import pytest

from pipeline.core.spikes import RELEARN_AFTER, SpikeDetector

WARM_UP = 30
HIGH = {"t": 80.0}


@pytest.fixture
def warm() -> SpikeDetector:
    """A detector that knows a sensor around 55."""
    detector = SpikeDetector(warm_up=WARM_UP)
    for n in range(2 * WARM_UP):
        detector.learn_one({"t": 55.0 + n % 3})
    return detector


def test_a_flagged_reading_teaches_nothing_until_it_is_the_new_level(warm: SpikeDetector) -> None:
    before = warm.score_one(HIGH)
    assert before > 4.5

    for _ in range(RELEARN_AFTER - 1):
        warm.learn_one(HIGH)
        assert warm.score_one(HIGH) == before
    warm.learn_one(HIGH)

    assert warm.score_one({"t": 55.0}) == 0.0, "it warms up again"
    for _ in range(WARM_UP):
        warm.learn_one(HIGH)
    assert warm.score_one(HIGH) == 0.0
    assert warm.score_one({"t": 55.0}) > 4.5


def test_a_reading_that_is_not_flagged_ends_the_run(warm: SpikeDetector) -> None:
    for _ in range(RELEARN_AFTER - 1):
        warm.learn_one(HIGH)
    warm.learn_one({"t": 56.0})

    warm.learn_one(HIGH)

    assert warm.score_one(HIGH) > 4.5


def test_nothing_is_scored_before_enough_was_learned() -> None:
    detector = SpikeDetector(warm_up=WARM_UP)
    for n in range(WARM_UP - 1):
        detector.learn_one({"t": 55.0 + n % 3})

    assert detector.score_one(HIGH) == 0.0
    detector.learn_one({"t": 55.0})
    assert detector.score_one(HIGH) > 4.5
