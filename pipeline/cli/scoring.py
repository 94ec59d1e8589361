"""The command that scores a user's own file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline import scoring
from pipeline.cli.bars import bars
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.terminal import Json, print_json
from pipeline.core.compiling import telling
from pipeline.scoring import ScoreOptions, ScoreOutcome

COMPILING = "compiling kernels, once: half a minute …"
"""Said before the first file is scored by this version."""


def score(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet, rows in the order of time.")],
    time: Annotated[str, typer.Option(metavar="COLUMN", help="When a row was.")],
    value: Annotated[list[str], typer.Option(metavar="COLUMN[,COLUMN...]", help="What is scored.")],
    out: Annotated[Path, typer.Option(help="Where to: .csv or .parquet.")],
    detector: Annotated[
        str, typer.Option(help=f"One of {', '.join(scoring.DETECTORS)}; auto: by the number of columns.")
    ] = scoring.AUTO,
    config: Annotated[
        Path | None, typer.Option(help="Settings as a worker has them; default: the detector's own.")
    ] = None,
    machine_type: Annotated[str, typer.Option(help="Chooses among the settings.")] = "",
    time_format: Annotated[
        str, typer.Option(help="iso, s, ms, us, ns or a pattern such as %d.%m.%Y %H:%M; default: found out.")
    ] = "",
    zone: Annotated[str, typer.Option(help="Of times without one.")] = "UTC",
    json: Json = False,
) -> None:
    """Score a file's rows by one detector, as a worker would."""
    if detector not in (scoring.AUTO, *scoring.DETECTORS):
        known = ", ".join((scoring.AUTO, *scoring.DETECTORS))
        raise typer.BadParameter(f"--detector is {detector!r}; there are {known}")
    end_on_signals()
    options = ScoreOptions(file, time, tuple(value), out, detector, config, machine_type, time_format, zone)
    with bars() as show, telling(lambda: sys.stderr.write(f"{COMPILING}\n")):
        outcome = scoring.run(options, lambda done, size, rows: show(str(file), done, size, f"{rows:,} rows"))
    if json:
        print_json(asdict(outcome))
    else:
        sys.stdout.write(f"{_said(outcome)}\n")


def _said(outcome: ScoreOutcome) -> str:
    """Return an outcome as one line.

    Examples
    --------
    >>> _said(ScoreOutcome("change", rows=1200, anomalies=3, no_value=2, no_time=1, backwards=4, highest=31.5))
    '1,200 rows, 3 anomalies by change; without a score: 2 without a value, 1 without a time; 4 older than the row before'
    """
    parts = [f"{outcome.rows:,} rows, {outcome.anomalies:,} anomalies by {outcome.detector}"]
    reasons = {
        "without a value": outcome.no_value,
        "with a value that is no number within ±1e140": outcome.no_number,
        "without a time": outcome.no_time,
        "with other fields than the header": outcome.no_row,
    }
    if any(reasons.values()):
        parts.append("without a score: " + ", ".join(f"{count:,} {what}" for what, count in reasons.items() if count))
    if outcome.backwards:
        parts.append(f"{outcome.backwards:,} older than the row before")
    if outcome.rows and not outcome.highest:
        parts.append("every score is 0: too few rows to warm up, or values that never move")
    if outcome.unwatched:
        parts.append(f"the last {outcome.unwatched} columns were not looked at: they are too many")
    return "; ".join(parts)
