"""The command line: the one place that may know every room.

Exit codes: 0 done; 1 a check does not hold; 2 wrong use of the command line; 65 migrations are missing; 69 broker,
database or archive does not answer; 70 a fault of the program; 78 a setting is wrong; 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import psycopg
import typer

from pipeline.cli import (
    archives,
    imports,
    letters,
    look,
    metadata,
    models,
    plant,
    promotions,
    replays,
    run,
    schedules,
    scoring,
    services,
    verifying,
    web,
)
from pipeline.core.errors import PipelineError
from pipeline.store.failures import failure

app = typer.Typer(
    help="Factory telemetry from Kafka-compatible streams through online models into PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.worker)
app.command()(plant.simulate)
app.command("import")(imports.import_)
app.command()(scoring.score)
app.command()(web.web)
app.command()(run.demo)
app.command()(services.migrate)
app.command()(services.topics)
app.command()(archives.archive)
app.command()(archives.retain)
app.command()(look.status)
app.command()(verifying.verify)
app.command()(look.doctor)
app.command()(look.config)
app.command()(promotions.rebuild)
app.add_typer(letters.app, name="deadletter")
app.add_typer(replays.app, name="replay")
for _plural in metadata.KINDS:
    app.add_typer(metadata.group(_plural), name=_plural)
app.add_typer(models.group(), name="models")
app.add_typer(schedules.app, name="schedules")

# Every wrong use of the command line is one of these, wherever the installed version of the library keeps the class
_WrongUse: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line; every expected error is one line on standard error."""
    try:
        sys.exit(_run())
    except PipelineError as error:
        _end(error)
    except psycopg.Error as error:
        _end(failure(error, "the database refuses"))
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> int:
    """Run a command; return the exit code."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has had enough; the interpreter would complain when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except typer.Abort:
        return 130
    except _WrongUse as error:
        said = str(error.format_message() if hasattr(error, "format_message") else error)
        # Without a command, what is said is the help
        sys.stderr.write(
            f"{said}\n" if "\n" in said else f"pipeline: {said.rstrip('.')}; see `{_command(error)} --help`\n"
        )
        return 2
    return code or 0


def _command(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return str(getattr(context, "command_path", "pipeline"))


def _end(error: PipelineError) -> None:
    said = " ".join(str(error).split())
    sys.stderr.write(f"pipeline: {said}\n")
    sys.exit(error.exit_code)
