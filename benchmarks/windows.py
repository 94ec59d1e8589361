"""What windows cost: job J with all of them, and with the one-minute windows of readings alone, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import job, report
from benchmarks.contestants import PIPELINE, Contestant, Task, worker_variables
from benchmarks.load import Job
from benchmarks.measure import Run
from benchmarks.services import Services

LEAST = 0.7
"""What of the rate with one-minute windows alone has to be left with all windows."""
_NO_CYCLES = {"PIPELINE_WINDOWS__CYCLE_GAP_MS": "0"}


def _worker(*parts: str, cycles: bool) -> Callable[[Task], tuple[list[str], dict[str, str]]]:
    def command(task: Task) -> tuple[list[str], dict[str, str]]:
        module = ["benchmarks.fewer_windows", ",".join(parts)] if parts else ["pipeline"]
        variables = worker_variables(task) | ({} if cycles else _NO_CYCLES)
        return ["-m", *module, "worker", f"--name=bench-{task.number}"], variables

    return command


def _fewer(name: str, *parts: str, cycles: bool = True) -> Contestant:
    return Contestant(name, _worker(*parts, cycles=cycles), ours=True, marks=True)


MINUTES = _fewer("one-minute windows alone", "half minutes", "factories", cycles=False)
PARTS = (
    _fewer("without cycles", cycles=False),
    _fewer("without factories", "factories"),
    _fewer("without half minutes", "half minutes"),
)
"""The pipeline without one thing each: what takes how much of the difference."""
_COLUMNS = ("messages/s", "messages/s to last window", "µs CPU", "database", "peak MB", "state bytes")


def run(
    services: Services, *, messages: int, machines: int, rounds: int, only: Sequence[str], counts: Sequence[int]
) -> dict[str, Any]:
    """Run the job in turns; return the figures.

    Parameters
    ----------
    only
        Names of contestants; empty: all windows, and one-minute windows alone.
    """
    chosen = [each for each in (PIPELINE, MINUTES, *PARTS) if each.name in (only or (PIPELINE.name, MINUTES.name))]
    runs = job.take_turns(services, chosen, Job(machines, messages), rounds=rounds, counts=counts)
    compared = ratios(runs, machines)
    _show(runs, compared)
    return {"runs": [asdict(each) for each in runs], "ratios": compared}


def ratios(runs: Sequence[Run], machines: int) -> dict[str, dict[str, float]]:
    """Return what all windows leave and cost beside fewer of them, by contestant and number of processes.

    Figures are of medians over complete runs. Resident bytes are of all processes together, taken as equal.
    """
    figures: dict[str, Callable[[Run], float]] = {
        "rate": lambda each: each.per_second,
        "rate to last window": lambda each: each.per_second_to_last_window,
        "worker CPU": lambda each: each.cpu_us,
        "database CPU": lambda each: each.database_cpu_us,
        "state": lambda each: each.state_bytes,
        "resident": lambda each: each.resident_mb * each.processes * 1e6,
    }
    middles = {name: job.middles(runs, figure) for name, figure in figures.items()}
    found = {}
    for what, count in middles["rate"]:
        all_windows, fewer = (PIPELINE.name, count), (what, count)
        if what != PIPELINE.name and all_windows in middles["rate"]:
            mine, theirs = ({name: each[key] for name, each in middles.items()} for key in (all_windows, fewer))
            found[f"{what}, {count} process{'es' if count > 1 else ''}"] = {
                "rate ×": mine["rate"] / theirs["rate"],
                "rate to last window ×": mine["rate to last window"] / theirs["rate to last window"],
                "worker µs more": mine["worker CPU"] - theirs["worker CPU"],
                "database µs more": mine["database CPU"] - theirs["database CPU"],
                "state bytes per machine more": (mine["state"] - theirs["state"]) / machines,
                "resident bytes per machine more": (mine["resident"] - theirs["resident"]) / machines,
            }
    return found


def _show(runs: Sequence[Run], compared: dict[str, dict[str, float]]) -> None:
    job.show_runs(runs, _COLUMNS)
    names = next(iter(compared.values()), {})
    report.show("", ("all windows to", *names), [(what, *each.values()) for what, each in compared.items()])
    for what, each in compared.items():
        if what.startswith(MINUTES.name):
            verdict = "is" if each["rate ×"] >= LEAST else "is NOT"
            print(f"{what}: the rate with all windows {verdict} at least {LEAST} of it")
