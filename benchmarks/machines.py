"""What a message costs one worker, against the number of machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks import job, report
from benchmarks.contestants import PIPELINE
from benchmarks.load import SENSORS, Job
from benchmarks.measure import measure
from benchmarks.services import Services

MACHINES = (1_000, 10_000, 50_000)
_MEASURED = {
    "messages/s": "per_second",
    "messages/s to last window": "per_second_to_last_window",
    "µs CPU": "cpu_us",
    "database": "database_cpu_us",
    "peak MB": "resident_mb",
}
"""Columns of the table, and what of a run they show."""


def run(services: Services, *, messages: int) -> dict[str, Any]:
    """Run the job with one worker for every number of machines; return the figures."""
    job.warm_up(services, Job(MACHINES[-1], messages))
    runs = []
    for machines in MACHINES:
        each = Job(machines, messages)
        topic = services.topic()
        each.fill(services.address, topic)
        runs.append((machines, measure(PIPELINE, 1, services, topic, each)))
    rows = [
        (
            f"{machines:,}",
            machines * SENSORS,
            *(getattr(each, name) for name in _MEASURED.values()),
            each.problem or "complete",
        )
        for machines, each in runs
    ]
    report.show("", ("machines, 1 worker", "sensors", *_MEASURED, "checked"), rows)
    return {"runs": [{"machines": machines, **asdict(each)} for machines, each in runs]}
