"""Change points: false alarms per ten sensor-days, and how soon steps of three standard deviations and drift are found."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.plants import PER_DAY, PERIOD_MS, PLANTS, Plant, noise, reading
from pipeline.core.compiling import uncounted
from pipeline.core.detectors import changes, policy, pool

THRESHOLDS = np.array([12.0, 13.0, 15.0])
SOON = 20
TRIED = 500
AGES = (300, 3_000)

Array = npt.NDArray[Any]


@uncounted
def upcrossings(rows: Array, rules: Any, plant: Any, count: int, seed: int, thresholds: Array, found: Array) -> None:
    """Count episodes above each threshold in ``found``, shape (thresholds, 2); one ends below half of it."""
    np.random.seed(seed)
    width, deviation = np.sqrt(1.0 - plant.correlation**2), 0.0
    for n in range(count):
        deviation = plant.correlation * deviation + width * noise(plant)
        score = abs(changes.change_observe(rows[0], rules, n * PERIOD_MS, reading(plant, n, deviation))[0])
        for t in range(len(thresholds)):
            if score > thresholds[t]:
                found[t, 0] += 1 - found[t, 1]
                found[t, 1] = 1
            elif score < 0.5 * thresholds[t]:
                found[t, 1] = 0


@uncounted
def delays(
    rows: Array, rules: Any, plant: Any, age: int, step: float, slope: float, seed: int, thresholds: Array, found: Array
) -> None:
    """Fill ``found``, shape (rows, thresholds), with the readings from a change to the alarm; left 0: none in time.

    Half of the changes go up, half down. An alarm before the change makes its row -1.
    """
    np.random.seed(seed)
    width = np.sqrt(1.0 - plant.correlation**2)
    for r in range(len(rows)):
        sign, deviation = 1.0 - 2.0 * (r % 2), np.random.standard_normal()
        for n in range(age + found.shape[2] - 1):
            deviation = plant.correlation * deviation + width * noise(plant)
            late = n - age + 1
            moved = sign * (step + slope * late) if late > 0 else 0.0
            value = reading(plant, n, deviation + moved)
            score = changes.change_observe(rows[r], rules, n * PERIOD_MS, value)[0]
            for t in range(len(thresholds)):
                if abs(score) > thresholds[t] and found[r, t, 0] == 0:
                    found[r, t, 0] = late if late > 0 and score * sign > 0.0 else -1


@uncounted
def alarms_in_time(
    rows: Array, states: Array, pools: Array, rules: Any, alarm_rules: Any, plant: Any, step: float, seed: int
) -> tuple[int, float]:
    """Return (steps that are an alarm of the policy within :data:`SOON` readings, the sum of thresholds) after a day."""
    np.random.seed(seed)
    width, found, total = np.sqrt(1.0 - plant.correlation**2), 0, 0.0
    for r in range(len(rows)):
        sign, deviation, alarm = 1.0 - 2.0 * (r % 2), np.random.standard_normal(), False
        for n in range(PER_DAY + SOON):
            deviation = plant.correlation * deviation + width * noise(plant)
            late = n >= PER_DAY
            value = reading(plant, n, deviation + (sign * step if late else 0.0))
            score = changes.change_observe(rows[r], rules, n * PERIOD_MS, value)[0]
            raised = policy.decide(states[r], pools[r], alarm_rules, n * PERIOD_MS, score)
            alarm |= raised and late and score * sign > 0.0
        found += alarm
        total += states[r].threshold
    return found, total


def false_alarms(plant: Plant, days: int, seed: int) -> npt.NDArray[np.float64]:
    """Return false alarms per ten sensor-days at each of :data:`THRESHOLDS`."""
    found = np.zeros((len(THRESHOLDS), 2), np.int64)
    rows = np.zeros(1, changes.STATE)
    upcrossings(rows, changes.ChangeRules(), plant, days * PER_DAY, seed, THRESHOLDS, found)
    return found[:, 0] / days * 10.0


def readings_until_found(
    plant: Plant, age: int, trials: int, seed: int, *, step: float = 0.0, slope: float = 0.0, within: int = SOON
) -> npt.NDArray[np.int64]:
    """Return delays, shape (trials, thresholds), of changes of a sensor that was seen ``age`` readings long."""
    found = np.zeros((trials, len(THRESHOLDS), within + 1), np.int64)
    rows = np.zeros(trials, changes.STATE)
    delays(rows, changes.ChangeRules(), plant, age, step, slope, seed, THRESHOLDS, found)
    return found[:, :, 0]


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation changes", description=__doc__)
    parser.add_argument("--days", type=int, default=200)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    print(f"False alarms per 10 sensor-days ({options.days} simulated); % of 3 σ steps found within {SOON} readings")
    print(f"{'thresholds':20} " + " ".join(f"{threshold:18.0f}" for threshold in THRESHOLDS))
    for name, plant in PLANTS.items():
        alarms = false_alarms(plant, options.days, options.seed)
        shares = [
            100.0 * (readings_until_found(plant, age, options.trials, options.seed, step=3.0) > 0).mean(axis=0)
            for age in AGES
        ]
        cells = (f"{alarms[t]:5.2f} {shares[0][t]:6.1f}{shares[1][t]:6.1f}" for t in range(len(THRESHOLDS)))
        print(f"{name:20} " + " ".join(cells))
    print("Steps that are an alarm within as many readings, after a day, at a budget of 1 per 10 days; mean threshold")
    for name, plant in PLANTS.items():
        rows, states = np.zeros(TRIED, changes.STATE), np.zeros(TRIED, policy.STATE)
        pools = np.zeros(TRIED, pool.STATE)
        rules = policy.AlarmRules(budget=0.1, initial=15.0)
        caught, total = alarms_in_time(rows, states, pools, changes.ChangeRules(), rules, plant, 3.0, options.seed)
        print(f"{name:20} {100.0 * caught / TRIED:6.1f} % {total / TRIED:6.1f}")
    print("Median readings until a drift per reading was found, from age 3,000 (0: by most not, within 6,000)")
    for slope in (0.01, 0.003, 0.002, 0.0015, 0.001):
        found = readings_until_found(Plant(), 3_000, 200, options.seed, slope=slope, within=6_000)
        print(f"{slope:7.4f} σ " + " ".join(f"{np.median(found[:, t]):8.0f}" for t in range(len(THRESHOLDS))))
