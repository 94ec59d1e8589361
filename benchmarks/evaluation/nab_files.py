"""The files of the Numenta Anomaly Benchmark: series, labelled windows and profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.nab_scoring import Floats, Ints, Profile, Rows, rows_of


class Series(NamedTuple):
    """One file: ``times_ms`` (ms since the epoch, the file's zone taken as UTC) and ``values``, both of shape (n,)."""

    name: str
    times_ms: Ints
    values: Floats
    rows: Rows

    @property
    def category(self) -> str:
        """The folder that the file is in."""
        return self.name.partition("/")[0]


def profiles(root: Path) -> dict[str, Profile]:
    """Return the benchmark's scoring profiles by their names."""
    weights = json.loads((root / "profiles.json").read_text())
    return {name: Profile(of["tpWeight"], of["fnWeight"], of["fpWeight"]) for name, of in weights.items()}


def _milliseconds(times: list[str]) -> Ints:
    return np.array(times, "datetime64[ms]").astype(np.int64)


def _places(times_ms: npt.NDArray[np.int64], spans: list[list[str]]) -> list[tuple[int, int]]:
    places = []
    for first_ms, last_ms in (_milliseconds(span) for span in spans):
        inside = np.flatnonzero((times_ms >= first_ms) & (times_ms <= last_ms))
        places.append((int(inside[0]), int(inside[-1])))
    return places


def read(root: Path) -> list[Series]:
    """Return the series that have an entry among the labels, by name."""
    spans = json.loads((root / "combined_windows.json").read_text())
    series = []
    for name in sorted(spans):
        lines = (root / name).read_text().splitlines()[1:]
        times, values = zip(*(line.split(",") for line in lines), strict=True)
        times_ms = _milliseconds(list(times))
        rows = rows_of(len(times_ms), _places(times_ms, spans[name]))
        series.append(Series(name.removesuffix(".csv"), times_ms, np.array(values, np.float64), rows))
    return series
