"""NAB's score on cases worked by hand, and the detector on its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from benchmarks.evaluation.nab import chosen_scores, defaults, in_sample
from benchmarks.evaluation.nab_files import Series, profiles, read
from benchmarks.evaluation.nab_scoring import Profile, Rows, best, joined, probation, raw_at, rows_of, score_at
from benchmarks.evaluation.nab_validation import (
    THRESHOLDS,
    Choice,
    Tuner,
    best_threshold,
    halves,
    held_out,
    off_at_random,
    raw_by_threshold,
)
from tests.datasets import dataset

STANDARD = Profile(tp=1.0, fn=1.0, fp=0.11)
LOW_FN = Profile(tp=1.0, fn=2.0, fp=0.11)

ONE_WINDOW = rows_of(100, [(40, 49)])
"""A file of 100 rows; the first 15 do not count."""


def raised(*rows: int, count: int = 100) -> np.ndarray:
    """Scores of 1 at these rows and 0 elsewhere."""
    scores = np.zeros(count)
    scores[list(rows)] = 1.0
    return scores


@pytest.mark.parametrize(
    ("detected", "raw"),
    [
        pytest.param([40], 1.0, id="the window's first row"),
        pytest.param([49], 0.248242, id="its last row: sigmoid of -0.1 over that of -1"),
        pytest.param([42], 0.977107, id="its third row: sigmoid of -0.8 over that of -1"),
        pytest.param([42, 47], 0.977107, id="two in the window: the earliest counts, once"),
        pytest.param(
            [50], -1.0 - 0.11 * 0.270847, id="just behind: missed, and a false alarm at 1/9 of a width less a row"
        ),
        pytest.param([76], -1.0 - 0.11 * 0.9999994, id="three widths behind"),
        pytest.param([77], -1.0 - 0.11, id="farther behind: a false alarm in full"),
        pytest.param([20], -1.0 - 0.11, id="before any window: a false alarm in full"),
        pytest.param([], -1.0, id="nothing detected"),
        pytest.param([14], -1.0, id="only in probation: as if nothing"),
        pytest.param([15], -1.0 - 0.11, id="the first row after probation"),
        pytest.param([20, 40, 90], 1.0 - 0.22, id="detected, with two false alarms"),
    ],
)
def test_a_file_with_one_window_scores_as_worked_by_hand(detected: list[int], raw: float) -> None:
    assert raw_at(1.0, raised(*detected), ONE_WINDOW, STANDARD) == pytest.approx(raw, abs=1e-6)


def test_a_file_without_windows_can_only_lose() -> None:
    assert raw_at(1.0, raised(30, 60), rows_of(100, []), STANDARD) == pytest.approx(-0.22)


def test_nothing_is_0_and_perfection_is_100_in_every_profile() -> None:
    for profile in (STANDARD, LOW_FN):
        assert score_at(1.0, raised(), ONE_WINDOW, profile) == 0.0
        assert score_at(1.0, raised(40), ONE_WINDOW, profile) == 100.0
    assert score_at(1.0, raised(49), ONE_WINDOW, STANDARD) == pytest.approx(62.4121, abs=1e-4)
    assert score_at(1.0, raised(49), ONE_WINDOW, LOW_FN) == pytest.approx(74.9414, abs=1e-4)


def test_an_alarm_behind_two_windows_is_measured_from_the_nearer() -> None:
    rows = rows_of(100, [(20, 29), (40, 49)])

    assert rows.worths[50] == ONE_WINDOW.worths[50]
    assert rows.windows[[19, 20, 29, 30, 40]].tolist() == [-1, 0, 0, -1, 1]


def test_probation_is_15_percent_and_750_rows_at_most() -> None:
    assert [probation(n) for n in (10, 99, 1000, 5000, 22695)] == [1, 14, 150, 750, 750]


def test_one_threshold_is_chosen_for_all_files() -> None:
    quiet, loud = np.zeros(100), np.zeros(100)
    quiet[40], loud[40], loud[60:80] = 1.0, 3.0, 2.0
    rows = joined([ONE_WINDOW, ONE_WINDOW])

    found = best(np.concatenate([quiet, loud]), rows, STANDARD)

    assert (found.threshold, round(found.score, 4)) == (3.0, 50.0), (
        "twenty false alarms cost more than a window is worth"
    )
    loud[63:80] = 0.0
    assert best(np.concatenate([quiet, loud]), rows, STANDARD).threshold == 1.0


def test_the_sweep_finds_the_best_of_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = joined([rows_of(100, [(30, 39), (60, 75)]), rows_of(60, [(20, 29)]), rows_of(50, [])])
        scores = rng.integers(0, 30, len(rows.windows)) * (rng.random(len(rows.windows)) < 0.2) / 4.0

        found = best(scores, rows, STANDARD)

        tried = [score_at(threshold, scores, rows, STANDARD) for threshold in [np.inf, *np.unique(scores)]]
        assert found.score == pytest.approx(max(tried))
        assert score_at(found.threshold, scores, rows, STANDARD) == pytest.approx(found.score)


def test_curves_over_thresholds_equal_the_score_at_each() -> None:
    scores = np.random.default_rng(1).exponential(0.5, 100)

    by_threshold = raw_by_threshold(scores, ONE_WINDOW, STANDARD, THRESHOLDS)

    for at in (0, 20, 40, 64):
        assert by_threshold[at] == pytest.approx(raw_at(THRESHOLDS[at], scores, ONE_WINDOW, STANDARD))


def test_a_broad_best_is_preferred_to_a_lucky_one() -> None:
    curve = np.zeros((2, len(THRESHOLDS)))
    curve[0, 50] = 2.0
    curve[1, 10:25] = 1.0

    assert 12 <= best_threshold(curve) <= 22


def marked(name: str, row: int) -> Series:
    """A file of 100 rows whose window begins where its value is 1."""
    values = np.zeros(100)
    values[row] = 1.0
    return Series(f"{name}/{row}", np.arange(100), values, rows_of(100, [(row, row + 9)]))


FILES = [marked(name, row) for name in "ab" for row in range(20, 50, 5)]


def right_by(right: dict[str, float], files: list[Series] = FILES) -> Callable[[Series, Choice], np.ndarray]:
    """Score files by their values, and raise a false alarm for each rule that is off its right value in them."""

    def score(file: Series, choice: Choice) -> np.ndarray:
        scores = file.values.copy()
        if file in files:
            for row, (rule, value) in enumerate(right.items()):
                scores[90 + row] = float(choice[rule] != value)
        return scores

    return score


def test_rules_are_chosen_that_are_better_on_all_files_and_not_those_that_are_on_one() -> None:
    start, right, rng = {"one": 1.0, "two": 3.0}, {"one": 2.0, "two": 1.5}, np.random.default_rng(0)

    assert Tuner(FILES, right_by(right), STANDARD).choose(range(12), start, rng) == right
    assert Tuner(FILES, right_by(right, FILES[:1]), STANDARD).choose(range(12), start, rng) == start


def test_held_out_files_have_no_say_in_rules_or_threshold() -> None:
    seen: list[list[int]] = []

    def choose(half: Sequence[int], rng: np.random.Generator) -> Choice:
        seen.append(list(half))
        return off_at_random({"one": 4.0}, rng)

    # What is raised in half of the files is 1, in the others 3; right are thresholds below 1
    found = held_out(
        FILES, lambda file, _: file.values * (3.0 if file in FILES[::2] else 1.0), {"s": STANDARD}, 3, choose
    )

    assert all(sorted(one + two) == list(range(12)) for one, two in zip(seen[::2], seen[1::2], strict=True))
    assert all(2.0 <= choice["one"] <= 8.0 for choice in found.choices)
    assert len({choice["one"] for choice in found.choices}) == 6
    assert found.means["s"] == pytest.approx(100.0)


def test_a_sweep_over_two_hundred_thousand_rows_takes_less_than_a_second() -> None:
    rows = Rows(np.tile(ONE_WINDOW.windows, 2000), np.tile(ONE_WINDOW.worths, 2000), 1)
    scores = np.random.default_rng(2).random(200_000)
    best(scores[:100], ONE_WINDOW, STANDARD)

    started = time.process_time()
    best(scores, rows, STANDARD)

    assert time.process_time() - started < 1.0


def test_the_files_are_those_of_the_benchmark_and_halves_share_none() -> None:
    files = read(dataset("nab"))

    assert (len(files), sum(len(file.values) for file in files), sum(file.rows.count for file in files)) == (
        29,
        197_401,
        58,
    )
    for one, two in halves(files, 3, seed=0):
        assert sorted(one + two) == list(range(29))
        assert abs(len(one) - len(two)) <= 1


def test_the_detector_scores_above_76_on_the_files_by_one_threshold() -> None:
    root = dataset("nab")
    files = read(root)
    scores = [chosen_scores(file, defaults()) for file in files]

    found = {name: in_sample(files, scores, profile).score for name, profile in profiles(root).items()}

    assert found["standard"] > 76.0
    assert found["reward_low_FP_rate"] > 71.0
    assert found["reward_low_FN_rate"] > 80.0
