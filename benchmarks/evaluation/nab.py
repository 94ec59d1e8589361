"""Range novelty on the Numenta Anomaly Benchmark: in sample, as its leaderboard is made, and on files held out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.evaluation.datasets import dataset
from benchmarks.evaluation.nab_files import Series, profiles, read
from benchmarks.evaluation.nab_scoring import Best, Floats, Profile, best, joined
from benchmarks.evaluation.nab_validation import FACTORS, Choice, HeldOut, Tuner, distance, held_out, off_at_random
from pipeline.core.compiling import uncounted
from pipeline.core.detectors import novelty
from pipeline.core.detectors.novelty import NoveltyRules, quiet_novelty_observe

LEADERBOARD = {
    "ARTime": 75.7,
    "CAD OSE": 71.2,
    "htmjava": 69.7,
    "Numenta HTM": 68.9,
    "earthgecko Skyline": 57.9,
    "windowed Gaussian": 40.4,
}
"""Standard profile on the same files, threshold chosen in sample."""

CHOSEN = ("share", "step_rate", "decay", "slow_decay", "deviation_gain", "quiet")
"""The rules that are chosen again on half of the files: all but the warm-up, which the benchmark sets."""


@uncounted
def _observe_all(rows: Any, rules: Any, times_ms: Any, values: Any, scores: Any) -> None:
    for i in range(len(values)):
        scores[i] = quiet_novelty_observe(rows[0], rules, times_ms[i], values[i])[0]


@uncounted
def _observe_bank(rows: Any, rules: Any, start_ms: int, step_ms: int, values: Any) -> float:
    """Let every sensor of a bank see the values, in turn; return the sum of the scores."""
    total = 0.0
    for i in range(len(values)):
        for r in range(len(rows)):
            total += quiet_novelty_observe(rows[r], rules, start_ms + i * step_ms, values[i])[0]
    return total


def chosen_scores(series: Series, choice: Choice) -> Floats:
    """Return the score of each row of a file, one pass, each scored before it is learned.

    The rules are the default ones with some of them replaced by those of a choice.
    """
    rules = NoveltyRules()._replace(**(choice | ({"quiet": int(choice["quiet"])} if "quiet" in choice else {})))
    scores = np.empty(len(series.values))
    _observe_all(np.zeros(1, novelty.QUIET_STATE), rules, series.times_ms, series.values, scores)
    return scores


def timer_scores(series: Series, period: int) -> Floats:
    """Return what a clock that knows nothing would score: 1 every so many rows, else 0."""
    return (np.arange(len(series.values)) % period == 0).astype(np.float64)


def in_sample(files: Sequence[Series], scores: Sequence[Floats], profile: Profile) -> Best:
    """Return the best threshold for all the files together, and the score there."""
    return best(np.concatenate(scores), joined([file.rows for file in files]), profile)


def defaults() -> dict[str, float]:
    """Return the default values of the rules in :data:`CHOSEN`."""
    return {rule: float(getattr(NoveltyRules(), rule)) for rule in CHOSEN}


def microseconds(sensors: int = 1000, rounds: int = 1000) -> float:
    """Return what a reading costs in a bank of sensors, µs."""
    values = np.random.default_rng(0).normal(size=rounds)
    rows = np.zeros(sensors, novelty.QUIET_STATE)
    _observe_bank(rows, NoveltyRules(), 0, 60_000, values[:1])
    started = time.perf_counter()
    _observe_bank(rows, NoveltyRules(), 0, 60_000, values)
    return (time.perf_counter() - started) / (sensors * rounds) * 1e6


def _print_held_out(label: str, found: HeldOut) -> None:
    far = np.mean([distance({**defaults(), **choice}, defaults()) for choice in found.choices])
    scores = "".join(f"{found.means[name]:8.1f} ±{found.spreads[name]:4.1f}" for name in found.means)
    print(f"{label:44}{scores}   {far:.2f} doublings from the default")


def _print_in_sample(label: str, files: list[Series], scores: list[Floats], of: dict[str, Profile]) -> None:
    print(f"{label:44}" + "".join(f"{in_sample(files, scores, profile).score:8.1f}      " for profile in of.values()))


def _lowest(files: Sequence[Series], profile: Profile) -> float:
    choices = [{rule: value * factor} for rule, value in defaults().items() for factor in FACTORS]
    return min(in_sample(files, [chosen_scores(file, choice) for file in files], profile).score for choice in choices)


def main(arguments: Sequence[str] = ()) -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation nab", description=__doc__)
    parser.add_argument("--splits", type=int, default=40, help="random splits of the files into halves")
    splits = parser.parse_args(arguments).splits
    root = dataset("nab")
    files, of = read(root), profiles(root)
    tuner = Tuner(files, chosen_scores, of["standard"])
    print(f"{len(files)} files, {sum(len(file.values) for file in files):,} rows")
    print(f"{'':44}" + "".join(f"{name.removeprefix('reward_'):14}" for name in of))
    _print_in_sample("in sample: one threshold for all", files, [chosen_scores(file, {}) for file in files], of)
    for label, choose in {
        "held out: threshold of the other half": lambda _, __: {},
        "held out: the same, rules at random": lambda _, rng: off_at_random(defaults(), rng),
        "held out: rules, too, chosen from these": lambda half, rng: tuner.choose(
            half, off_at_random(defaults(), rng), rng
        ),
        "held out: rules, too, from the default": lambda half, rng: tuner.choose(half, defaults(), rng),
    }.items():
        _print_held_out(label, held_out(files, chosen_scores, of, splits, choose))
    _print_in_sample("a blind timer, every 400 rows", files, [timer_scores(file, 400) for file in files], of)
    for name, score in LEADERBOARD.items():
        print(f"{name + ' (in sample)':44}{score:8.1f}")
    print(f"Lowest in sample with one rule halved or doubled: {_lowest(files, of['standard']):.1f}, standard.")
    print(
        "Which numbers are watched, the rates of their means and the default rules were chosen with all files in view."
    )
    print(f"{microseconds():.3f} µs per reading, {novelty.QUIET_STATE.itemsize} bytes per sensor")
