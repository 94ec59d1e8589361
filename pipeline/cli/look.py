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
from pipeline.cli.terminal import Json, age, print_json, print_table, printable
from pipeline.settings import load, origins
from pipeline.verify import Verification
from pipeline.verify import verify as compare

Factory = Annotated[str | None, typer.Option(help="Of this factory's workers.")]


def status(
    factory: Factory = None,
    interval: Annotated[float, typer.Option(min=0.1, help="How long rates are measured, s.")] = 1.0,
    json: Json = False,
) -> None:
    """Show lag, rates, watermark, marks and snapshot age of every partition."""
    rows = standing.status(load(factory), interval)
    if json:
        print_json([asdict(row) | {"lag": row.lag, "windows_lag": row.windows_lag} for row in rows])
        return
    shown = []
    for row in rows:
        at = row.progress
        marks = (at.effects_next, at.windows_next, at.snapshot_offset) if at else (None, None, None)
        since = (age(at.watermark, at.now), age(at.snapshot_at, at.now)) if at else (None, None)
        shown.append(
            (row.topic, row.partition, row.lag, row.windows_lag, row.records_per_s, *marks, *since, at and at.worker)
        )
    columns = ["topic", "partition", "lag", "windows lag", "records/s", "effects mark", "windows mark", "snapshot mark"]
    print_table([*columns, "watermark age", "snapshot age", "worker"], shown, keys=2)


def verify(
    ledger: Annotated[Path, typer.Argument(help="What `pipeline simulate --ledger` wrote.")] = Path("ledger.csv"),
    json: Json = False,
) -> None:
    """Compare a ledger with the tables: lost, doubled, latency, windows recomputed; exit code 1 if it does not hold."""
    settings = load()
    found = compare(ledger, settings.postgres.dsn.get_secret_value(), group=settings.group)
    if json:
        print_json(found.summary)
    else:
        _tell(found)
    raise typer.Exit(0 if found.holds else 1)


def doctor(factory: Factory = None, json: Json = False) -> None:
    """Say what is wrong with this installation and how to mend it; exit code 1 if something is."""
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
