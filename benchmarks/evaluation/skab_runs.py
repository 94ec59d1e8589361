"""The machine detector over SKAB's files, under several rules and alarm policies: counts per file, to choose and to judge by.

Every file starts with an empty state: its first 400 rows warm the detector up, the rest are scored in one pass.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.skab_files import Experiment, Floats
from benchmarks.evaluation.skab_scoring import Bools, Changes, Confusion, Ints, Window, confusion, find_changes
from pipeline.core.compiling import uncounted
from pipeline.core.detectors.multivariate import STATE, WIDTH, MultivariateRules, multivariate_observe

TRAINING_ROWS = 400


class AlarmPolicy(NamedTuple):
    """An alarm begins above ``threshold`` and ends at the first score below ``kept`` times it; decimal places, (0, 1]."""

    threshold: float
    kept: float


class ChangePolicy(NamedTuple):
    """A change is told above ``threshold`` decimal places, and no other for ``refractory_ms``."""

    threshold: float
    refractory_ms: int


RULES = [
    MultivariateRules(fading=a, drifting=b, steady=c)
    for a, b, c in product((0.07, 0.1), (0.0, 0.1, 0.3), (0.2, 0.3, 0.4))
]
ALARM_POLICIES = [
    AlarmPolicy(a, b) for a, b in product((3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0), (0.3, 0.5, 1.0))
]
CHANGE_POLICIES = [
    ChangePolicy(a, b) for a, b in product((0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0), (20_000, 30_000, 45_000))
]


@uncounted
def _observe_all(states: Any, rules: Any, times_ms: Any, values: Any, present: Any, scores: Any) -> None:
    for i in range(len(times_ms)):
        faulty, changed, _ = multivariate_observe(states[0], rules, times_ms[i], values[i], present)
        scores[i, 0], scores[i, 1] = faulty, changed


@uncounted
def _hold(scores: Any, threshold: float, cleared: float, alarmed: Any) -> None:
    on = False
    for i in range(len(scores)):
        on = scores[i] >= cleared if on else scores[i] > threshold
        alarmed[i] = on


@uncounted
def _tell(scores: Any, times_ms: Any, threshold: float, refractory_ms: int, told: Any) -> None:
    quiet_until_ms = times_ms[0]
    for i in range(len(scores)):
        told[i] = scores[i] > threshold and times_ms[i] >= quiet_until_ms
        if told[i]:
            quiet_until_ms = times_ms[i] + refractory_ms


def score(experiment: Experiment, rules: MultivariateRules) -> Floats:
    """Return (score, score of the shift) of every row, each before it is learned; shape (n, 2)."""
    scores = np.zeros((len(experiment.times_ms), 2))
    states, present = np.zeros(1, STATE), np.ones(WIDTH, np.bool_)
    _observe_all(states, rules, experiment.times_ms, experiment.values, present, scores)
    return scores


def alarms(scores: Floats, policy: AlarmPolicy) -> Bools:
    """Return the rows of a file on which the alarm is on; ``scores`` as :func:`score` gives them."""
    alarmed = np.zeros(len(scores), np.bool_)
    _hold(np.ascontiguousarray(scores[:, 0]), policy.threshold, policy.threshold * policy.kept, alarmed)
    return alarmed


def detections(scores: Floats, times_ms: Ints, policy: ChangePolicy) -> Ints:
    """Return when changes are told in a file, ms; ``scores`` as :func:`score` gives them."""
    told = np.zeros(len(scores), np.bool_)
    _tell(np.ascontiguousarray(scores[:, 1]), times_ms, policy.threshold, policy.refractory_ms, told)
    return times_ms[told]


def alarm_counts(experiment: Experiment, scores: Floats, policy: AlarmPolicy, since: int = TRAINING_ROWS) -> Confusion:
    """Count the alarms of a file's rows from ``since`` on."""
    return confusion(experiment.faulty[since:], alarms(scores, policy)[since:])


def change_counts(experiment: Experiment, detected_ms: Ints, window: Window) -> Changes:
    """Judge the changes that were told in a file."""
    return find_changes(experiment.times_ms[experiment.changed], detected_ms, window)


class Candidates(NamedTuple):
    """What every combination of rules and policy gives on every file; ``alarms[i][j]`` is choice ``i`` on file ``j``."""

    alarm_choices: list[tuple[MultivariateRules, AlarmPolicy]]
    alarms: list[list[Confusion]]
    change_choices: list[tuple[MultivariateRules, ChangePolicy]]
    changes: list[list[Changes]]


def candidates(files: list[Experiment], window: Window) -> Candidates:
    """Run all combinations over all files."""
    found = Candidates([], [], [], [])
    for rules in RULES:
        scores = [score(file, rules) for file in files]
        both = list(zip(files, scores, strict=True))
        for alarm in ALARM_POLICIES:
            found.alarm_choices.append((rules, alarm))
            found.alarms.append([alarm_counts(file, of, alarm) for file, of in both])
        for change in CHANGE_POLICIES:
            found.change_choices.append((rules, change))
            found.changes.append(
                [change_counts(file, detections(of, file.times_ms, change), window) for file, of in both]
            )
    return found


def blind_timer(experiment: Experiment, every: int, first: int) -> Ints:
    """Return the times of a timer that tells a change every so many rows, and looks at nothing; ms."""
    return experiment.times_ms[first::every]


def in_halves(files: int, rounds: int, seed: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return (chosen on, judged on) for random halves of the files, each half in both roles; 2 × ``rounds`` splits."""
    splits = []
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        order = random.permutation(files)
        one, other = order[: files // 2], order[files // 2 :]
        splits += [(one, other), (other, one)]
    return splits
