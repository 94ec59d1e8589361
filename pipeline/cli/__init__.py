"""The command line: the one place that may know every room.

Exit codes: 0 done; 1 a check does not hold; 2 wrong use of the command line; 65 migrations are missing; 69 broker,
database or archive does not answer; 70 a fault of the program; 78 a setting is wrong; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import psycopg
import typer
from pydantic import ValidationError

from pipeline.cli.interrupts import tell_again
from pipeline.cli.lazily import Listed, lazily
from pipeline.cli.terminal import printable
from pipeline.core.errors import PipelineError
from pipeline.core.wrong_values import said
from pipeline.store.failures import failure, line

COMMANDS = {
    "worker": Listed("run", "worker", "Run a worker until it is told to stop."),
    "simulate": Listed("plant", "simulate", "Run a simulated plant against the broker."),
    "import": Listed("imports", "import_", "Import history from CSV and Parquet."),
    "score": Listed("scoring", "score", "Score a file's rows by one detector, as a worker would."),
    "web": Listed("web", "web", "Answer rows of features by the live models, over HTTP."),
    "demo": Listed("run", "demo", "Run everything at once, then verify it."),
    "migrate": Listed("services", "migrate", "Bring the database's schema up to date."),
    "topics": Listed("services", "topics", "Show the topics, or make missing ones."),
    "archive": Listed("archives", "archive", "Write events that are not archived yet to Parquet files."),
    "retain": Listed("archives", "retain", "Drop what is older than the settings say."),
    "status": Listed("look", "status", "Show how far every partition is."),
    "verify": Listed("verifying", "verify", "Judge what is stored, over the whole range."),
    "doctor": Listed("look", "doctor", "Say what is wrong here and how to mend it."),
    "config": Listed("look", "config", "Show every setting, its value and where it came from."),
    "rebuild": Listed("promotions", "rebuild", "Make one projection anew from the stored events."),
    "deadletter": Listed("letters", "app", "Records that could not be accepted: list, show, requeue."),
    "replay": Listed("replays", "app", "Topics once more, into a shadow beside the live tables."),
    "factories": Listed("metadata", "factories", "Each factory: list, add, change, remove, import."),
    "lines": Listed("metadata", "lines", "Each line: list, add, change, remove, import."),
    "machines": Listed("metadata", "machines", "Each machine: list, add, change, remove, import."),
    "skus": Listed("metadata", "skus", "Each product: list, add, change, remove, import."),
    "shifts": Listed("metadata", "shifts", "Each shift: list, add, change, remove, import."),
    "rules": Listed("metadata", "rules", "Each maintenance rule: list, add, change, remove, import."),
    "models": Listed("models", "app", "Learned models: list, compare, train, promote and so on."),
    "schedules": Listed("schedules", "app", "Manufacturers' schedules of service: import, list."),
}

app = typer.Typer(
    cls=lazily(COMMANDS),
    help="Factory telemetry from Kafka-compatible streams through online models into PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _every_command() -> None:
    """Need nothing: Typer takes a program without commands of its own for a group only if it has something like this."""


# Every wrong use of the command line is one of these, wherever the installed version of the library keeps the class
_WrongUse: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line; every expected error is one line on standard error."""
    sys.unraisablehook = tell_again
    try:
        _require_text(sys.argv)
        sys.exit(_run())
    except PipelineError as error:
        _end(error)
    except psycopg.DataError as error:
        _end(PipelineError(f"the database cannot keep what was given: {line(error)}; correct it"))
    except psycopg.Error as error:
        _end(failure(error, "the database refuses"))
    except KeyboardInterrupt:
        sys.exit(130)


def _require_text(words: Sequence[str]) -> None:
    """Refuse words that are no text in UTF-8, before one of them comes to somebody who can only say where he failed."""
    for number, word in enumerate(words):
        try:
            word.encode()
        except UnicodeEncodeError:
            sys.stderr.write(
                f"pipeline: word {number}, {printable(word)}, is no text in UTF-8; write it, or rename the file\n"
            )
            sys.exit(2)


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
        if isinstance(error.__cause__, ValidationError):
            vars(error)["message"] = said(error.__cause__.errors()[0])
        text = str(error.format_message() if hasattr(error, "format_message") else error)
        # Without a command, what is said is the help
        sys.stderr.write(
            f"{text}\n" if "\n" in text else f"pipeline: {text.rstrip('.')}; see `{_command(error)} --help`\n"
        )
        return 2
    return code or 0


def _command(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return str(getattr(context, "command_path", "pipeline"))


def _end(error: PipelineError) -> None:
    sys.stderr.write(f"pipeline: {' '.join(str(error).split())}\n")
    sys.exit(error.exit_code)
