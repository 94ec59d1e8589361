"""``pipeline verify``: what is stored, judged by a plant's ledger or by itself."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.bars import bars
from pipeline.cli.instants import instant
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.terminal import Json, print_json, print_table, printable, write_csv
from pipeline.settings import load
from pipeline.verifying.report import MachineFigures
from pipeline.verifying.verify import Bounds, Verification
from pipeline.verifying.verify import verify as judge

_WORST = 10
_COLUMNS = [field.name for field in fields(MachineFigures)]
_SHOWN = (
    "machine_id", "stored", "defects", "lost", "doubled", "windows_wrong", "out_of_order", "late", "sequence_gaps",
    "sequence_missing", "latency_p50_ms", "latency_p99_ms", "latency_max_ms",
)  # fmt: skip


def verify(
    ledger: Annotated[
        Path | None, typer.Argument(help="What `pipeline simulate --ledger` wrote. Default: none, the tables alone.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From this event time on, such as 2026-11-21T22:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to this event time, itself excluded.")] = None,
    machine: Annotated[list[str] | None, typer.Option(help="Only this machine; repeatable.")] = None,
    factory: Annotated[str, typer.Option(help="Only this factory's machines.")] = "",
    csv: Annotated[Path | None, typer.Option(help="Also write the figures of every machine to this file.")] = None,
    json: Json = False,
) -> None:
    """Judge what is stored, over the whole range. Exit code 1 if anything is lost, doubled or wrongly added up."""
    bounds = Bounds(_time("--since", since), _time("--until", until), tuple(machine or ()), factory)
    settings = load()
    # Told to stop, it removes its files as it does on Ctrl-C
    end_on_signals()
    if csv is not None:
        # Before everything is read, and not after
        write_csv(csv, _COLUMNS, [])
    with bars() as told:
        found = judge(
            ledger,
            settings.postgres.dsn.get_secret_value(),
            group=settings.group,
            delay_ms=settings.windows.watermark_delay_ms,
            bounds=bounds,
            told=told,
        )
    if csv is not None:
        write_csv(csv, _COLUMNS, found.machine_rows)
    if json:
        print_json(found.summary | {"machines": found.machine_rows})
    else:
        _tell(found)
    raise typer.Exit(0 if found.holds else 1)


def _time(option: str, text: str | None) -> dt.datetime | None:
    at_ms = instant(option, text)
    return None if at_ms is None else dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)


def _tell(found: Verification) -> None:
    """Print a verification for people: totals, then the worst machines."""
    figures = {key: value for key, value in found.summary.items() if value is None or isinstance(value, int)}
    latency = {f"latency {key}, ms": value for key, value in (found.latency_ms or {}).items()}
    print_table(["what", "figure"], [(key.replace("_", " "), value) for key, value in (figures | latency).items()])
    if found.machines:
        sys.stdout.write(f"\nthe worst of {len(found.machines):,} machines\n")
        rows = [[getattr(each, name) for name in _SHOWN] for each in found.machines[:_WORST]]
        print_table([name.replace("_", " ") for name in _SHOWN], rows)
        sys.stdout.write("\n")
    sys.stdout.writelines(f"example: {printable(text)}\n" for text in (*found.examples, *found.gaps))
    sys.stdout.writelines(f"note: {text}\n" for text in found.notes)
    sys.stdout.write("it holds\n" if found.holds else "it does NOT hold\n")
