"""Progress bars on standard error, for work that takes long, where somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Show(Protocol):
    """Draws how far something is."""

    def __call__(self, what: str, done: int, of: int | None, note: str = "") -> None:
        """Draw one bar.

        Parameters
        ----------
        what
            Its name; each has a bar of its own.
        done, of
            How much is done, and how much there is; ``None``: nobody knows.
        note
            Something more to say; empty: how much is done in a second.
        """


@contextmanager
def bars() -> Iterator[Show]:
    """Give what draws bars; where standard error is no terminal, it draws nothing."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {}

        def show(what: str, done: int, of: int | None, note: str = "") -> None:
            if what not in tasks:
                # Else it is 100, and an update to none is ignored
                tasks[what] = progress.add_task(what, total=None, note="")
            speed = progress.tasks[tasks[what]].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            progress.update(tasks[what], completed=done, total=of, note=note or rate)

        yield show
