"""Two workers under steady load for long: lag, memory and state over time, and whether all was counted once at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import outcome, report
from benchmarks.latency import WARM_UP_S, Site, show, under_load
from benchmarks.load import SENSORS
from benchmarks.memory import RATE, line
from benchmarks.services import Services, resident_mb

WORKERS = 2
PATIENCE_S = 60.0
"""How long after the last message the lag may take to return to 0, and the windows to be complete, s."""
_EVERY_S = 1.0
_ROWS = 12


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at a moment.

    Parameters
    ----------
    at_s
        Since the end of the warm-up, s.
    lag
        Messages in the log that are not stored.
    resident_mb
        Of each worker, MB.
    """

    at_s: float
    lag: int
    resident_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Worker:
    """Memory of one worker, MB; the slope, by least squares through the last two thirds, with its standard error."""

    idle_mb: float
    begin_mb: float
    end_mb: float
    peak_mb: float
    slope_mb_per_min: float
    slope_error_mb_per_min: float


def run(
    services: Services, *, machines: int, seconds: float, rate: float = RATE, warm_up_s: float = WARM_UP_S
) -> dict[str, Any]:
    """Watch two workers; return the figures, with what is wrong under ``problems``.

    Parameters
    ----------
    seconds
        How long, s; 0: 600.
    """
    seconds = seconds or 600.0
    planned = int(rate * (warm_up_s + seconds))
    with under_load(services, WORKERS, machines, rate, seconds, warm_up_s=warm_up_s) as site:
        began = site.now()
        samples = _watch(site)
        ended, drained_s = site.now(), _drain(site, planned * SENSORS)
        workers = _workers(site, samples)
        problems = [each for each in (site.workers.problem(), *wrong(site, planned, drained_s)) if each]
        found = outcome.committed(site.connection, ours=True)
        # A stretch of which a message is missing has no percentiles
        stretches = [] if problems else [site.stretch(f"steady, {WORKERS} workers", began, ended)]
        # A worker that ends keeps the state of all its partitions
        site.workers.stop()
        figures = {
            "messages/s stored": found.per_second,
            "largest lag, messages": max(sample.lag for sample in samples),
            "lag 0 and windows complete after the last message, s": float("nan") if drained_s is None else drained_s,
            "snapshot bytes per machine": outcome.state_bytes(site.connection) / machines,
            "resident bytes per machine": sum(w.end_mb - w.idle_mb for w in workers) * 1e6 / machines,
        }
    _show(samples, workers, figures, f"{machines * SENSORS:,} sensors, {rate:,} messages/s, {seconds:,.0f} s")
    show(stretches)
    print("\n".join(problems) or "lag returned to 0; every message and every reading was counted once")
    return {
        "samples": samples, "workers": workers, "figures": figures, "stretches": stretches, "problems": problems,
    }  # fmt: skip


def _watch(site: Site) -> list[Sample]:
    """Return samples until the sender has ended."""
    began_s, samples = time.monotonic(), list[Sample]()
    while True:
        resident = tuple(resident_mb(each.pid) for each in site.workers.all)
        samples.append(Sample(time.monotonic() - began_s, site.lag(), resident))
        if site.load.poll() is not None or site.workers.problem():
            return samples
        time.sleep(_EVERY_S)


def _drain(site: Site, readings: int) -> float | None:
    """Return how long it takes until nothing lags and the windows have all readings, s; ``None``: too long."""
    began_s = time.monotonic()
    while (took_s := time.monotonic() - began_s) <= PATIENCE_S and not site.workers.problem():
        if site.lag() == 0 and outcome.readings(site.connection) >= readings:
            return took_s
        time.sleep(0.5)
    return None


def wrong(site: Site, planned: int, drained_s: float | None) -> list[str]:
    """Return what was lost or doubled, and what came too late."""
    found, sent = outcome.committed(site.connection, ours=True), sum(site.services.ends(site.topic).values())
    counted = {name: outcome.readings(site.connection, name) for name in ("reading_window", "factory_window")}
    checks = [
        (site.load.returncode == 0, f"the sender ended with code {site.load.returncode}"),
        (
            drained_s is not None,
            f"after {PATIENCE_S:.0f} s the lag is {site.lag():,} messages, or windows lack readings",
        ),
        (sent == planned, f"{sent:,} messages in the log, {planned:,} were to be sent"),
        (found.rows == found.distinct == sent, f"{found.rows:,} rows of {found.distinct:,} messages for {sent:,} sent"),
        *(
            (count == sent * SENSORS, f"{count:,} readings in {name} for {sent * SENSORS:,} sent")
            for name, count in counted.items()
        ),
    ]
    return [said for holds, said in checks if not holds]


def _workers(site: Site, samples: Sequence[Sample]) -> list[Worker]:
    at_s = np.array([sample.at_s for sample in samples])
    settled = at_s >= at_s[-1] / 3
    found = []
    for number, process in enumerate(site.workers.all):
        mb = np.array([sample.resident_mb[number] for sample in samples])
        peak_mb = resident_mb(process.pid, peak=True)
        slope, error = line(at_s[settled], mb[settled])
        found.append(Worker(site.idle_mb[number], float(mb[0]), float(mb[-1]), peak_mb, slope, error))
    return found


def _show(samples: Sequence[Sample], workers: Sequence[Worker], figures: dict[str, float], title: str) -> None:
    chosen = samples[:: max(1, len(samples) // _ROWS)]
    names = ("s", "lag", *(f"worker {number} MB" for number in range(len(workers))))
    report.show(title, names, [(f"{each.at_s:.0f}", each.lag, *each.resident_mb) for each in chosen])
    rows = [(str(number), *asdict(each).values()) for number, each in enumerate(workers)]
    report.show("", ("worker", "idle MB", "begin", "end", "peak", "slope MB/min", "± standard error"), rows)
    report.show("", ("soak", ""), list(figures.items()))
