"""The command line in a fork of a process that has imported it: begins at once, and can be killed as a process of its own."""

from __future__ import annotations

import importlib
import inspect
import runpy
import sys

from agents.starting import warm_up
from pipeline import cli
from pipeline.cli import models


def prepare() -> None:
    """Import and compile everything once, before there are any forks."""
    import_commands()
    # Faust imports itself bit by bit as its parts are used
    for part in ("app.base", "assignor.partition_assignor", "stores.memory", "tables.manager", "topics", "windows"):
        importlib.import_module(f"faust.{part}")
    warm_up()
    # Whoever decorates an agent is looked for among all modules there are, the files of which are then known
    inspect.getmodule(sys._getframe())


def import_commands() -> None:
    """Import the modules of all commands, which otherwise each command does for itself."""
    for listed in (cli.COMMANDS, models.COMMANDS):
        for command in listed.values():
            importlib.import_module(f"pipeline.cli.{command.module}")


def pipeline(words: list[str]) -> None:
    """Be ``pipeline`` with these words."""
    sys.argv = ["pipeline", *words]
    cli.main()


def script(words: list[str]) -> None:
    """Be ``python`` with these words, the first of which is a script."""
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
