"""Resident set of one worker that owns everything, over time, under steady load."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.latency import under_load
from benchmarks.load import SENSORS
from benchmarks.services import Services, resident_mb

RATE = 10_000
LIMIT_MB, LIMIT_KB_PER_SENSOR = 300, 4


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of a worker.

    Parameters
    ----------
    idle_mb, begin_mb, end_mb, peak_mb
        Before the first message, after a few seconds of load, at the end, and at most.
    limit_mb
        What it may be: 300 MB + 4 kB per sensor.
    kb_per_sensor
        What has come since it was idle.
    slope_mb_per_min
        Of a straight line through the last two thirds of the samples.
    """

    sensors: int
    seconds: float
    idle_mb: float
    begin_mb: float
    end_mb: float
    peak_mb: float
    limit_mb: float
    kb_per_sensor: float
    slope_mb_per_min: float


def run(services: Services, *, machines: int, seconds: float, rate: float = RATE) -> dict[str, Any]:
    """Watch a worker's memory; return the figures.

    Parameters
    ----------
    seconds
        How long, s; 0: 120. The slope means something from ten minutes on.
    """
    seconds = seconds or 120.0
    samples: list[tuple[float, float]] = []
    with under_load(services, 1, machines, rate, seconds) as site:
        pid = site.workers.all[0].pid
        began_s = time.monotonic()
        while (at_s := time.monotonic() - began_s) < seconds:
            samples.append((at_s, resident_mb(pid)))
            time.sleep(1)
        peak_mb = resident_mb(pid, peak=True)
    at_s, mb = np.array(samples).T
    settled = at_s >= seconds / 3
    sensors = machines * SENSORS
    growth = Growth(
        sensors,
        seconds,
        site.idle_mb,
        float(mb[0]),
        float(mb[-1]),
        peak_mb,
        LIMIT_MB + LIMIT_KB_PER_SENSOR * sensors / 1000,
        float(mb[-1] - site.idle_mb) * 1000 / sensors,
        float(np.polyfit(at_s[settled], mb[settled], 1)[0] * 60),
    )
    report.show("", (f"memory of 1 worker, {rate:,} messages/s", ""), list(asdict(growth).items()))
    return {"growth": growth, "samples": samples}
