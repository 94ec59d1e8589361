"""The files of the Skoltech Anomaly Benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.skab_scoring import Bools, Ints

Floats = npt.NDArray[np.float64]

SENSORS = 8


class Experiment(NamedTuple):
    """One file: a pump that runs, is disturbed once, and recovers.

    ``times_ms``, ``faulty`` and ``changed`` have shape (n,), ``values`` (n, :data:`SENSORS`); times are ms since the epoch,
    the file's zone taken as UTC.
    """

    name: str
    times_ms: Ints
    values: Floats
    faulty: Bools
    changed: Bools


def read(path: Path) -> Experiment:
    """Return the experiment in a file; one without labels has no fault and no change."""
    rows = [line.split(";") for line in path.read_text().splitlines()[1:]]
    times_ms = np.array([row[0] for row in rows], "datetime64[ms]").astype(np.int64)
    numbers = np.array([row[1:] for row in rows], np.float64)
    labels = np.zeros((len(rows), 2), np.bool_)
    if numbers.shape[1] > SENSORS:
        labels = numbers[:, SENSORS:] > 0
    return Experiment(path.stem, times_ms, numbers[:, :SENSORS].copy(), labels[:, 0], labels[:, 1])


def valve1(root: Path) -> list[Experiment]:
    """Return the experiments in which the valve at the pump's inlet was closed, in their order."""
    return [read(path) for path in sorted((root / "valve1").glob("*.csv"), key=lambda path: int(path.stem))]
