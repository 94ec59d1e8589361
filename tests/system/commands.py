"""The command line in a fork of a process that has imported it: begins at once, and can be killed as a process of its own."""

from __future__ import annotations

import importlib
import sys


def prepare() -> None:
    """Import the command line once, before there are any forks."""
    importlib.import_module("pipeline.cli")


def pipeline(words: list[str]) -> None:
    """Be ``pipeline`` with these words."""
    sys.argv = ["pipeline", *words]
    importlib.import_module("pipeline.cli").main()
