"""The commands on models."""

from __future__ import annotations

import typer

from pipeline.cli import model_evaluation

app = typer.Typer(help="Models that predict.", no_args_is_help=True)
app.add_typer(model_evaluation.app, name="evaluate")
