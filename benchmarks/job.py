"""Job J: messages per second of everybody who does it, in turns, so that all meet the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.contestants import BARE, CONTESTANTS, PIPELINE
from benchmarks.load import Job
from benchmarks.measure import Run, measure
from benchmarks.services import Services

RATE_BY_DAY = 10_000 * 86_400
"""Messages of a day at the design load, 10,000 a second."""


def run(
    services: Services,
    *,
    messages: int,
    machines: int,
    rounds: int,
    only: Sequence[str],
    counts: Sequence[int] = (1, 2),
) -> dict[str, Any]:
    """Run everybody with one and two processes, round by round; return the figures.

    Parameters
    ----------
    only
        Names of contestants; empty: all.
    """
    chosen = [each for each in CONTESTANTS if not only or each.name in only]
    absent = {each.name: each.missing for each in chosen if each.missing}
    runs: list[Run] = []
    topics: dict[Job, str] = {}
    warm_up(services)
    for number in range(rounds):
        for contestant in chosen:
            if contestant.missing:
                continue
            job = Job(machines, int(messages * contestant.share))
            for count in counts:
                if job not in topics:
                    topics[job] = services.topic()
                    job.fill(services.address, topics[job])
                runs.append(measure(contestant, count, services, topics[job], job))
                said = runs[-1].problem or f"{runs[-1].per_second:,.0f} messages/s"
                print(f"round {number + 1}: {contestant.name} × {count}: {said}", flush=True)
    _show(runs, absent)
    return {"runs": [asdict(each) for each in runs], "absent": absent, "ratios": ratios(runs), "costs": costs(runs)}


def warm_up(services: Services) -> None:
    """Let the project compile its kernels, which it does once on a machine."""
    job = Job(100, 5_000)
    topic = services.topic()
    job.fill(services.address, topic)
    for contestant in (BARE, PIPELINE):
        if problem := measure(contestant, 1, services, topic, job).problem:
            raise SystemExit(f"{contestant.name}: {problem}")


def middles(runs: Sequence[Run]) -> dict[tuple[str, int], float]:
    """Return the median rate by contestant and number of processes; runs with a problem, or of one transaction, count not."""
    rates: dict[tuple[str, int], list[float]] = {}
    for each in runs:
        if each.per_second and not each.problem:
            rates.setdefault((each.what, each.processes), []).append(each.per_second)
    return {key: statistics.median(found) for key, found in rates.items()}


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """Return the project's rate over everybody's, by number of processes."""
    middle = middles(runs)
    found = {
        f"pipeline to {what}, {count} process{'es' if count > 1 else ''}": middle[PIPELINE.name, count] / rate
        for (what, count), rate in middle.items()
        if what != PIPELINE.name and (PIPELINE.name, count) in middle
    }
    if {(PIPELINE.name, 1), (PIPELINE.name, 2)} <= middle.keys():
        found["pipeline, 2 processes to 1"] = middle[PIPELINE.name, 2] / middle[PIPELINE.name, 1]
    return found


def costs(runs: Sequence[Run]) -> dict[str, float]:
    """Return what an event costs the project: bytes, CPU, storage of a day at the design load."""
    ours = [each for each in runs if each.what == PIPELINE.name and not each.problem]
    if not ours:
        return {}
    last = ours[0]
    a_day_gb = (last.event_bytes + last.index_bytes + last.window_bytes) * RATE_BY_DAY / 1e9
    return {
        "topic bytes per message": last.topic_bytes,
        "event bytes per message": last.event_bytes,
        "index bytes per message": last.index_bytes,
        "window bytes per message": last.window_bytes,
        "worker CPU s per million messages": last.cpu_us,
        "database CPU s per million messages": last.database_cpu_us,
        "broker CPU s per million messages": last.broker_cpu_us,
        "GB stored per day at 10,000 messages/s": a_day_gb,
    }


def _show(runs: Sequence[Run], absent: dict[str, str]) -> None:
    measured = (
        "per_second",
        "cpu_us",
        "database_cpu_us",
        "broker_cpu_us",
        "resident_mb",
        "windows_after_s",
        "anomalies",
    )
    rows = [
        (
            each.what,
            each.processes,
            each.messages,
            *(getattr(each, name) for name in measured),
            each.problem or "complete",
        )
        for each in runs
    ]
    names = ("job J", "processes", "messages", "messages/s", "µs CPU", "database", "broker")
    report.show("", (*names, "peak MB", "windows after s", "anomalies", "checked"), rows)
    report.show("", ("ratio", ""), list(ratios(runs).items()))
    report.show("", ("cost, 1 worker", ""), list(costs(runs).items()))
    for name, reason in absent.items():
        print(f"{name}: not run, {reason}")
