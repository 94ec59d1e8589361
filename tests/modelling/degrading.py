"""A fleet whose machines wear out, each at its own pace: two sensors that show it, one that is only noise, one constant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.modelling.fleets import Life

SENSORS = ("heat", "speed", "noise", "constant")


def lives(units: int, seed: int = 0) -> list[Life]:
    """Return lives of 50 to 110 cycles; a sensor shows exp(-remaining / 25), with noise."""
    rng = np.random.default_rng(seed)
    made = []
    for unit in range(units):
        cycles = np.arange(1.0, rng.integers(50, 110) + 1)
        wear = np.exp(-(cycles[-1] - cycles) / 25.0)
        readings = np.column_stack([
            50.0 + 10.0 * wear + rng.normal(0.0, 0.3, len(cycles)),
            900.0 - 40.0 * wear + rng.normal(0.0, 2.0, len(cycles)),
            rng.normal(0.0, 1.0, len(cycles)),
            np.full(len(cycles), 14.62),
        ])  # fmt: skip
        made.append(Life(str(unit + 1), cycles, readings))
    return made


def cut(whole: Sequence[Life], seed: int = 1) -> tuple[list[Life], np.ndarray]:
    """Return lives that end too early, and how long each had still to go."""
    rng = np.random.default_rng(seed)
    ends = [int(rng.integers(20, len(life.cycles))) for life in whole]
    parts = [Life(life.unit, life.cycles[:end], life.readings[:end]) for life, end in zip(whole, ends, strict=True)]
    return parts, np.array([len(life.cycles) - end for life, end in zip(whole, ends, strict=True)], np.float64)


def rows(whole: Iterable[Life]) -> list[list[str]]:
    """Return the cells of a file without a header: unit, cycle, three settings, sensors."""
    return [
        [life.unit, f"{cycle:.0f}", "0.0", "0.0", "100.0", *(f"{each:.4f}" for each in readings)]
        for life in whole
        for cycle, readings in zip(life.cycles.tolist(), life.readings.tolist(), strict=True)
    ]


def text(cells: Iterable[Sequence[str]], delimiter: str = " ") -> str:
    """Return a file's text."""
    return "".join(f"{delimiter.join(row)}\n" for row in cells)
