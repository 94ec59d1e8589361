"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

NEVER = "–"


def print_json(value: Any) -> None:
    """Print a value as one line of JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; numbers are right-aligned, ``None`` is a dash."""
    drawn = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    lines = [list(row) for row in rows]
    for at, name in enumerate(columns):
        numeric = all(isinstance(line[at], int | float) or line[at] is None for line in lines)
        drawn.add_column(name, justify="right" if numeric and lines else "left", overflow="fold")
    for line in lines:
        drawn.add_row(*(_text(cell) for cell in line))
    return drawn


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on standard output, as wide as the terminal; piped, as wide as it needs."""
    console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(table(title, columns, rows))


def age(then: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago something was.

    Examples
    --------
    >>> at = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    >>> age(at, at + dt.timedelta(seconds=75)), age(None, at)
    ('75 s', '–')
    """
    return NEVER if then is None else f"{(now - then).total_seconds():.0f} s"


def _text(cell: Any) -> str:
    if cell is None:
        return NEVER
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.2f}"
    if isinstance(cell, dt.datetime):
        return cell.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(cell)
