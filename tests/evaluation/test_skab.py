"""SKAB's two scores on cases worked by hand, and its files where they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.evaluation.skab import ALARM, CHANGE
from benchmarks.evaluation.skab_files import valve1
from benchmarks.evaluation.skab_runs import (
    AlarmPolicy,
    ChangePolicy,
    alarm_counts,
    alarms,
    change_counts,
    detections,
    in_halves,
    score,
)
from benchmarks.evaluation.skab_scoring import (
    AFTER_60_S,
    CENTRED_30_S,
    PROFILES,
    Changes,
    Confusion,
    confusion,
    find_changes,
    windows,
)
from pipeline.core.detectors.multivariate import MultivariateRules
from tests.datasets import dataset

STANDARD = PROFILES["standard"]


def _ms(*seconds: int) -> np.ndarray:
    return np.array(seconds, np.int64) * 1_000


def test_rows_are_counted_by_truth_and_alarm() -> None:
    faulty = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.bool_)
    alarmed = np.array([0, 0, 0, 1, 0, 1, 1, 1], np.bool_)

    counts = confusion(faulty, alarmed)

    assert counts == Confusion(hits=3, false_alarms=1, misses=1, silences=3)
    assert counts.f1 == pytest.approx(6 / 8)
    assert counts.false_alarm_rate == 25.0
    assert counts.missed_alarm_rate == 25.0
    assert counts.plus(Confusion(1, 0, 0, 0)).f1 == pytest.approx(8 / 10)


def test_an_alarm_on_every_row_misses_nothing_and_none_finds_nothing() -> None:
    faulty = np.array([0, 1, 1, 0], np.bool_)

    assert confusion(faulty, np.ones(4, np.bool_)).f1 == pytest.approx(2 * 2 / (2 * 2 + 2))
    assert confusion(faulty, np.ones(4, np.bool_)).false_alarm_rate == 100.0
    assert confusion(faulty, np.zeros(4, np.bool_)).f1 == 0.0
    assert confusion(np.zeros(4, np.bool_), np.zeros(4, np.bool_)).missed_alarm_rate == 0.0


def test_a_window_follows_its_change_and_gives_way_to_the_one_before() -> None:
    assert windows(_ms(100, 150, 500), AFTER_60_S) == [(100_000, 160_000), (160_000, 210_000), (500_000, 560_000)]
    assert windows(_ms(100), CENTRED_30_S) == [(85_000, 115_000)]


@pytest.mark.parametrize(
    ("detected", "delays", "missed", "false"),
    [
        ((100,), (0.0,), 0, 0),
        ((160,), (1.0,), 0, 0),
        ((130, 140, 150), (0.5,), 0, 0),
        ((99,), (), 1, 1),
        ((161,), (), 1, 1),
        ((), (), 1, 0),
        ((10, 115, 300), (0.25,), 0, 2),
    ],
)
def test_the_first_detection_in_a_window_counts_and_those_outside_are_false(
    detected: tuple[int, ...], delays: tuple[float, ...], missed: int, false: int
) -> None:
    assert find_changes(_ms(100), _ms(*detected), AFTER_60_S) == Changes(delays, missed, false)


def test_a_file_without_a_change_has_false_positives_only() -> None:
    assert find_changes(_ms(), _ms(5, 6), AFTER_60_S) == Changes((), 0, 2)
    with pytest.raises(ValueError, match="no change"):
        Changes((), 0, 2).score(STANDARD)


@pytest.mark.parametrize(
    ("found", "score"),
    [
        (Changes((0.0,), 0, 0), 100.0),
        (Changes((), 1, 0), 0.0),
        # Half way: (1 - 0.11) / 2 = 0.445, and (0.445 + 1) / 2
        (Changes((0.5,), 0, 0), 72.25),
        # At the right edge a detection is worth a false positive: (-0.11 + 1) / 2
        (Changes((1.0,), 0, 0), 44.5),
        # One at once, one missed, two false: (1 - 1 - 0.22 + 2) / 4
        (Changes((0.0,), 1, 2), 44.5),
        # tanh(π/4) / tanh(π/2) = 0.655794 / 0.917152 = 0.715033: (0.445 + 0.555 × 0.715033 + 1) / 2
        (Changes((0.25,), 0, 0), 92.0922),
    ],
)
def test_the_standard_profile_by_hand(found: Changes, score: float) -> None:
    assert found.score(STANDARD) == pytest.approx(score, abs=1e-3)


def test_the_other_profiles_weigh_false_and_missed_ones_twice() -> None:
    found = Changes((0.0,), 1, 2)

    assert found.score(PROFILES["low FP"]) == pytest.approx(100 * (1 - 1 - 0.44 + 2) / 4)
    assert found.score(PROFILES["low FN"]) == pytest.approx(100 * (1 - 2 - 0.22 + 4) / 6)


def test_an_alarm_lasts_until_the_score_is_well_below_the_threshold() -> None:
    scores = np.array([[0.0, 0], [5.0, 0], [3.0, 0], [2.0, 0], [1.9, 0], [3.0, 0], [4.1, 0]])

    assert alarms(scores, AlarmPolicy(4.0, 0.5)).tolist() == [False, True, True, True, False, False, True]


def test_no_change_is_told_soon_after_another() -> None:
    scores = np.array([[0, 9.0], [0, 9.0], [0, 0.0], [0, 9.0], [0, 9.0]])

    assert detections(scores, _ms(0, 1, 2, 3, 9), ChangePolicy(1.0, 3_000)).tolist() == [0, 3_000, 9_000]


def test_halves_share_no_file_and_each_is_judged_by_the_other() -> None:
    splits = in_halves(files=16, rounds=3, seed=0)

    assert len(splits) == 6
    for chosen_on, judged_on in splits:
        assert sorted([*chosen_on, *judged_on]) == list(range(16))
    assert [s.tolist() for s in splits[0]] == [s.tolist() for s in reversed(splits[1])]


def test_the_files_are_those_that_are_described() -> None:
    files = valve1(dataset("skab"))

    assert [file.name for file in files] == [str(n) for n in range(16)]
    assert sum(len(file.times_ms) for file in files) == 18_160
    assert sum(int(file.faulty.sum()) for file in files) == 6_309
    assert sum(int(file.changed.sum()) for file in files) == 63
    assert not any(file.faulty[:400].any() for file in files)
    assert math.isclose(sum(file.faulty[400:].sum() for file in files) / 11_760, 0.536, abs_tol=1e-3)


def test_one_configuration_meets_what_is_asked_for_on_the_real_files() -> None:
    files = valve1(dataset("skab"))
    alarm, change = Confusion(0, 0, 0, 0), Changes((), 0, 0)
    for file in files:
        scores = score(file, MultivariateRules())
        alarm = alarm.plus(alarm_counts(file, scores, ALARM))
        change = change.plus(change_counts(file, detections(scores, file.times_ms, CHANGE), AFTER_60_S))

    assert alarm.f1 > 0.85
    assert alarm.false_alarm_rate < 15.0
    assert change.score(STANDARD) > 65.0
    assert change.false_positives < 150
