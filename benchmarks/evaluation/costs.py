"""What a reading costs in each detector of single sensors: a driver over a bank of sensors, best of some rounds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.detectors import changes, mixture, policy, stuck

Array = npt.NDArray[Any]


@uncounted
def observe_changes(rows: Array, rules: Any, values: Array) -> float:
    """Observe readings, shape (times, sensors), by turns; return the sum of their scores."""
    total = 0.0
    for n in range(values.shape[0]):
        for s in range(values.shape[1]):
            total += changes.change_observe(rows[s], rules, n * 5_000, values[n, s])[0]
    return total


@uncounted
def observe_stuck(rows: Array, rules: Any, values: Array) -> float:
    """Observe readings as :func:`observe_changes` does."""
    total = 0.0
    for n in range(values.shape[0]):
        for s in range(values.shape[1]):
            total += stuck.stuck_observe(rows[s], rules, n * 5_000, values[n, s])[0]
    return total


@uncounted
def observe_mixture(rows: Array, rules: Any, values: Array) -> float:
    """Observe readings as :func:`observe_changes` does."""
    total = 0.0
    for n in range(values.shape[0]):
        for s in range(values.shape[1]):
            total += mixture.mixture_observe(rows[s], rules, n * 5_000, values[n, s])[0]
    return total


@uncounted
def decide_all(rows: Array, rules: Any, values: Array) -> float:
    """Decide on readings as if they were scores; return the number of alarms."""
    total = 0.0
    for n in range(values.shape[0]):
        for s in range(values.shape[1]):
            total += policy.decide(rows[s], rules, n * 5_000, values[n, s])
    return total


DRIVERS: dict[str, tuple[Callable[..., float], np.dtype[Any], Any]] = {
    "changes": (observe_changes, changes.STATE, changes.ChangeRules()),
    "stuck": (observe_stuck, stuck.STATE, stuck.StuckRules()),
    "mixture": (observe_mixture, mixture.STATE, mixture.MixtureRules()),
    "policy, power 1": (decide_all, policy.STATE, policy.AlarmRules()),
    "policy, power 2": (decide_all, policy.STATE, policy.AlarmRules(power=2.0)),
}


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation costs", description=__doc__)
    parser.add_argument("--sensors", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    values = np.random.default_rng(1).normal(20.0, 1.0, (300, options.sensors))
    print(f"CPU time per reading, a bank of {options.sensors} sensors")
    for name, (drive, state, rules) in DRIVERS.items():
        rows = np.zeros(options.sensors, state)
        drive(rows, rules, values)
        taken = []
        for _ in range(options.rounds):
            begun = time.process_time_ns()
            drive(rows, rules, values)
            taken.append(time.process_time_ns() - begun)
        print(f"{name:16} {min(taken) / values.size / 1000:7.3f} µs {state.itemsize:5} bytes")
