"""What detectors cost per reading, in a bank of many sensors as the fold has it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import report
from pipeline.core.compiling import uncounted
from pipeline.core.detectors import mixture
from pipeline.core.spikes import SpikeRules, spike_learn, spike_score
from simulator.sensors import LAB, draw_marks, factors

Drive = Callable[[Any, Any, npt.NDArray[np.float64]], float]

SPIKES = np.dtype([("mean", np.float64), ("variance", np.float64), ("seen", np.int64), ("streak", np.int64)])


@uncounted
def _spikes(rows: Any, rules: Any, values: Any) -> float:
    threshold, fading, warm_up = rules
    total = 0.0
    for i in range(len(values)):
        for column in range(len(rows)):
            row, value = rows[column], values[i, column]
            score = spike_score(row.mean, row.variance, row.seen, value, warm_up)
            row.mean, row.variance, row.seen, row.streak = spike_learn(
                row.mean, row.variance, row.seen, row.streak, value, score, threshold, fading
            )
            total += abs(score)
    return total


@uncounted
def _mixture(rows: Any, rules: Any, values: Any) -> float:
    total = 0.0
    for i in range(len(values)):
        for column in range(len(rows)):
            total += mixture.mixture_observe(rows[column], rules, i, values[i, column])[0]
    return total


_SPIKE_RULES = SpikeRules()
BANKS: dict[str, tuple[np.dtype[Any], Any, Drive]] = {
    "spikes": (SPIKES, (_SPIKE_RULES.threshold, _SPIKE_RULES.fading, _SPIKE_RULES.warm_up), _spikes),
    "mixture": (mixture.STATE, mixture.MixtureRules(), _mixture),
}
"""Record, rules, and a loop that observes a row of readings after the other: one of each sensor."""


def main(arguments: Sequence[str]) -> None:
    """Print bytes per sensor and time per reading, the best of some rounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation cost", description=__doc__)
    parser.add_argument("--sensors", type=int, default=1_000)
    parser.add_argument("--readings", type=int, default=2_000, help="of each sensor")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    values = _lab(chosen.readings, chosen.sensors)
    rows = []
    for name, (state, rules, drive) in BANKS.items():
        drive(np.zeros(chosen.sensors, state), rules, values[:1])
        taken = min(_seconds(drive, np.zeros(chosen.sensors, state), rules, values) for _ in range(chosen.rounds))
        rows.append((name, state.itemsize, f"{taken / values.size * 1e6:.3f}"))
    report.show(f"{chosen.sensors:,} sensors, lab preset", ("detector", "bytes", "µs per reading"), rows)


def _seconds(drive: Drive, rows: npt.NDArray[Any], rules: object, values: npt.NDArray[np.float64]) -> float:
    began = time.perf_counter()
    drive(rows, rules, values)
    return time.perf_counter() - began


def _lab(count: int, sensors: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(0)
    values = random.standard_normal((count, sensors)) * 3.5 + LAB.means[np.arange(sensors) % len(LAB.means)]
    return values * factors(draw_marks(random, values.shape, 0.03, 0.03))
