"""Commands that look and change nothing: status, verify, doctor, config."""

from __future__ import annotations

import sys
from dataclasses import asdict
from json import loads
from pathlib import Path
from typing import Annotated

import typer

from pipeline import doctor as medicine
from pipeline import status as standing
from pipeline.cli.terminal import Factory, Json, age, print_json, print_table, printable
from pipeline.settings import load, origins
from pipeline.verify import Verification
from pipeline.verify import verify as compare


def status(
    factory: Factory = None,
    interval: Annotated[float, typer.Option(min=0.1, help="How long rates are measured, s.")] = 1.0,
    json: Json = False,
) -> None:
    """Show how far every partition is. The marks effects, windows and snapshot are the next offsets not contained."""
    rows = standing.status(load(factory), interval)
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


def verify(
    ledger: Annotated[Path, typer.Argument(help="What `pipeline simulate --ledger` wrote.")] = Path("ledger.csv"),
    json: Json = False,
) -> None:
    """Compare a plant's ledger with the tables. Exit code 1 if anything is lost, doubled or wrongly added up."""
    settings = load()
    found = compare(ledger, settings.postgres.dsn.get_secret_value(), group=settings.group)
    if json:
        print_json(found.summary)
    else:
        _tell(found)
    raise typer.Exit(0 if found.holds else 1)


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


def _tell(found: Verification) -> None:
    """Print a verification for people."""
    figures = {key: value for key, value in found.summary.items() if isinstance(value, int)}
    latency = {f"latency {key}, ms": value for key, value in (found.latency_ms or {}).items()}
    print_table(["what", "figure"], [(key.replace("_", " "), value) for key, value in (figures | latency).items()])
    sys.stdout.writelines(f"example: {printable(text)}\n" for text in found.examples)
    sys.stdout.writelines(f"note: {text}\n" for text in found.notes)
    sys.stdout.write("it holds\n" if found.holds else "it does NOT hold\n")
