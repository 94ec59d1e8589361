"""Remaining life of NASA's turbofan engines (C-MAPSS FD001): a fleet that works side by side, seen once."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.datasets import dataset
from pipeline.core.prognosis.remaining_life import Estimates, RemainingLife
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


def held_out(fleet: RunFile, design: Design, seed: int) -> tuple[Figures, Figures]:
    """Return the figures of engines that a model has not seen: of all rows that count, and of one of each engine.

    The engines are shared out to folds; each fold is told by a model that saw the others. The one row is drawn.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(fleet.lives))
    parts: list[Estimates] = []
    truths: list[Floats] = []
    last: list[int] = []
    for fold in range(FOLDS):
        out = set(order[fold::FOLDS].tolist())
        seen = RunFile(fleet.sensors, tuple(life for i, life in enumerate(fleet.lives) if i not in out))
        lives = [fleet.lives[i] for i in sorted(out)]
        best = learned(seen, HORIZON, design, seed)
        for life, estimates in zip(lives, told(best, lives, fleet.sensors), strict=True):
            remaining = life.cycles[-1] - life.cycles
            counts = np.flatnonzero((life.cycles >= YOUNGEST) & (remaining <= FURTHEST))
            last.append(sum(map(len, truths)) + int(rng.integers(len(counts))))
            parts.append(Estimates(*(each[counts] for each in estimates)))
            truths.append(remaining[counts])
    rows = Estimates(*map(np.concatenate, zip(*parts, strict=True)))
    all_truths = np.concatenate(truths)
    one = Estimates(*(each[last] for each in rows))
    return figures(rows, all_truths, HORIZON), figures(one, all_truths[last], HORIZON)


def microseconds(model: RemainingLife, rows: int = 20_000) -> float:
    """Return what an estimate costs, µs."""
    centres = model.parameters.feature_map.centres
    given = np.random.default_rng(0).normal(centres, 1.0, (rows, len(centres)))
    model.predict(given[:1])
    started = time.perf_counter()
    model.predict(given)
    return (time.perf_counter() - started) / rows * 1e6


def _print_row(label: str, found: Sequence[Figures]) -> None:
    """Print means and spreads over seeds."""
    means, spreads = np.mean(found, axis=0), np.std(found, axis=0)
    by_name = dict(zip(Figures._fields, zip(means, spreads, strict=True), strict=True))
    print(
        f"{label:58}"
        + "".join(f"{by_name[name][0]:8.2f} ± {by_name[name][1]:4.2f}" for name in ("rmse_capped", "rmse", "score"))
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
    rows, one = zip(*(held_out(fleet, design, seed) for seed in range(max(1, seeds // 2))), strict=True)
    _print_row(f"{name}: training engines held out, rows", rows)
    _print_row(f"{name}: training engines held out, one row each", one)
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
    print(f"{'':58}{'RMSE at 125':>15}{'RMSE':>15}{'score':>15}{'held %':>14}")
    found = {design: _print_design(fleet, test, truths, design, seeds) for design in ((), *CANDIDATES)}

    chosen = min(CANDIDATES, key=lambda design: found[design][0])
    print(f"Chosen by the training engines, each before it was learned: {', '.join(chosen)}")
    for name, rmse in REFERENCES.items():
        print(f"{name:58}{rmse:8.2f}")
    print(f"{microseconds(found[chosen][1].learner.model()):.1f} µs per estimate")
