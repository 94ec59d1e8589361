"""``python -m benchmarks [part …|all]``: run parts, print tables, write JSON."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    additions,
    archive,
    detectors,
    importing,
    job,
    latency,
    machines,
    memory,
    prognosis,
    queries,
    recovery,
    replays,
    report,
    soak,
    verify,
    windows,
)
from benchmarks.contestants import Contestant
from benchmarks.services import Services, services

PARTS: dict[str, Callable[[Services, argparse.Namespace], dict[str, Any]]] = {
    "job": lambda site, o: job.run(
        site, messages=o.messages, machines=o.machines, rounds=o.rounds, only=o.only, counts=o.processes
    ),
    "windows": lambda site, o: windows.run(
        site, messages=o.messages, machines=o.machines, rounds=max(2, o.rounds), only=o.only, counts=o.processes
    ),
    "detectors": lambda site, o: _added(site, o, detectors.ALL, detectors.LEAST),
    "prognosis": lambda site, o: _added(site, o, prognosis.REMAINING_LIFE, prognosis.LEAST),
    "latency": lambda site, o: latency.run(site, machines=o.machines, seconds=o.seconds),
    "recovery": lambda site, o: recovery.run(site, machines=o.machines, seconds=o.seconds),
    "memory": lambda site, o: memory.run(site, machines=o.machines, seconds=o.seconds),
    "soak": lambda site, o: soak.run(site, machines=o.machines, seconds=o.seconds),
    "replays": lambda site, o: replays.run(site, messages=o.messages, machines=o.machines, seconds=o.seconds),
    "machines": lambda site, o: machines.run(site, messages=o.messages // 2),
    "import": lambda site, o: importing.run(site, rows=o.messages),
    "verify": lambda site, o: verify.run(site, machines=o.machines, messages=o.messages),
    "queries": lambda site, o: queries.run(site, machines=o.machines, events=o.events),
    "archive": lambda site, o: archive.run(site, messages=o.messages, machines=o.machines),
}


def _added(site: Services, o: argparse.Namespace, added: Contestant, least: float) -> dict[str, Any]:
    return additions.run(
        site, added, least, messages=o.messages, machines=o.machines, rounds=o.rounds, counts=o.processes
    )


def main() -> None:
    """Run the parts that were asked for, each on fresh services."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)} or all; default: job")
    parser.add_argument(
        "--messages", type=int, default=1_000_000, help="messages of job J, of verify and of replays, rows of import"
    )
    parser.add_argument("--machines", type=int, default=10_000, help="machines, 5 sensors each")
    parser.add_argument("--rounds", type=int, default=1, help="how often everybody runs job J")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="processes of job J")
    parser.add_argument("--only", nargs="+", default=[], help="contestants of job J, by their names")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long steady load lasts; 0: the part's own")
    parser.add_argument(
        "--events", type=int, default=50_000_000, help="events among which queries look; a kB of disk each"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="for services and JSON files")
    options = parser.parse_args()
    if unknown := set(options.parts) - {*PARTS, "all"}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)} or all")
    problems = []
    for part in PARTS if "all" in options.parts else options.parts or ["job"]:
        with services(options.folder) as site:
            figures = PARTS[part](site, options)
            report.write(options.folder, part, site, figures)
            problems += figures.get("problems", [])
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
