"""What a reading costs in detectors of single sensors, and in all together as a worker runs them: the least of some rounds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import record, uncounted
from pipeline.core.detectors import changes, mixture, policy, pool, stuck
from pipeline.core.detectors.bank import DetectorBank
from pipeline.core.detectors.catalogue import DETECTORS
from pipeline.core.detectors.census import Census
from pipeline.core.detectors.configuration import all_on
from pipeline.core.kernel import Layouts, Messages

Array = npt.NDArray[Any]

SENSORS = 5
"""Of a machine."""

MESSAGES = 4_000
"""Of a batch, about."""

_ALONE = record([("score", policy.STATE), ("pool", pool.STATE)])


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
            total += policy.decide(rows[s].score, rows[s].pool, rules, n * 5_000, values[n, s])
    return total


DRIVERS: dict[str, tuple[Callable[..., float], np.dtype[Any], Any]] = {
    "changes": (observe_changes, changes.STATE, changes.ChangeRules()),
    "stuck": (observe_stuck, stuck.STATE, stuck.StuckRules()),
    "mixture": (observe_mixture, mixture.STATE, mixture.MixtureRules()),
    "policy, power 1": (decide_all, _ALONE, policy.AlarmRules()),
    "policy, power 2": (decide_all, _ALONE, policy.AlarmRules(power=2.0)),
}


def everything(values: Array) -> tuple[Callable[[], None], float]:
    """Return a pass of all detectors over readings, shape (times, sensors), and the bytes that they keep per sensor.

    Machines send :data:`SENSORS` readings per message, one message after the other, in batches of about :data:`MESSAGES`.
    """
    machines = values.shape[1] // SENSORS
    bank, rules = DetectorBank(), all_on()
    owners = np.repeat(np.arange(machines, dtype=np.int32), SENSORS)
    census = Census(["machine"] * machines, [f"s{n}" for n in range(SENSORS)] * machines, owners)
    slots = np.arange(len(owners), dtype=np.int32)
    begins = np.arange(0, len(slots) + 1, SENSORS)
    layouts = Layouts(owners[::SENSORS].copy(), np.zeros(machines, np.int64), begins, slots)
    pieces = np.array_split(np.arange(len(values)), max(len(values) * machines // MESSAGES, 1))
    batches = [_messages(values[piece, : len(slots)], piece * 5_000) for piece in pieces]

    def drive() -> None:
        for each in batches:
            bank.inspect(each, np.ones(len(each.offsets), np.bool_), layouts, rules, census)

    drive()
    return drive, sum(each.nbytes for each in bank.to_arrays().values() if isinstance(each, np.ndarray)) / len(slots)


def _messages(values: Array, times_ms: Array) -> Messages:
    machines = values.shape[1] // SENSORS
    at_ms = np.repeat(times_ms, machines)
    numbers = np.arange(len(at_ms))
    layouts = np.tile(np.arange(machines, dtype=np.int32), len(times_ms))
    indexes = np.zeros(len(at_ms), np.int32)
    return Messages(layouts, numbers, indexes, at_ms, at_ms, numbers, (numbers + 1) * SENSORS, values.ravel())


def least(drive: Callable[[], object], rounds: int) -> int:
    """Return the CPU time of a pass, ns: the least of some."""
    taken = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        drive()
        taken.append(time.process_time_ns() - begun)
    return min(taken)


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation costs", description=__doc__)
    parser.add_argument("--sensors", type=int, default=1_000, help=f"a multiple of {SENSORS}")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    values = np.random.default_rng(1).normal(20.0, 1.0, (300, options.sensors))
    print(f"CPU time per reading, and state per sensor; a bank of {options.sensors} sensors")
    for name, (observe, state, rules) in DRIVERS.items():
        rows = np.zeros(options.sensors, state)
        observe(rows, rules, values)
        _show(name, least(partial(observe, rows, rules, values), options.rounds) / values.size, state.itemsize)
    drive, size = everything(values)
    _show(f"all {len(DETECTORS)}, policies", least(drive, options.rounds) / values.size, size)


def _show(name: str, ns: float, size: float) -> None:
    print(f"{name:16} {ns / 1000:7.3f} µs {size:6.0f} bytes")
