"""Remaining life of NASA's turbofan engines (C-MAPSS FD001): a fleet that works side by side, seen once."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.datasets import dataset
from pipeline.core.prognosis.features import MACHINE_FEATURES, feature_names
from pipeline.core.prognosis.life_rows import EVERY
from pipeline.core.prognosis.remaining_life import Estimates, RemainingLife
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.modelling import cmapss_files
from pipeline.modelling.cmapss_files import RunFile
from pipeline.modelling.fleets import Life, features_of
from pipeline.modelling.remaining_life import (
    CANDIDATES,
    HORIZON,
    Figures,
    Learned,
    figures,
    last_estimates,
    learned,
    on_the_way,
)

REFERENCES = {"convolutional network (Li 2018), all 100 engines": 12.61, "gradient boosting, seen many times": 9.86}
"""RMSE, remaining life capped at 125."""

FOLDS = 5
YOUNGEST, FURTHEST = 31, 150
"""Rows of engines held out that count: from the age of the youngest test engine on, in cycles; not further from failure."""

Floats = npt.NDArray[np.float64]
Design = tuple[str, ...]


def told(best: Learned, lives: Sequence[Life], sensors: Sequence[str]) -> list[Estimates]:
    """Return what a model says of each life, after each cycle."""
    model = best.learner.model()
    return [model.predict(features_of(life, sensors, model.features)) for life in lives]


class HeldOut(NamedTuple):
    """Figures of engines that a model has not seen.

    Parameters
    ----------
    all_rows, rows, one
        Of all rows; of those that count; and of one of these of each engine, drawn.
    """

    all_rows: Figures
    rows: Figures
    one: Figures


def held_out(fleet: RunFile, design: Design, seed: int) -> HeldOut:
    """Return the figures of engines held out: they are shared out to folds, each told by a model that saw the others."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(fleet.lives))
    parts: list[Estimates] = []
    remaining: list[Floats] = []
    ages: list[Floats] = []
    for fold in range(FOLDS):
        out = set(order[fold::FOLDS].tolist())
        seen = RunFile(fleet.sensors, tuple(life for i, life in enumerate(fleet.lives) if i not in out))
        lives = [fleet.lives[i] for i in sorted(out)]
        parts += told(learned(seen, HORIZON, design, seed), lives, fleet.sensors)
        remaining += [life.cycles[-1] - life.cycles for life in lives]
        ages += [life.cycles for life in lives]
    counts = [(age >= YOUNGEST) & (left <= FURTHEST) for age, left in zip(ages, remaining, strict=True)]
    drawn = [np.arange(len(each)) == rng.choice(np.flatnonzero(each)) for each in counts]
    estimates, truths = Estimates(*map(np.concatenate, zip(*parts, strict=True))), np.concatenate(remaining)
    return HeldOut(
        *(
            figures(Estimates(*(each[which] for each in estimates)), truths[which], HORIZON)
            for which in (np.full(len(truths), True), np.concatenate(counts), np.concatenate(drawn))
        )
    )


