"""``pipeline models evaluate``: models judged by files of whole lives, or by what is stored."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import model_training
from pipeline.cli.bars import bars
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.terminal import Json, print_json
from pipeline.modelling import remaining_life
from pipeline.modelling.remaining_life import EvaluateOptions, EvaluateOutcome

app = typer.Typer(help="Judge models by what machines came to.", no_args_is_help=True)


app.command("stored")(model_training.stored)


@app.command()
def rul(
    train: Annotated[Path, typer.Option(help="Units until they failed; in the shape of C-MAPSS.")],
    test: Annotated[Path, typer.Option(help="Units that go on, in the same shape.")],
    out: Annotated[Path, typer.Option(help="Where to: unit, rul, lower, upper of each unit of --test, as CSV.")],
    horizon: Annotated[
        float, typer.Option(min=1, max=1e9, help="Longest remaining life that is told, cycles.")
    ] = remaining_life.HORIZON,
    json: Json = False,
) -> None:
    """Tell how many cycles each unit of a file has left, with an interval that holds nine in ten."""
    end_on_signals()
    with bars() as show:
        outcome = remaining_life.evaluate(EvaluateOptions(train, test, out, horizon), show)
    if json:
        print_json(asdict(outcome))
    else:
        sys.stdout.write(f"{_said(outcome)}\n")


def _said(outcome: EvaluateOutcome) -> str:
    """Return an outcome as one line.

    Examples
    --------
    >>> print(_said(EvaluateOutcome(100, 50, 1, ("fast", "fast-slow"), 9.087, 0.8943)))
    50 units told, 1 of them without an answer, by 100 lives (fast, fast-slow of each sensor); of these, each told before it \
was learned: RMSE 9.09, 89.4 % within the interval
    """
    without = f", {outcome.unanswered} of them without an answer" if outcome.unanswered else ""
    return (
        f"{outcome.units:,} units told{without}, by {outcome.lives:,} lives ({', '.join(outcome.features)} of each sensor);"
        f" of these, each told before it was learned: RMSE {outcome.rmse_capped:.2f},"
        f" {100.0 * outcome.coverage:.1f} % within the interval"
    )
