"""The command line: the one place that may know every room.

Exit codes: 0 done; 1 a check does not hold; 2 wrong use of the command line; 65 migrations are missing; 69 broker or
database does not answer; 70 a fault of the program; 78 a setting is wrong; 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from pipeline.cli import letters, look, plant, run, services
from pipeline.core.errors import PipelineError

app = typer.Typer(
    help="Factory telemetry from Kafka-compatible streams through online models into PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.worker)
app.command()(plant.simulate)
app.command()(run.demo)
app.command()(services.migrate)
app.command()(services.topics)
app.command()(look.status)
app.command()(look.verify)
app.command()(look.doctor)
app.command()(look.config)
app.add_typer(letters.app, name="deadletter")


def main() -> None:
    """Run the command line; every expected error is one line on standard error."""
    try:
        app()
    except PipelineError as error:
        sys.stderr.write(f"pipeline: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
