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
_COLUMNS = ("messages/s", "messages/s to last window", "µs CPU", "database", "peak MB")


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
            *(getattr(each, job.MEASURED[name]) for name in _COLUMNS),
            each.problem or "complete",
        )
        for machines, each in runs
    ]
    report.show("", ("machines, 1 worker", "sensors", *_COLUMNS, "checked"), rows)
    return {"runs": [{"machines": machines, **asdict(each)} for machines, each in runs]}
