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

# The best threshold of few files is a lucky one: what counts is how good its neighbours are with it
_NEIGHBOURS = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0


class HeldOut(NamedTuple):
    """Normalised scores on held-out files over several splits: mean and standard deviation by profile."""

    means: dict[str, float]
    spreads: dict[str, float]


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


def curves(files: Sequence[Series], score: Score, choice: Choice, profile: Profile) -> Floats:
    """Return the raw score of each file at each of :data:`THRESHOLDS`, shape (files, thresholds)."""
    return np.array([raw_by_threshold(score(file, choice), file.rows, profile, THRESHOLDS) for file in files])


def _smooth(curve: Floats) -> Floats:
    return np.convolve(np.pad(curve, 2, mode="edge"), _NEIGHBOURS, "valid")


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
    """Chooses rules on some files by coordinate descent, each rule among a few values, and remembers every file's curve.

    Parameters
    ----------
    files, score
        What is scored, and how.
    grid
        The values to choose from, by rule.
    profile
        The profile that the rules are chosen for.
    """

    def __init__(
        self, files: Sequence[Series], score: Score, grid: Mapping[str, Sequence[float]], profile: Profile
    ) -> None:
        self._files = files
        self._score = score
        self._grid = grid
        self._profile = profile
        self._known: dict[tuple[tuple[str, float], ...], dict[int, Floats]] = {}

    def _curves(self, choice: Choice, places: Sequence[int]) -> Floats:
        known = self._known.setdefault(tuple(sorted(choice.items())), {})
        for place in places:
            if place not in known:
                known[place] = curves([self._files[place]], self._score, choice, self._profile)[0]
        return np.array([known[place] for place in places])

    def _worth(self, choice: Choice, places: Sequence[int]) -> Floats:
        """Return each file's raw score at the threshold that is best for all of them, shape (places,)."""
        by_file = self._curves(choice, places)
        return np.array(by_file[:, _smooth(by_file.sum(axis=0)).argmax()])

    def choose(self, places: Sequence[int], start: Choice, rng: np.random.Generator, rounds: int) -> dict[str, float]:
        """Return the best choice that is found on the files at these places.

        Every rule is tried at all its values, in random order, ``rounds`` times. A value replaces another only if it is
        better by more than one standard error of the difference, taken over the files: few files favour many values by
        chance.
        """
        choice = dict(start)
        highest = self._worth(choice, places)
        for rule in [str(rule) for _ in range(rounds) for rule in rng.permutation(list(self._grid))]:
            for value in self._grid[rule]:
                other = {**choice, rule: value}
                worth = self._worth(other, places)
                gain = worth - highest
                if gain.sum() > np.sqrt(len(places)) * gain.std():
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
        Returns the rules for files at given places.
    """
    found: dict[str, list[float]] = {name: [] for name in profiles}
    for split, sides in enumerate(halves(files, splits, seed)):
        rng = np.random.default_rng(split)
        raw = dict.fromkeys(profiles, 0.0)
        for train, test in (sides, sides[::-1]):
            choice = choose(train, rng)
            for name, profile in profiles.items():
                by_file = curves(files, score, choice, profile)
                at = int(_smooth(by_file[train].sum(axis=0)).argmax())
                raw[name] += float(by_file[test, at].sum())
        count = sum(file.rows.count for file in files)
        for name, profile in profiles.items():
            found[name].append(normalised(raw[name], count, profile))
    return HeldOut(
        {name: float(np.mean(scores)) for name, scores in found.items()},
        {name: float(np.std(scores)) for name, scores in found.items()},
    )


def start_at_random(grid: Mapping[str, Sequence[float]], rng: np.random.Generator) -> dict[str, float]:
    """Return a choice of random values from a grid."""
    return {rule: float(rng.choice(np.asarray(values))) for rule, values in grid.items()}
