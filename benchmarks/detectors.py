"""What detectors cost: job J as it is, with its own detector of spikes alone, and with all others on as well, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from benchmarks import job, report
from benchmarks.contestants import PIPELINE, Contestant, Task, worker_variables
from benchmarks.load import Job
from benchmarks.measure import Run
from benchmarks.services import Services
from pipeline.core.detectors.catalogue import DETECTORS

LEAST = 0.85
"""What of job J's own rate has to be left with all detectors."""
_COLUMNS = ("messages/s", "messages/s to last window", "µs CPU", "database", "peak MB", "state bytes", "anomalies")


def _worker(task: Task) -> tuple[list[str], dict[str, str]]:
    names = orjson.dumps([each.name for each in DETECTORS]).decode()
    variables = worker_variables(task) | {"PIPELINE_DETECTORS__ENABLED": names}
    return ["-m", "pipeline", "worker", f"--name=bench-{task.number}"], variables


ALL = Contestant("all detectors", _worker, ours=True, marks=True)


def run(services: Services, *, messages: int, machines: int, rounds: int, counts: Sequence[int]) -> dict[str, Any]:
    """Run the job in turns; return the figures."""
    runs = job.take_turns(services, [PIPELINE, ALL], Job(machines, messages), rounds=rounds, counts=counts)
    left = ratios(runs, machines)
    _show(runs, left)
    return {"runs": [asdict(each) for each in runs], "ratios": left}


def ratios(runs: Sequence[Run], machines: int) -> dict[str, dict[str, float]]:
    """Return what all detectors leave and cost, by number of processes; of medians over complete runs."""
    figures: dict[str, Callable[[Run], float]] = {
        "rate": lambda each: each.per_second,
        "CPU": lambda each: each.cpu_us,
        "state": lambda each: each.state_bytes,
    }
    middles = {name: job.middles(runs, figure) for name, figure in figures.items()}
    found = {}
    for what, count in middles["rate"]:
        mine, plain = (ALL.name, count), (PIPELINE.name, count)
        if what == ALL.name and plain in middles["rate"]:
            found[f"{count} process{'es' if count > 1 else ''}"] = {
                "rate ×": middles["rate"][mine] / middles["rate"][plain],
                "worker µs more per message": middles["CPU"][mine] - middles["CPU"][plain],
                "state bytes per machine more": (middles["state"][mine] - middles["state"][plain]) / machines,
            }
    return found


def _show(runs: Sequence[Run], left: dict[str, dict[str, float]]) -> None:
    job.show_runs(runs, _COLUMNS)
    names = next(iter(left.values()), {})
    report.show("", ("all detectors to job J", *names), [(what, *each.values()) for what, each in left.items()])
    for what, each in left.items():
        verdict = "is" if each["rate ×"] >= LEAST else "is NOT"
        print(f"{what}: the rate with all detectors {verdict} at least {LEAST} of job J's own")
