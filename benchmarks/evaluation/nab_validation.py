"""How a detector does on files that neither its rules nor its threshold were chosen on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from benchmarks.evaluation.nab_files import Series
from benchmarks.evaluation.nab_scoring import OUTSIDE, Floats, Profile, normalised

Choice = Mapping[str, float]
Score = Callable[[Series, Choice], Floats]
"""Scores a file, shape (n,), by rules of one choice."""

THRESHOLDS = 0.2 * 1.05 ** np.arange(65)
"""The thresholds that are compared: 0.2 to 4.5, a twentieth apart."""

FACTORS = (0.5, 2.0)
"""What the value of a rule is multiplied by when it is tried."""

# The best threshold of few files is a lucky one: what counts is how good its neighbours are with it, to a quarter off
_FARTHEST = 5
_NEIGHBOURS = (_FARTHEST + 1.0 - np.abs(np.arange(-_FARTHEST, _FARTHEST + 1))) / (_FARTHEST + 1.0) ** 2


class HeldOut(NamedTuple):
    """Normalised scores on held-out files over several splits: mean and standard deviation by profile.

    ``choices`` are the rules that were chosen, one for each half.
    """

    means: dict[str, float]
    spreads: dict[str, float]
    choices: list[Choice]


@njit(cache=True, nogil=True)
def raw_by_threshold(scores: Floats, rows: Any, profile: Profile, thresholds: Floats) -> Floats:
    """Return one file's raw score at each of the thresholds, which ascend; both of shape (thresholds,)."""
    false_alarms = np.zeros(len(thresholds))
    earned = np.full((rows.count, len(thresholds)), -profile.fn)
    for i in range(len(scores)):
        at = np.searchsorted(thresholds, scores[i], side="right") - 1
        number = rows.windows[i]
        if at >= 0 and number == OUTSIDE:
            false_alarms[at] += profile.fp * rows.worths[i]
        elif at >= 0 and number >= 0:
            earned[number, at] = max(earned[number, at], profile.tp * rows.worths[i])
    raw = np.zeros(len(thresholds))
    total = 0.0
    for t in range(len(thresholds) - 1, -1, -1):
        total += false_alarms[t]
        raw[t] = total
        for number in range(rows.count):
            if t + 1 < len(thresholds):
                earned[number, t] = max(earned[number, t], earned[number, t + 1])
            raw[t] += earned[number, t]
    return raw


def curves(files: Sequence[Series], score: Score, choice: Choice, profiles: Sequence[Profile]) -> Floats:
    """Return the raw score of each file at each of :data:`THRESHOLDS`, shape (profiles, files, thresholds)."""
    scores = [score(file, choice) for file in files]
    return np.array(
        [
            [raw_by_threshold(of, file.rows, profile, THRESHOLDS) for of, file in zip(scores, files, strict=True)]
            for profile in profiles
        ]
    )


def best_threshold(by_file: Floats) -> int:
    """Return the place in :data:`THRESHOLDS` that is best for all files, given each one's curve: of a smoothed sum."""
    around = np.pad(by_file.sum(axis=0), _FARTHEST, mode="edge")
    return int(np.convolve(around, _NEIGHBOURS, "valid").argmax())


def halves(files: Sequence[Series], splits: int, seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield random halves of the files, as places; every category is halved."""
    rng = np.random.default_rng(seed)
    categories = sorted({file.category for file in files})
    for _ in range(splits):
        sides: tuple[list[int], list[int]] = ([], [])
        turn = int(rng.integers(2))
        for category in categories:
            for place in rng.permutation([i for i, file in enumerate(files) if file.category == category]):
                sides[turn].append(int(place))
                turn = 1 - turn
        yield sides


class Tuner:
    """Chooses rules on some files by coordinate descent, each once halved and once doubled.

    Parameters
    ----------
    files, score
        What is scored, and how.
    profile
        The profile that the rules are chosen for.
    """

    def __init__(self, files: Sequence[Series], score: Score, profile: Profile) -> None:
        self._files = files
        self._score = score
        self._profile = profile

    def _worth(self, choice: Choice, places: Sequence[int]) -> Floats:
        """Return each file's raw score at the threshold that is best for all of them, shape (places,)."""
        by_file = curves([self._files[place] for place in places], self._score, choice, [self._profile])[0]
        return np.array(by_file[:, best_threshold(by_file)])

    def choose(self, places: Sequence[int], start: Choice, rng: np.random.Generator) -> dict[str, float]:
        """Return the choice that the files at these places lead to from a given one, rule by rule in random order.

        A value replaces another only if it is better by more than one standard error of the difference, taken over the
        files: few files favour many values by chance. What one file alone gains is just one standard error, so never
        enough.
        """
        choice = dict(start)
        highest = self._worth(choice, places)
        for rule in (str(rule) for rule in rng.permutation(list(start))):
            for factor in FACTORS:
                other = {**choice, rule: start[rule] * factor}
                worth = self._worth(other, places)
                gain = worth - highest
                if gain.sum() > 1.000_001 * np.sqrt(len(places)) * gain.std(ddof=1):
                    choice, highest = other, worth
        return choice


def held_out(
    files: Sequence[Series],
    score: Score,
    profiles: Mapping[str, Profile],
    splits: int,
    choose: Callable[[Sequence[int], np.random.Generator], Choice],
    seed: int = 5,
) -> HeldOut:
    """Return how files are scored with rules and threshold of the other half, over random splits into halves.

    Parameters
    ----------
    choose
        Returns the rules for files at given places. The generator that it gets is at the same place for every way to
        choose, so that two that begin at random begin alike.
    """
    found: dict[str, list[float]] = {name: [] for name in profiles}
    choices = []
    count = sum(file.rows.count for file in files)
    for split, sides in enumerate(halves(files, splits, seed)):
        raw = dict.fromkeys(profiles, 0.0)
        for side, (train, test) in enumerate((sides, sides[::-1])):
            choices.append(choose(train, np.random.default_rng([split, side])))
            by_profile = curves(files, score, choices[-1], list(profiles.values()))
            for name, by_file in zip(profiles, by_profile, strict=True):
                raw[name] += float(by_file[test, best_threshold(by_file[train])].sum())
        for name, profile in profiles.items():
            found[name].append(normalised(raw[name], count, profile))
    return HeldOut(
        {name: float(np.mean(scores)) for name, scores in found.items()},
        {name: float(np.std(scores)) for name, scores in found.items()},
        choices,
    )


def off_at_random(choice: Choice, rng: np.random.Generator) -> dict[str, float]:
    """Return a choice with each value multiplied by something between a half and two, alike for the logarithm."""
    return {rule: value * 2.0 ** rng.uniform(-1.0, 1.0) for rule, value in choice.items()}


def distance(choice: Choice, other: Choice) -> float:
    """Return by how many doublings two choices' values differ, root mean square.

    Examples
    --------
    >>> distance({"share": 1.0, "quiet": 8.0}, {"share": 2.0, "quiet": 4.0})
    1.0
    """
    return float(np.sqrt(np.mean([np.log2(choice[rule] / other[rule]) ** 2 for rule in other])))
