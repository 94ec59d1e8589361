"""What something costs on top of job J: the job as it is and with that on, in turns, and what of its rate is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import job, report
from benchmarks.contestants import PIPELINE, Contestant
from benchmarks.load import Job
from benchmarks.measure import Run
from benchmarks.services import Services

_COLUMNS = (
    "messages/s", "messages/s to last window", "µs CPU", "database", "peak MB", "state bytes", "anomalies", "predictions",
)  # fmt: skip


def run(
    services: Services,
    added: Contestant,
    least: float,
    *,
    messages: int,
    machines: int,
    rounds: int,
    counts: Sequence[int],
) -> dict[str, Any]:
    """Run the job in turns; return the figures.

    Parameters
    ----------
    added
        The project with more on.
    least
        What of job J's own rate has to be left.
    """
    runs = job.take_turns(services, [PIPELINE, added], Job(machines, messages), rounds=rounds, counts=counts)
    left = ratios(runs, added.name, machines)
    _show(runs, left, added.name, least)
    return {"runs": [asdict(each) for each in runs], "ratios": left}


def ratios(runs: Sequence[Run], added: str, machines: int) -> dict[str, dict[str, float]]:
    """Return what is left and what it costs, by number of processes; of medians over complete runs."""
    figures: dict[str, Callable[[Run], float]] = {
        "rate": lambda each: each.per_second,
        "to last window": lambda each: each.per_second_to_last_window,
        "CPU": lambda each: each.cpu_us,
        "state": lambda each: each.state_bytes,
    }
    middles = {name: job.middles(runs, figure) for name, figure in figures.items()}
    found = {}
    for what, count in middles["rate"]:
        mine, plain = (added, count), (PIPELINE.name, count)
        if what == added and plain in middles["rate"]:
            found[f"{count} process{'es' if count > 1 else ''}"] = {
                "rate ×": middles["rate"][mine] / middles["rate"][plain],
                "rate to last window ×": middles["to last window"][mine] / middles["to last window"][plain],
                "worker µs more per message": middles["CPU"][mine] - middles["CPU"][plain],
                "state bytes per machine more": (middles["state"][mine] - middles["state"][plain]) / machines,
            }
    return found


def _show(runs: Sequence[Run], left: dict[str, dict[str, float]], added: str, least: float) -> None:
    job.show_runs(runs, _COLUMNS)
    names = next(iter(left.values()), {})
    report.show("", (f"{added} to job J", *names), [(what, *each.values()) for what, each in left.items()])
    for what, each in left.items():
        verdict = "is" if each["rate ×"] >= least else "is NOT"
        print(f"{what}: the rate with {added} {verdict} at least {least} of job J's own")
