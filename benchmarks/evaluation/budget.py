"""Alarms per machine and day without any fault, against the budget.

Machines of five sensors run for a day to learn and for some days to be counted. The budget is shared by the scores of one
detector on the five sensors, or by those of all three; on simulated machines by all that a worker has, but the mixture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.alarms import MS_PER_DAY, TOGETHER, by_bank
from benchmarks.evaluation.plants import PER_DAY, PERIOD_MS, PLANTS, Plant, noise, reading
from pipeline.core import spikes
from pipeline.core.compiling import uncounted
from pipeline.core.detectors import catalogue, changes, policy, pool, stuck
from pipeline.core.detectors.configuration import DetectorRules
from simulator.options import PlantOptions
from simulator.series import MACHINES, series

SENSORS = 5
BUDGETS = (0.5, 1.0, 5.0)
DETECTORS = ("spike", "change", "stuck")
POLICIES = (
    policy.AlarmRules(power=2.0, initial=6.0),
    policy.AlarmRules(power=1.0, initial=15.0),
    policy.AlarmRules(power=1.0, initial=8.0),
)
SPIKE = np.dtype([("mean", np.float64), ("variance", np.float64), ("seen", np.int64), ("streak", np.int64)])

Array = npt.NDArray[Any]


@uncounted
def spike_score(state: Any, value: float) -> float:
    """Score and learn by the pipeline's spike detector."""
    score = spikes.spike_score(state.mean, state.variance, state.seen, value, 30)
    state.mean, state.variance, state.seen, state.streak = spikes.spike_learn(
        state.mean, state.variance, state.seen, state.streak, value, score, 4.5, 0.03
    )
    return score


@uncounted
def run_machine(
    plant: Any,
    days: int,
    seed: int,
    rules: Any,
    policies: Any,
    spike: Array,
    change: Array,
    still: Array,
    alone: Array,
    alone_pools: Array,
    together: Array,
    pools: Array,
    deviations: Array,
    scores: Array,
    alarms: Array,
) -> None:
    """Run one machine for a day and ``days`` more; add its alarms to ``alarms``, shape (budgets, detectors, 2)."""
    np.random.seed(seed)
    width = np.sqrt(1.0 - plant.correlation**2)
    for n in range((days + 1) * PER_DAY):
        at_ms, counts = n * PERIOD_MS, n >= PER_DAY
        for s in range(SENSORS):
            deviations[s] = plant.correlation * deviations[s] + width * noise(plant)
            value = reading(plant, n, deviations[s])
            scores[0, s] = spike_score(spike[s], value)
            scores[1, s] = changes.change_observe(change[s], rules[0], at_ms, value)[0]
            scores[2, s] = stuck.stuck_observe(still[s], rules[1], at_ms, value)[0]
        _decide(policies, at_ms, counts, scores, alone, alone_pools, together, pools, alarms)


@uncounted
def _decide(
    policies: Any,
    at_ms: int,
    counts: bool,
    scores: Array,
    alone: Array,
    alone_pools: Array,
    together: Array,
    pools: Array,
    alarms: Array,
) -> None:
    for b in range(len(alarms)):
        for s in range(SENSORS):
            for d in range(3):
                mine = policies[b][0] if d == 0 else policies[b][1] if d == 1 else policies[b][2]
                score, state = scores[d, s], together[b, d * SENSORS + s]
                alarms[b, d, 0] += policy.decide(alone[b, d, s], alone_pools[b, d], mine, at_ms, score) and counts
                alarms[b, d, 1] += policy.decide(state, pools[b], mine, at_ms, score) and counts


def false_alarms(plant: Plant, machines: int, days: int, seed: int) -> npt.NDArray[np.float64]:
    """Return alarms per machine and day, shape (budgets, detectors, 2): alone and all together."""
    alarms = np.zeros((len(BUDGETS), len(DETECTORS), 2), np.int64)
    policies = tuple(tuple(rules._replace(budget=budget) for rules in POLICIES) for budget in BUDGETS)
    for machine in range(machines):
        run_machine(
            plant, days, seed + machine, (changes.ChangeRules(), stuck.StuckRules()), policies,
            np.zeros(SENSORS, SPIKE), np.zeros(SENSORS, changes.STATE), np.zeros(SENSORS, stuck.STATE),
            np.zeros((len(BUDGETS), 3, SENSORS), policy.STATE), np.zeros((len(BUDGETS), 3), pool.STATE),
            np.zeros((len(BUDGETS), 3 * SENSORS), policy.STATE), np.zeros(len(BUDGETS), pool.STATE),
            np.zeros(SENSORS), np.zeros((3, SENSORS)), alarms,
        )  # fmt: skip
    return alarms / (machines * days)


def simulated(options: PlantOptions, machine_type: str, machines: int, days: int) -> npt.NDArray[np.float64]:
    """Return alarms per machine and day of each of :data:`TOGETHER` on simulated machines, shape (budgets, detectors)."""
    alarms = np.zeros((len(BUDGETS), len(catalogue.DETECTORS)))
    for machine in range(machines):
        truth = series(replace(options, seed=options.seed + machine), MACHINES[machine_type], days + 1)
        for b, budget in enumerate(BUDGETS):
            found = by_bank(DetectorRules(TOGETHER, budget), truth.times_ms, truth.values)
            later = truth.times_ms[found["message"]] >= truth.times_ms[0] + MS_PER_DAY
            np.add.at(alarms[b], found["detector"][later], 1)
    of = [catalogue.DETECTORS.index(catalogue.BY_NAME[name]) for name in TOGETHER]
    return alarms[:, of] / (machines * days)


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation budget", description=__doc__)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--days", type=int, default=4, help="counted, after one to learn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plants", nargs="*", default=list(PLANTS), choices=PLANTS, metavar="plant")
    parser.add_argument("--simulated", nargs="*", default=list(MACHINES), choices=MACHINES, metavar="machine type")
    options = parser.parse_args(arguments)
    print(f"False alarms per machine and day, {options.machines * options.days} machine-days of {SENSORS} sensors")
    print(f"{'sensors':20} {'budget':>6}  " + " ".join(f"{name:>8}" for name in (*DETECTORS, "all")))
    for name in options.plants:
        alarms = false_alarms(PLANTS[name], options.machines, options.days, options.seed)
        for budget, (alone, together) in zip(BUDGETS, alarms.transpose(0, 2, 1), strict=True):
            figures = (*alone, together.sum())
            print(f"{name:20} {budget:6.1f}  " + " ".join(f"{figure:8.2f}" for figure in figures))
    _print_simulated(options.simulated, options.machines, options.days, options.seed)


def _print_simulated(machine_types: Sequence[str], machines: int, days: int, seed: int) -> None:
    """Print a row per machine type, with spikes and dips and without, and budget."""
    print(f"{'simulated machines':28} {'budget':>6}  " + " ".join(f"{name:>12}" for name in (*TOGETHER, "all")))
    for machine_type in machine_types:
        usual = PlantOptions(seed=seed, machines=2, pump_share=0.1, sensor_correlation=0.5)
        for name, plant in (("", usual), (", clean", replace(usual, spike_share=0.0, dip_share=0.0))):
            for budget, alarms in zip(BUDGETS, simulated(plant, machine_type, machines, days), strict=True):
                figures = (*alarms, alarms.sum())
                cells = " ".join(f"{figure:12.2f}" for figure in figures)
                print(f"{machine_type + name:28} {budget:6.1f}  {cells}", flush=True)