def censored(fleet: RunFile, design: Design, seed: int) -> dict[str, tuple[float, float]]:
    """Return (mean error, RMSE), capped, of 30 engines held out, when many of the others are maintained before they fail.

    Each of the others is maintained at an age between 100 and 300 cycles, drawn, if it has not failed by then.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(fleet.lives)).tolist()
    limits = rng.uniform(100.0, 300.0, len(fleet.lives))
    features = feature_names(fleet.sensors, design, MACHINE_FEATURES)
    rows = [features_of(life, fleet.sensors, features) for life in fleet.lives]
    found = {}
    for label in ("left out", "used", "all fail"):
        learner = RemainingLifeLearner(features, HORIZON, seed=seed)
        for i in order[30:]:
            learner.see(rows[i][:100])
        for i in sorted(order[30:]):
            age = fleet.lives[i].cycles
            end = len(age) if label == "all fail" else int(np.searchsorted(age, limits[i]))
            part, remaining = rows[i][:end:EVERY], age[end - 1] - age[:end:EVERY]
            if end == len(age):
                learner.learn(part, remaining)
            elif label == "used":
                learner.learn_censored(part, remaining)
        model = learner.model()
        off = np.concatenate([
            model.predict(rows[i]).points - np.minimum(fleet.lives[i].cycles[-1] - fleet.lives[i].cycles, HORIZON)
            for i in order[:30]
        ])  # fmt: skip
        found[label] = float(off.mean()), float(np.sqrt(np.mean(off**2)))
    return found


def microseconds(model: RemainingLife, rows: int = 20_000) -> float:
    """Return what an estimate costs of a core, µs."""
    centres = model.parameters.feature_map.centres
    given = np.random.default_rng(0).normal(centres, 1.0, (rows, len(centres)))
    model.predict(given[:1])
    started = time.process_time()
    model.predict(given)
    return (time.process_time() - started) / rows * 1e6


def _print_row(label: str, found: Sequence[Figures]) -> None:
    """Print means and spreads over seeds."""
    means, spreads = np.mean(found, axis=0), np.std(found, axis=0)
    by_name = dict(zip(Figures._fields, zip(means, spreads, strict=True), strict=True))
    print(
        f"{label:76}"
        + "".join(f"{by_name[name][0]:8.2f} ± {by_name[name][1]:4.2f}" for name in ("rmse_capped", "rmse"))
        + (f"{by_name['score'][0]:10.2f} ± {by_name['score'][1]:4.2f}" if means[2] < 1000.0 else f"{'–':>17}")
        + f"{100.0 * by_name['coverage'][0]:8.1f} ± {100.0 * by_name['coverage'][1]:3.1f}"
    )


def _print_design(fleet: RunFile, test: RunFile, truths: Floats, design: Design, seeds: int) -> tuple[float, Learned]:
    """Print what comes of a design; return the RMSE on the way, and the last learner."""
    name = ", ".join(design) or "age only"
    runs = [learned(fleet, HORIZON, design, seed) for seed in range(seeds)]
    engines = test.lives[: len(truths)]
    _print_row(
        f"{name}: test engines, after their last cycle",
        [figures(last_estimates(run, engines, test.sensors), truths, HORIZON) for run in runs],
    )
    way = [on_the_way(run.judged, HORIZON) for run in runs]
    _print_row(f"{name}: training engines, each before it was learned", way)
    out = [held_out(fleet, design, seed) for seed in range(max(1, seeds // 2))]
    _print_row(f"{name}: training engines held out, all rows", [each.all_rows for each in out])
    _print_row(f"{name}: training engines held out, rows that count", [each.rows for each in out])
    _print_row(f"{name}: training engines held out, one row each", [each.one for each in out])
    return float(np.mean([each.rmse_capped for each in way])), runs[-1]


def main(arguments: Sequence[str] = ()) -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation cmapss", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="maps and orders of the engines")
    seeds = parser.parse_args(arguments).seeds
    root = dataset("cmapss")
    fleet, test = (cmapss_files.read(root / f"{name}_FD001.txt") for name in ("train", "test"))
    truths = np.array((root / "RUL_FD001.txt").read_text().split(), np.float64)
    print(f"{len(fleet.lives)} engines until they failed, {len(truths)} test engines; ± over {seeds} seeds")
    print(f"{'':76}{'RMSE at 125':>15}{'RMSE':>15}{'score':>17}{'held %':>14}")
    found = {design: _print_design(fleet, test, truths, design, seeds) for design in ((), *CANDIDATES)}

    chosen = min(CANDIDATES, key=lambda design: found[design][0])
    print(f"Chosen by the training engines, each before it was learned: {', '.join(chosen)}")
    runs = [censored(fleet, chosen, seed) for seed in range(seeds)]
    for label in runs[0]:
        bias, rmse = np.mean([run[label] for run in runs], axis=0)
        print(f"engines maintained before they fail, {label}: mean error {bias:.2f}, RMSE {rmse:.2f} of 30 held out")
    for name, rmse in REFERENCES.items():
        print(f"{name:76}{rmse:8.2f}")
    print(f"{microseconds(found[chosen][1].learner.model()):.1f} µs per estimate")
