"""``pipeline import``: files of history into a topic, or into a file of messages."""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline import importing, logs
from pipeline.cli.bars import Show, bars
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.terminal import Factory, Json, print_json, print_table
from pipeline.importing import ImportOptions, ImportOutcome
from pipeline.settings import load


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV or Parquet, one after the other.")],
    mapping: Annotated[Path, typer.Option(help="TOML file that says what the columns mean.")],
    topic: Annotated[str, typer.Option(help="Where to; default: the first of the settings.")] = "",
    create: Annotated[
        bool, typer.Option("--create", help="Make the topic if it is missing, to keep records for ever.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write messages to this file instead, one a line.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only judge the rows.")] = False,
    sort: Annotated[
        bool, typer.Option("--sort", help="Each file in the order of time; it must fit in memory.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0, help="Messages per second at most; 0: as fast as it goes.")] = 0.0,
    timestamps: Annotated[
        Literal["event", "now"], typer.Option(help="The records' time: that of their event, or the present one.")
    ] = "event",
    again: Annotated[bool, typer.Option("--again", help="Send also what an earlier run has sent.")] = False,
    folder: Annotated[Path | None, typer.Option(help="For reports and progress; default: beside each file.")] = None,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Import history. Exit code 1 if a row was refused. Interrupted, the same command goes on."""
    settings = load(factory)
    logs.configure("warning", settings.log.format)
    end_on_signals()
    # Millions of short-lived cells would have the collector look through all modules again and again
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    options = ImportOptions(mapping, topic, create, output, dry_run, sort, rate, timestamps == "event", again, folder)
    with bars() as show:
        outcome = importing.run(settings, files, options, _told(show))
    if json:
        files_told = [asdict(each) | {"examples": [x._asdict() for x in each.examples]} for each in outcome.files]
        print_json(asdict(outcome) | {"files": files_told, "refused": outcome.refused})
    else:
        _tell(outcome)
    raise typer.Exit(1 if outcome.refused else 0)


def _told(show: Show) -> importing.Told:
    began: dict[Path, float] = {}
    last_s = time.monotonic()

    def tell(file: Path, done: int, size: int, rows: int) -> None:
        nonlocal last_s
        begin_s, last_s = began.setdefault(file, last_s), time.monotonic()
        show(str(file), done, size, f"{rows:,} rows, {rows / max(last_s - begin_s, 1e-3):,.0f}/s")

    return tell


def _tell(outcome: ImportOutcome) -> None:
    """Print an outcome for people."""
    columns = ["file", "rows", "messages", "sent", "there before", "refused"]
    rows = [
        (each.file, each.rows, each.messages, each.sent, each.there, sum(each.refused.values()))
        for each in outcome.files
    ]
    print_table(columns, rows)
    for each in outcome.files:
        if each.report is not None:
            sys.stdout.write(f"\n{each.report} has every refused row\n")
            print_table(["reason", "rows"], sorted(each.refused.items()))
            shown = [(reject.place, reject.reason, reject.detail) for reject in each.examples]
            print_table(["line", "reason", "detail"], shown, keys=2, prose=True)
    if outcome.late:
        sys.stdout.write(
            f"\nnote: up to {outcome.late:,} message(s) are older than what came before them allows: they are stored and"
            " counted into their windows, but count as late there; --sort sends each file in the order of time\n"
        )
    if outcome.backwards:
        sys.stdout.write(
            f"note: {outcome.backwards:,} message(s) are older than one of the same machine before them: the detectors learn"
            " in the order of the file; --sort mends that too\n"
        )
