"""What holds for every detector of the family (:mod:`tests.core.detectors.laws`)."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from river import base

from tests.core.detectors.laws import CASES, PERIOD_MS, Case, Kernels, Sample

WARM = 400
HARD = {
    "constant": [5.0] * 200,
    "zero": [0.0] * 200,
    "huge": [1e140, -1e140] * 100,
    "a huge one after small ones": [1e-300 * n for n in range(150)] + [1e140, -1e140] * 50,
    "small after huge": [1e140] * 100 + [float(n % 7) for n in range(200)],
    "tiny steps": [1.0 + n % 3 * 2.0**-52 for n in range(200)],
}

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
tolerant_cases = pytest.mark.parametrize(
    "case", [case for case in CASES if case.tolerates_missing], ids=lambda case: case.name
)
kernels = pytest.mark.parametrize(
    "kernels", [case.kernels for case in CASES if case.kernels], ids=[case.name for case in CASES if case.kernels]
)


def warm(case: Case) -> base.AnomalyDetector:
    detector = case.make()
    for sample in case.usual(WARM):
        detector.learn_one(sample)
    return detector


def scores(detector: base.AnomalyDetector, samples: list[Sample]) -> list[float]:
    found = []
    for sample in samples:
        found.append(detector.score_one(sample))
        detector.learn_one(sample)
    return found


def with_value(case: Case, value: float) -> Sample:
    """The unusual sample with all its sensors at a value."""
    return dict.fromkeys(case.unusual, value)


@cases
def test_what_is_unusual_scores_more_than_what_is_usual(case: Case) -> None:
    detector = warm(case)
    usual = sorted(scores(copy.deepcopy(detector), list(case.usual(WARM))))

    for _ in range(case.repeated - 1):
        detector.learn_one(case.unusual)

    assert detector.score_one(case.unusual) > usual[int(0.9 * len(usual))]


@cases
def test_scoring_changes_nothing(case: Case) -> None:
    detector = warm(case)
    before = pickle.dumps(detector)

    first = detector.score_one(case.unusual)

    assert pickle.dumps(detector) == before
    assert detector.score_one(case.unusual) == first


@cases
def test_a_sample_is_neither_changed_nor_kept(case: Case) -> None:
    detector, sample = warm(case), dict(case.unusual)
    again = copy.deepcopy(detector)

    assert scores(detector, [sample] * 3) == scores(again, [dict(case.unusual) for _ in range(3)])
    assert sample == case.unusual


@cases
def test_nothing_is_scored_before_anything_was_learned(case: Case) -> None:
    assert case.make().score_one(case.unusual) == 0.0


@cases
def test_a_copy_goes_on_as_the_original_does(case: Case) -> None:
    detector = warm(case)
    samples = [*case.usual(100), *[case.unusual] * 20]

    assert scores(pickle.loads(pickle.dumps(detector)), samples) == scores(detector, samples)


@cases
def test_the_same_readings_give_the_same_scores(case: Case) -> None:
    samples = list(case.usual(WARM))

    assert scores(case.make(), samples) == scores(case.make(), samples)


@cases
def test_a_clone_has_the_parameters_and_has_seen_nothing(case: Case) -> None:
    detector = warm(case)
    samples = list(case.usual(WARM))

    clone = detector.clone()

    assert type(clone) is type(detector)
    assert clone._get_params() == detector._get_params()
    assert scores(clone, samples) == scores(case.make(), samples)


@cases
def test_the_state_does_not_grow(case: Case) -> None:
    detector = warm(case)
    before = len(pickle.dumps(detector))

    for sample in case.usual(2 * WARM):
        detector.learn_one(sample)

    # Pickle writes a large whole number in a few bytes more than a small one
    assert len(pickle.dumps(detector)) <= before + 32


@tolerant_cases
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_poisons_nothing(case: Case, value: float) -> None:
    detector, untouched = warm(case), warm(case)

    detector.learn_one(with_value(case, value))

    assert detector.score_one(with_value(case, value)) == 0.0
    assert scores(detector, list(case.usual(100))) == scores(untouched, list(case.usual(100)))


@tolerant_cases
def test_a_sample_without_sensors_teaches_nothing(case: Case) -> None:
    detector, untouched = warm(case), warm(case)

    detector.learn_one({})

    assert detector.score_one({}) == 0.0
    assert scores(detector, [case.unusual] * 5) == scores(untouched, [case.unusual] * 5)


@cases
@pytest.mark.parametrize("values", HARD.values(), ids=HARD)
def test_hard_readings_have_finite_scores(case: Case, values: list[float]) -> None:
    found = scores(case.make(), [with_value(case, value) for value in values])

    assert all(math.isfinite(score) and score >= 0.0 for score in found)


@cases
def test_what_is_constant_by_nature_is_usual(case: Case) -> None:
    found = scores(case.make(), [with_value(case, 5.0)] * 500)

    assert max(found) < 1.0


def run(kernels: Kernels, kernel: str, rows: np.ndarray, times_ms: np.ndarray, values: np.ndarray) -> np.ndarray:
    found = np.empty(len(values))
    getattr(kernels, kernel)(rows, kernels.rules, times_ms, values, found)
    return found


def readings(count: int) -> np.ndarray:
    """Noise, a step, a run of one value, a huge value, and noise again."""
    values = np.random.default_rng(8).normal(20.0, 1.0, count)
    values[count // 3 : count // 2] += 6.0
    values[count // 2 : count // 2 + 40] = 20.5
    values[2 * count // 3] = 1e140
    return values


TIMES = {
    "on time": np.arange(1200) * PERIOD_MS,
    "standing still": np.full(1200, 1_764_000_000_000),
    "backwards": np.arange(1200)[::-1] * PERIOD_MS,
    "with gaps": np.arange(1200) * PERIOD_MS + np.arange(1200) // 100 * 86_400_000,
    "to and fro": np.random.default_rng(1).integers(-(2**40), 2**40, 1200),
}


@kernels
@pytest.mark.parametrize("times_ms", TIMES.values(), ids=TIMES)
def test_to_observe_is_to_score_and_then_to_learn_whatever_time_does(kernels: Kernels, times_ms: np.ndarray) -> None:
    one, two = np.zeros(1, kernels.state), np.zeros(1, kernels.state)

    both = run(kernels, "observe", one, times_ms, readings(1200))

    assert np.isfinite(both).all()
    np.testing.assert_array_equal(both, run(kernels, "learn", two, times_ms, readings(1200)))
    np.testing.assert_array_equal(one, two)


@kernels
def test_the_kernel_that_scores_leaves_the_state_as_it_is(kernels: Kernels) -> None:
    rows = np.zeros(1, kernels.state)
    run(kernels, "observe", rows, TIMES["on time"], readings(1200))
    before = rows.copy()

    run(kernels, "score", rows, TIMES["on time"], readings(1200))

    np.testing.assert_array_equal(rows, before)


@kernels
def test_a_row_that_was_copied_goes_on_with_the_same_scores(kernels: Kernels) -> None:
    rows, times_ms, values = np.zeros(1, kernels.state), TIMES["on time"], readings(1200)
    whole = run(kernels, "observe", rows.copy(), times_ms, values)
    run(kernels, "observe", rows, times_ms[:500], values[:500])

    stored = np.frombuffer(rows.tobytes(), kernels.state).copy()

    np.testing.assert_array_equal(run(kernels, "observe", stored, times_ms[500:], values[500:]), whole[500:])


@kernels
def test_a_record_is_small_and_plain(kernels: Kernels) -> None:
    assert kernels.state.itemsize <= 4096
    assert not kernels.state.hasobject
