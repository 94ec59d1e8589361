"""The novelty detector (R22): what is new, what is not any more, and that nothing upsets it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba import njit

from pipeline.core.detectors import refractory as quieting
from pipeline.core.detectors.novelty import (
    STATE,
    NoveltyDetector,
    NoveltyRules,
    novelty_learn,
    novelty_observe,
    novelty_score,
)
from pipeline.core.detectors.refractory import RefractoryRules, refractory

Floats = npt.NDArray[np.float64]

RULES = NoveltyRules(warm_up=50)
MINUTE_MS = 60_000
HUGE = 1e140
CLOCK = 1_700_000_000_000


@njit(cache=True)
def _score_and_learn(rows: Any, rules: Any, times_ms: Any, values: Any, scores: Any, twice: bool) -> None:
    """Score and learn by one kernel, or by two."""
    for i in range(len(values)):
        if twice:
            scores[i] = novelty_score(rows[0], rules, times_ms[i], values[i])[0]
            novelty_learn(rows[0], rules, times_ms[i], values[i])
        else:
            scores[i] = novelty_observe(rows[0], rules, times_ms[i], values[i])[0]


@njit(cache=True)
def _quieten(rows: Any, rules: Any, scores: Any) -> None:
    for i in range(len(scores)):
        scores[i] = refractory(rows[0], rules, scores[i])


def scored(values: Any, times_ms: Any = None, twice: bool = False, rules: NoveltyRules = RULES) -> tuple[Floats, Any]:
    """Scores of readings, a minute apart if no times are given, and the state after them."""
    values = np.asarray(values, np.float64)
    if times_ms is None:
        times_ms = CLOCK + MINUTE_MS * np.arange(len(values))
    rows, scores = np.zeros(1, STATE), np.empty(len(values))
    _score_and_learn(rows, rules, np.asarray(times_ms, np.int64), values, scores, twice)
    return scores, rows


def quietened(scores: list[float], quiet: int) -> list[float]:
    left = np.array(scores)
    _quieten(np.zeros(1, quieting.STATE), RefractoryRules(quiet), left)
    return left.tolist()


def noise(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(20.0, 1.0, count)


readings = st.lists(
    st.tuples(st.integers(-(2**50), 2**50), st.floats(-HUGE, HUGE, allow_subnormal=True)), min_size=1, max_size=200
)


@given(readings)
@example([(0, HUGE), (0, -HUGE)] * 60)
@example([(0, 5e-324), (-1, 0.0)] * 60)
@example([(0, 1.0)] * 120 + [(-(2**50), HUGE), (0, 1.0), (0, 1.0 + 2e-16)])
def test_scores_are_finite_and_those_of_two_kernels_equal_those_of_one(rows: list[tuple[int, float]]) -> None:
    times_ms, values = zip(*rows, strict=True)

    one, after_one = scored(values, times_ms, rules=RULES._replace(warm_up=1))
    two, after_two = scored(values, times_ms, twice=True, rules=RULES._replace(warm_up=1))

    assert np.isfinite(one).all()
    assert (one >= 0.0).all()
    assert one.tolist() == two.tolist()
    assert after_one.tobytes() == after_two.tobytes()
    assert all(np.isfinite(after_one[name]).all() for name in STATE.names)


def test_scoring_changes_nothing_and_does_not_know_the_reading() -> None:
    detector = NoveltyDetector(RULES)
    for n, value in enumerate(noise(200)):
        detector.learn_one({"t": value, "time_ms": CLOCK + n * MINUTE_MS})
    before = detector._row.tobytes()

    first = detector.score_one({"t": 40.0, "time_ms": CLOCK})
    second = detector.score_one({"t": 40.0, "time_ms": CLOCK})

    assert first == second > 1.0
    assert detector._row.tobytes() == before


def test_a_value_never_seen_is_novel_and_the_farther_the_more() -> None:
    known = noise(2000)

    near, far, farthest = (scored([*known, value])[0][-1] for value in (26.0, 40.0, 1e9))

    assert scored([*known, 20.0])[0][-1] == 0.0
    assert 0.0 < near < far < farthest


def test_scores_do_not_tie_however_far_a_value_is() -> None:
    known = noise(2000)

    scores = [scored([*known, 10.0**power])[0][-1] for power in range(3, 140, 10)]

    assert (np.diff(scores) > 0.0).all()


def test_what_was_seen_once_is_less_novel_again() -> None:
    scores, _ = scored([*noise(1000), 60.0, *noise(200, seed=1), 60.0])

    assert scores[1000] > 2.0
    assert scores[-1] < 0.5 * scores[1000]


def test_a_lasting_new_level_is_told_and_then_accepted() -> None:
    scores, _ = scored([*noise(2000), *(noise(4000, seed=1) + 30.0)])

    assert scores[2000] > 2.0
    assert scores[2500:].max() < 0.5 * scores[2000]
    assert np.count_nonzero(scores[-2000:] > 0.5) <= 2


def test_a_usual_value_at_an_unusual_time_of_day_is_novel_in_the_end() -> None:
    minutes = 15 * np.arange(96 * 21)
    by_day = np.where((minutes // 60) % 24 < 12, 10.0, 20.0) + np.random.default_rng(0).normal(0.0, 0.1, len(minutes))
    times_ms = minutes * MINUTE_MS
    other = by_day.copy()
    other[96 * 20 :] = 20.0

    usual, unusual = scored(by_day, times_ms)[0], scored(other, times_ms)[0]

    assert unusual[96 * 20 :].max() > 1.0
    assert usual[96 * 20 :].max() < 0.5 * unusual[96 * 20 :].max()


def test_a_constant_sensor_scores_nothing_until_it_moves() -> None:
    scores, _ = scored([7.0] * 500 + [7.1])

    assert not scores[:500].any()
    assert scores[500] > 2.0


def test_nothing_is_scored_before_enough_was_learned() -> None:
    values = [*noise(49), 1e6]

    assert not scored(values)[0].any()
    assert scored([*noise(50), 1e6])[0][-1] > 1.0


@pytest.mark.parametrize("step_ms", [0, -MINUTE_MS, 10 * 86_400_000])
def test_time_that_stands_still_runs_back_or_leaps_finds_the_same_novelty(step_ms: int) -> None:
    values = [*noise(1000), 60.0]

    scores, _ = scored(values, CLOCK + step_ms * np.arange(1001))

    assert scores[-1] > 2.0
    assert np.count_nonzero(scores[500:1000]) < 30


def test_scores_do_not_depend_on_the_unit() -> None:
    values = noise(1000)

    scores = scored(values)[0]

    assert scores.any()
    assert scored(1024.0 * values)[0] == pytest.approx(scores)


def test_the_state_is_small_and_of_fixed_size() -> None:
    assert STATE.itemsize <= 2048
    assert scored(noise(10_000))[1].nbytes == STATE.itemsize


def test_a_copy_of_the_state_goes_on_as_the_state_does() -> None:
    values = noise(600)
    one = NoveltyDetector(RULES)
    for value in values[:300]:
        one.learn_one({"t": value})
    other = one.clone()
    assert other.score_one({"t": 99.0}) == 0.0, "a clone knows nothing"
    other._row = one._row.copy()

    for value in values[300:]:
        assert one.score_one({"t": value}) == other.score_one({"t": value})
        one.learn_one({"t": value})
        other.learn_one({"t": value})


def test_rivers_view_scores_as_the_kernels_do() -> None:
    values, detector = [*noise(300), 30.0], NoveltyDetector(RULES)
    by_kernel = scored(values)[0]

    for n, value in enumerate(values):
        x = {"t": value, "time_ms": CLOCK + MINUTE_MS * n}
        assert detector.score_one(x) == by_kernel[n]
        detector.learn_one(x)


def test_after_a_score_only_a_higher_one_is_let_through_for_a_while() -> None:
    assert quietened([0.0, 2.0, 1.0, 2.0, 3.0, 2.9, 0.0, 1.0], quiet=3) == [0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    assert quietened([2.0, 0.0, 0.0, 0.0, 1.0], quiet=3) == [2.0, 0.0, 0.0, 0.0, 1.0]
    assert quietened([2.0, 0.0, 0.0, 1.0], quiet=3) == [2.0, 0.0, 0.0, 0.0]


@given(st.lists(st.floats(0.0, 5.0), max_size=60), st.integers(0, 10), st.floats(0.0, 5.0))
def test_what_is_quietened_is_let_through_alike_at_every_threshold(
    scores: list[float], quiet: int, threshold: float
) -> None:
    left = quietened(scores, quiet)

    raised = [n for n, score in enumerate(left) if score > threshold]

    assert all(left[n] in (0.0, scores[n]) for n in range(len(scores)))
    assert all(b - a > quiet or left[b] > left[a] for a, b in pairwise(raised))
    if scores and max(scores) > 0.0:
        assert max(left) == max(scores)
