"""Figures for people and programs: a table on the screen, a JSON file per part."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.services import Services


def show(title: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers to three figures or whole."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(_text, row))
    # Wide enough for all columns also where nobody watches
    Console(width=None if os.isatty(1) else 180).print(table)


def write(folder: Path, part: str, services: Services, figures: dict[str, Any]) -> None:
    """Write the figures of a part, with the machine they come from."""
    path = folder / f"{part}.json"
    described = machine(services)
    report = {"part": part, "machine": described, **figures}
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    print(f"\n{path}; load at the end {described['load_1_min']:.1f} on {described['cpus']} CPUs")


def machine(services: Services) -> dict[str, Any]:
    """Describe the machine and how loaded it was at the end."""
    memory_kb = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "model": models[0].partition(": ")[2] if models else platform.machine(),
        "memory_mb": memory_kb // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1_min": os.getloadavg()[0],
        "commit_ms": services.commit_ms(),
    }


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
