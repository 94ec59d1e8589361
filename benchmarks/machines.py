"""What a message costs one worker, against the number of machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks import job, report
from benchmarks.contestants import PIPELINE
from benchmarks.load import Job
from benchmarks.measure import measure
from benchmarks.services import Services

MACHINES = (1_000, 10_000, 50_000)


def run(services: Services, *, messages: int) -> dict[str, Any]:
    """Run the job with one worker for every number of machines; return the figures."""
    job.warm_up(services, Job(MACHINES[-1], messages))
    runs = []
    for machines in MACHINES:
        each = Job(machines, messages)
        topic = services.topic()
        each.fill(services.address, topic)
        runs.append((machines, measure(PIPELINE, 1, services, topic, each)))
    names = ("machines, 1 worker", "sensors", "messages/s", "µs CPU", "database", "peak MB", "checked")
    rows = [
        (f"{n:,}", n * 5, r.per_second, r.cpu_us, r.database_cpu_us, r.resident_mb, r.problem or "complete")
        for n, r in runs
    ]
    report.show("", names, rows)
    return {"runs": [{"machines": machines, **asdict(each)} for machines, each in runs]}
