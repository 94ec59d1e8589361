"""Resident set of one worker over time, under steady load, while a second one comes and goes."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import report
from benchmarks.latency import Site, under_load, wait
from benchmarks.load import SENSORS
from benchmarks.services import PARTITIONS, Services, resident_mb

RATE = 10_000
LIMIT_MB, LIMIT_KB_PER_SENSOR = 300, 4
VISIT_EVERY_S, VISIT_S = 60.0, 15.0


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of a worker.

    Parameters
    ----------
    visits
        How often a second worker took half of the partitions and gave them back.
    idle_mb, begin_mb, end_mb, peak_mb
        Before the first message, after a few seconds of load, at the end, and at most.
    limit_mb
        What it may be: 300 MB + 4 kB per sensor.
    kb_per_sensor
        What has come since it was idle.
    slope_mb_per_min, slope_error_mb_per_min
        Of a straight line through the last two thirds of the samples, and its standard error.
    """

    sensors: int
    seconds: float
    visits: int
    idle_mb: float
    begin_mb: float
    end_mb: float
    peak_mb: float
    limit_mb: float
    kb_per_sensor: float
    slope_mb_per_min: float
    slope_error_mb_per_min: float


def run(services: Services, *, machines: int, seconds: float, rate: float = RATE) -> dict[str, Any]:
    """Watch a worker's memory; return the figures.

    Parameters
    ----------
    seconds
        How long, s; 0: 180. The slope means something from ten minutes on.
    """
    seconds = seconds or 180.0
    with under_load(services, 1, machines, rate, seconds) as site:
        samples, visits = watch(site, seconds)
        peak_mb = resident_mb(site.workers.all[0].pid, peak=True)
    at_s, mb = np.array(samples).T
    settled = at_s >= seconds / 3
    sensors = machines * SENSORS
    growth = Growth(
        sensors,
        seconds,
        visits,
        site.idle_mb[0],
        float(mb[0]),
        float(mb[-1]),
        peak_mb,
        LIMIT_MB + LIMIT_KB_PER_SENSOR * sensors / 1000,
        float(mb[-1] - site.idle_mb[0]) * 1000 / sensors,
        *line(at_s[settled], mb[settled]),
    )
    report.show("", (f"memory of the first worker, {rate:,} messages/s", ""), list(asdict(growth).items()))
    return {"growth": growth, "samples": samples}


def line(at_s: npt.NDArray[np.float64], mb: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and standard error, per minute, of a straight line by least squares; NaN for fewer than three points.

    The error takes samples for independent; memory that comes in steps makes it too small.
    """
    if len(at_s) < 3:
        return float("nan"), float("nan")
    minutes = (at_s - at_s.mean()) / 60
    spread = float(minutes @ minutes)
    slope = float(minutes @ mb) / spread
    rest = mb - mb.mean() - slope * minutes
    return slope, float(np.sqrt(rest @ rest / (len(mb) - 2) / spread))


def watch(site: Site, seconds: float) -> tuple[list[tuple[float, float]], int]:
    """Return the first worker's resident set over time, s and MB, and how many visits it had; none in the last minute."""
    pid, began_s = site.workers.all[0].pid, time.monotonic()
    samples: list[tuple[float, float]] = []

    def sample_until(end_s: float) -> None:
        while (at_s := time.monotonic() - began_s) < end_s:
            samples.append((at_s, resident_mb(pid)))
            time.sleep(1)

    visits = range(1, int(seconds / VISIT_EVERY_S))
    for number in visits:
        sample_until(number * VISIT_EVERY_S)
        came_s = time.time()
        visitor = site.workers.start(1)
        wait("partitions of the second worker", partial(site.owned, 1, came_s))
        sample_until(time.monotonic() - began_s + VISIT_S)
        visitor.terminate()
        visitor.wait(30)
        wait("the first worker to own all partitions again", lambda: len(site.owned(0)) == PARTITIONS)
    sample_until(seconds)
    return samples, len(visits)
