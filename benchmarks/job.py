"""Job J: messages per second of everybody who does it, in turns, so that all meet the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.contestants import BARE, CONTESTANTS, PIPELINE, Contestant
from benchmarks.load import Job
from benchmarks.measure import Run, measure
from benchmarks.services import Services

RATE_BY_DAY = 10_000 * 86_400
"""Messages of a day at the design load, 10,000 a second."""
MEASURED = {
    "messages/s": "per_second",
    "messages/s to last window": "per_second_to_last_window",
    "µs CPU": "cpu_us",
    "database": "database_cpu_us",
    "broker": "broker_cpu_us",
    "peak MB": "resident_mb",
    "windows after s": "windows_after_s",
    "state bytes": "state_bytes",
    "anomalies": "anomalies",
    "predictions": "predictions",
}
"""Columns of the table, and what of a run they show."""


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
    present = [each for each in chosen if not each.missing]
    runs = take_turns(services, present, Job(machines, messages), rounds=rounds, counts=counts)
    _show(runs, absent)
    return {"runs": [asdict(each) for each in runs], "absent": absent, "ratios": ratios(runs), "costs": costs(runs)}


def take_turns(
    services: Services, contestants: Sequence[Contestant], whole: Job, *, rounds: int, counts: Sequence[int]
) -> list[Run]:
    """Return the runs of contestants by every number of processes, one after the other, round by round."""
    runs: list[Run] = []
    topics = {whole: warm_up(services, whole)}
    for number in range(rounds):
        for count in counts:
            for contestant in contestants:
                job = Job(whole.machines, int(whole.messages * contestant.share))
                if job not in topics:
                    topics[job] = services.topic()
                    job.fill(services.address, topics[job])
                runs.append(measure(contestant, count, services, topics[job], job))
                _tell(number, runs[-1])
    return runs


def _tell(number: int, run: Run) -> None:
    cpu_us = run.cpu_us + run.database_cpu_us + run.broker_cpu_us
    said = run.problem or f"{run.per_second:,.0f} messages/s, {cpu_us:,.1f} µs of CPU each"
    print(f"round {number + 1}: {run.what} × {run.processes}: {said}", flush=True)


def warm_up(services: Services, job: Job) -> str:
    """Do a job once by the project's own, which does not count, so that whoever is first has no handicap; return its topic.

    Kernels are compiled, the database creates its WAL segments, and a virtual machine gets its memory: that alone costs the
    first run a quarter of its rate.
    """
    topic = services.topic()
    job.fill(services.address, topic)
    for contestant in (BARE, PIPELINE):
        if problem := measure(contestant, 1, services, topic, job).problem:
            raise SystemExit(f"{contestant.name}: {problem}")
    return topic


def show_runs(runs: Sequence[Run], columns: Sequence[str]) -> None:
    """Print a row per run with these columns of :data:`MEASURED`, and whether it was complete."""
    rows = [
        (each.what, each.processes, *(getattr(each, MEASURED[name]) for name in columns), each.problem or "complete")
        for each in runs
    ]
    report.show("", ("job J", "processes", *columns, "checked"), rows)


def middles(runs: Sequence[Run], figure: Callable[[Run], float]) -> dict[tuple[str, int], float]:
    """Return the median of a figure by contestant and number of processes.

    Runs with a problem do not count, nor those of one transaction, which have no rate.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for each in runs:
        if each.per_second and not each.problem:
            found.setdefault((each.what, each.processes), []).append(figure(each))
    return {key: statistics.median(figures) for key, figures in found.items()}


def ratios(runs: Sequence[Run]) -> dict[str, tuple[float, float]]:
    """Return how many times everybody's rate the project has, and how many times its CPU they use per message.

    CPU is that of processes, database and broker together; it depends less on what else the machine does.
    """
    rates = middles(runs, lambda each: each.per_second)
    cpu = middles(runs, lambda each: each.cpu_us + each.database_cpu_us + each.broker_cpu_us)
    found = {
        f"{what}, {count} process{'es' if count > 1 else ''}": (
            rates[PIPELINE.name, count] / rate,
            cpu[what, count] / cpu[PIPELINE.name, count],
        )
        for (what, count), rate in rates.items()
        if what != PIPELINE.name and (PIPELINE.name, count) in rates
    }
    one, two = (PIPELINE.name, 1), (PIPELINE.name, 2)
    if {one, two} <= rates.keys():
        found["pipeline, 2 processes to 1"] = (rates[two] / rates[one], cpu[one] / cpu[two])
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
    rows = [
        (
            each.what,
            each.processes,
            each.messages,
            *(getattr(each, name) for name in MEASURED.values()),
            each.problem or "complete",
        )
        for each in runs
    ]
    report.show("", ("job J", "processes", "messages", *MEASURED, "checked"), rows)
    compared = [(what, *pair) for what, pair in ratios(runs).items()]
    report.show("", ("the pipeline to", "rate ×", "CPU per message ÷"), compared)
    report.show("", ("cost, 1 worker", ""), list(costs(runs).items()))
    for name, reason in absent.items():
        print(f"{name}: not run, {reason}")
