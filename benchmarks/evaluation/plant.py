"""Detectors against simulated machines: spikes and dips beside the oracle, faults by kind, false alarms on good days."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks import report
from benchmarks.evaluation.alarms import (
    TOGETHER,
    WARM_UP_MS,
    Counts,
    Detector,
    Flags,
    Floats,
    Integers,
    Tally,
    by_bank,
    judge,
    median,
    per_sensor,
)
from benchmarks.evaluation.oracle import likelihood_ratio
from pipeline.core.detectors.changes import ChangeDetector
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.detectors.mixture import MixtureDetector
from pipeline.core.detectors.stuck import StuckDetector
from pipeline.core.spikes import SpikeDetector, SpikeRules
from simulator.options import PUMP_FAULTS, SENSOR_FAULTS, PlantOptions
from simulator.sensors import LAB
from simulator.series import MACHINES, Series, series


def together(times_ms: Integers, values: Floats) -> Flags:
    """Return where a worker that has all detectors but the mixture on, by the default budget, raises its alarms."""
    alarms = by_bank(DetectorRules(TOGETHER), times_ms, values)
    flags = np.zeros(values.shape, np.bool_)
    flags[alarms["message"], alarms["slot"]] = True
    return flags


DETECTORS: Mapping[str, Detector] = {
    "spikes": per_sensor(SpikeDetector, SpikeRules().threshold),
    "mixture": per_sensor(MixtureDetector, math.log10(2.0)),
    "changes": per_sensor(ChangeDetector, 13.0),
    "stuck": per_sensor(StuckDetector, 8.0),
    "together": together,
}
"""What is judged; each is given machines that it has never seen, one after the other. What the mixture finds rather odd than
not is flagged, as by the oracle; the thresholds of the others are fixed, but for ``together``, whose alarms keep the budget."""

OF_SPIKES = ("spikes", "mixture")
"""Those that are there for spikes and dips."""


def main(arguments: Sequence[str]) -> None:
    """Print how the detectors do."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation plant", description=__doc__)
    parser.add_argument("--days", type=float, default=5.0, help="days of each machine")
    parser.add_argument("--machines", type=int, default=2, help="machines of each type, for each kind of fault")
    parser.add_argument("--seed", type=int, default=1_000, help="of the first machine; the others follow")
    parser.add_argument("--clean", action="store_true", help="without spikes and dips")
    parser.add_argument("--only", nargs="+", default=list(DETECTORS), choices=list(DETECTORS), help="detectors")
    parser.add_argument("--parts", nargs="+", default=["spikes", "faults"], choices=["spikes", "faults"])
    chosen = parser.parse_args(arguments)
    detectors = {name: DETECTORS[name] for name in chosen.only}
    options = PlantOptions(seed=chosen.seed, machines=2, pump_share=0.1, sensor_correlation=0.5)
    if chosen.clean:
        options = replace(options, spike_share=0.0, dip_share=0.0)
    if "spikes" in chosen.parts:
        lab = replace(PlantOptions(), machines=1, seed=chosen.seed)
        own = {name: detector for name, detector in detectors.items() if name in OF_SPIKES}
        print_spikes(spikes(own, lab, chosen.machines, chosen.days))
    if "faults" in chosen.parts:
        for machine_type in MACHINES:
            print_faults(machine_type, detectors, options, chosen.machines, chosen.days)


def spikes(
    detectors: Mapping[str, Detector], lab: PlantOptions, machines: int, days: float
) -> dict[str, dict[str, Counts]]:
    """Return by detector, the oracle among them, and by sensor how spikes and dips are found after the warm-up."""
    found = {name: {sensor: Counts() for sensor in (*LAB.sensors, "all")} for name in ("oracle", *detectors)}
    for seed in range(machines):
        truth = series(replace(lab, seed=lab.seed + seed), MACHINES["stamping_press"], days)
        judged = truth.times_ms >= truth.times_ms[0] + WARM_UP_MS
        flags = {name: detector(truth.times_ms, truth.values) for name, detector in detectors.items()}
        flags["oracle"] = likelihood_ratio(LAB, lab, truth.values)
        for name, each in flags.items():
            for column, sensor in enumerate(truth.sensors):
                odd, flagged = truth.marks[judged, column] != 0, each[judged, column]
                found[name][sensor].add(odd, flagged)
                found[name]["all"].add(odd, flagged)
    return found


def print_spikes(found: Mapping[str, Mapping[str, Counts]]) -> None:
    """Print a row per sensor and detector."""
    rows = [
        (sensor, name, counts.f1, counts.f1 - found["oracle"][sensor].f1, counts.precision, counts.recall)
        for sensor in found["oracle"]
        for name, counts in ((name, found[name][sensor]) for name in found)
    ]
    shown = [(sensor, name, *(f"{number:.4f}" for number in numbers)) for sensor, name, *numbers in rows]
    report.show("Spikes and dips, lab preset", ("sensor", "detector", "F1", "to oracle", "precision", "recall"), shown)


def print_faults(
    machine_type: str, detectors: Mapping[str, Detector], options: PlantOptions, machines: int, days: float
) -> None:
    """Print a row per kind of fault and detector, after one for days without faults."""
    kinds = (*SENSOR_FAULTS, *(PUMP_FAULTS if machine_type == "hvac_pump" else ()))
    rows = []
    good = tallies(detectors, fleet(options, machine_type, machines, days))
    for name, tally in good.items():
        rows.append(("none", name, *["–"] * 5, f"{tally.false_per_sensor_day:.3f}"))
    for kind in kinds:
        faulty = replace(options, fault_rate=3.0, fault_kinds=(kind,), seed=options.seed + 500)
        for name, tally in tallies(detectors, fleet(faulty, machine_type, machines, days)).items():
            numbers = (tally.precision, tally.recall, tally.by_chance(good[name].false_per_sensor_day))
            shown = (*(f"{number:.2f}" for number in numbers), f"{median(tally.delays):.0f}")
            rows.append((kind, name, tally.episodes, *shown, f"{tally.false_per_sensor_day:.3f}"))
    columns = ("fault", "detector", "episodes", "precision", "recall", "by chance", "delay", "false/sensor-day")
    report.show(f"{machine_type}: delay is the median, in readings", columns, rows)


def fleet(options: PlantOptions, machine_type: str, machines: int, days: float) -> list[Series]:
    """Return machines that have nothing in common but the options."""
    return [series(replace(options, seed=options.seed + nth), MACHINES[machine_type], days) for nth in range(machines)]


def tallies(detectors: Mapping[str, Detector], machines: Sequence[Series]) -> dict[str, Tally]:
    """Return what each detector is worth on machines."""
    found = {name: Tally() for name in detectors}
    for truth in machines:
        for name, detector in detectors.items():
            flags = detector(truth.times_ms, truth.values)
            if flags.shape != truth.values.shape or flags.dtype != np.bool_:
                raise TypeError(f"{name} must return a flag for every reading")
            judge(found[name], truth, flags)
    return found
