"""Commands that look and change nothing: status, doctor, config."""

from __future__ import annotations

import sys
from dataclasses import asdict
from json import loads
from typing import Annotated

import typer

from pipeline import doctor as medicine
from pipeline import status as standing
from pipeline.cli.terminal import Factory, Json, age, print_json, print_table
from pipeline.settings import load, origins


def status(
    factory: Factory = None,
    interval: Annotated[float, typer.Option(min=0.1, help="How long rates are measured, s.")] = 1.0,
    json: Json = False,
) -> None:
    """Show how far every partition is. The marks effects, windows and snapshot are the next offsets not contained."""
    settings = load(factory)
    rows = standing.status(settings, interval)
    if json:
        print_json([asdict(row) | {"lag": row.lag, "windows_lag": row.windows_lag} for row in rows])
        return
    shown = []
    for row in rows:
        at = row.progress
        marks = (at.effects_next, at.windows_next, at.snapshot_offset) if at else (None, None, None)
        watermark, snapshot = (age(at.watermark, at.now), age(at.snapshot_at, at.now)) if at else (None, None)
        first = (row.topic, row.partition, row.lag, row.records_per_s, watermark, at and at.worker)
        shown.append((*first, *marks, snapshot))
    columns = ["topic", "partition", "lag", "records/s", "watermark age", "worker"]
    print_table([*columns, "effects", "windows", "snapshot", "snapshot age"], shown, keys=2)
    if not any(row.progress for row in rows):
        sys.stderr.write(f"note: nothing is stored by workers of group {settings.group}: see `pipeline doctor`\n")


def doctor(factory: Factory = None, json: Json = False) -> None:
    """Say what is wrong here and how to mend it. Exit code 1 if something is."""
    findings = medicine.examine(load(factory))
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(["state", "what", "found"], [(x.state, x.what, x.found) for x in findings], prose=True)
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def config(json: Json = False) -> None:
    """Show every setting, its value and where it came from."""
    rows = origins(load())
    if json:
        print_json([{"key": key, "value": loads(value), "origin": origin} for key, value, origin in rows])
    else:
        print_table(["key", "value", "origin"], rows)
