"""Class of maintenance, learned row by row beside the rules: each row is told, then learned, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from river import forest, tree

from benchmarks.evaluation.datasets import dataset
from benchmarks.report import show
from pipeline.core.maintenance.rules import DEFAULT_RULES, CompiledRules, first_match
from pipeline.core.prognosis.maintenance_class_learner import WINDOWS, MaintenanceClassLearner
from pipeline.core.prognosis.trees import Tree, leaf_of

LEARNED_ROWS = 5_000
"""Rows that do not count."""

SENSORS = ("pressure", "temperature")
ORDERS = 10

Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def read(path: Path) -> tuple[Rows, Labels]:
    """Return pressure and temperature, and the class of each row."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return np.ascontiguousarray(table[:, :2]), table[:, 2].astype(np.int64)


def by_rules(rows: Rows) -> Labels:
    """Return the classes by the rules that hold where nobody added one."""
    rules = CompiledRules(DEFAULT_RULES)
    where, flat = np.array(rules.places(SENSORS)[0]), rows.reshape(-1)
    first = [first_match(rules.arrays, where, flat, 2 * row) for row in range(len(rows))]
    return np.append(rules.arrays.requirements, 0)[first]


def _by_river(model: Any, rows: Iterable[Sequence[float]], labels: Iterable[int]) -> Labels:
    told = []
    for row, label in zip(rows, labels, strict=True):
        named = dict(zip(SENSORS, row, strict=True))
        told.append(model.predict_one(named) or 0)
        model.learn_one(named, label)
    return np.array(told)


def _learned(rows: Rows, labels: Labels, windows: Sequence[int] = WINDOWS) -> Labels:
    return MaintenanceClassLearner(SENSORS, windows=windows).learn(rows, labels)


def _accuracy(told: Labels, labels: Labels) -> float:
    return float((told == labels)[LEARNED_ROWS:].mean() * 100)


def _show_file(rows: Rows, labels: Labels, with_forest: bool) -> None:
    found: list[tuple[str, Labels, float]] = []

    def add(name: str, told: Any) -> None:
        begun = process_time()
        answers = told()
        found.append((name, answers, (process_time() - begun) * 1e6 / len(labels)))

    _learned(rows[:600], labels[:600])
    add("learned", lambda: _learned(rows, labels))
    add("  windows half as long", lambda: _learned(rows, labels, [each // 2 for each in WINDOWS]))
    add("  windows twice as long", lambda: _learned(rows, labels, [each * 2 for each in WINDOWS]))
    add("rules", lambda: by_rules(rows))
    add("always 0", lambda: np.zeros_like(labels))
    add("River, HoeffdingTreeClassifier", lambda: _by_river(tree.HoeffdingTreeClassifier(), rows, labels))
    if with_forest:
        add("River, ARFClassifier, 10 trees", lambda: _by_river(forest.ARFClassifier(10, seed=1), rows, labels))
    stretches = [(0, 500), (500, 1000), (1000, LEARNED_ROWS), (LEARNED_ROWS, len(labels))]
    show(
        "Accuracy, each row told before it is learned, %",
        ["", *(f"rows {begin:,} to {end:,}" for begin, end in stretches), "µs per row"],
        [
            (name, *(f"{(told == labels)[begin:end].mean() * 100:.2f}" for begin, end in stretches), cost)
            for name, told, cost in found
        ],
    )


def _show_orders(rows: Rows, labels: Labels) -> None:
    figures = []
    for seed in range(ORDERS):
        order = np.random.default_rng(seed).permutation(len(labels))
        shuffled, their = rows[order], labels[order]
        figures.append((_accuracy(_learned(shuffled, their), their), _accuracy(by_rules(shuffled), their)))
    learned, ruled = np.array(figures).T
    print(
        f"{ORDERS} random orders, rows {LEARNED_ROWS:,} on: learned {learned.mean():.2f} ± {learned.std():.2f} %,"
        f" rules {ruled.mean():.2f} ± {ruled.std():.2f} %, difference {(learned - ruled).min():+.2f}"
        f" to {(learned - ruled).max():+.2f} points"
    )


def _show_drift(rows: Rows, labels: Labels, at: int = 10_000) -> None:
    """Show how soon a rule is followed that is another one from some row on."""
    changes = {
        "7,560 instead of 7,600 below 50": np.where((rows[:, 0] > 7560) & (rows[:, 1] < 50) & (labels == 0), 3, labels),
        "every class has another number": (labels + 1) % 6,
    }
    for name, changed in changes.items():
        told = _learned(rows, np.where(np.arange(len(labels)) < at, labels, changed))
        right = (told == changed)[at:]
        shown = "  ".join(f"{right[begin : begin + 256].mean() * 100:.1f}" for begin in range(0, 2_048, 256))
        print(f"from row {at:,} on {name}: {shown} % of each 256 rows")


def _show_model(rows: Rows, labels: Labels) -> None:
    half = len(labels) // 2
    learner = MaintenanceClassLearner(SENSORS)
    learner.learn(rows[:half], labels[:half])
    told = learner.model().predict(rows[half:])
    right = (told.classes == labels[half:]).mean()
    print(
        f"\nlearned on the first half; on the other {right:.4f} are right, mean probability {told.chances.mean():.4f}"
    )
    for leaf in learner.model().leaves():
        conditions = " and ".join(f"{sensor} {op} {value:g}" for sensor, op, value in leaf.conditions)
        print(f"  {leaf.requirement} with {leaf.chance:.3f} if {conditions}")
    print(f"a prediction takes {_cost_us(learner.model().tree, rows):.3f} µs")


@njit
def _drive(tree: Tree, where: Any, values: Any, rows: int) -> int:
    total = 0
    for row in range(rows):
        total += leaf_of(tree, where, values, row * 2)
    return total


def _cost_us(grown: Tree, rows: Rows, times: int = 50) -> float:
    where, flat = np.arange(2), rows.reshape(-1)
    _drive(grown, where, flat, 1)
    begun = process_time()
    for _ in range(times):
        _drive(grown, where, flat, len(rows))
    return (process_time() - begun) * 1e6 / (times * len(rows))


def main(arguments: Sequence[str]) -> None:
    """Show all figures; ``quick`` leaves out the forest, which takes a minute."""
    rows, labels = read(dataset("maintenance") / "maintenance.csv")
    _show_file(rows, labels, with_forest="quick" not in arguments)
    _show_orders(rows, labels)
    _show_drift(rows, labels)
    _show_model(rows, labels)
