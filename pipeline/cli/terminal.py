"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from csv import DictWriter
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.cells import cell_len

from pipeline.core.errors import SettingsError

ReplayName = Annotated[str, typer.Argument(help="Name of the replay: a to z, 0 to 9 and _, at most 40 characters.")]
Factory = Annotated[str | None, typer.Option(help="Of this factory's workers.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

NEVER = "–"

_GAP = "  "
_NARROWEST_PROSE = 30


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write what ``--csv`` asks for.

    Raises
    ------
    SettingsError
        If the file cannot be written.
    """
    try:
        with path.open("w", newline="") as file:
            writer = DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise SettingsError(f"--csv {path} cannot be written: {error.strerror}") from error


def print_json(value: Any) -> None:
    """Print a value as one line of JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, keys: int = 1, prose: bool = False) -> None:
    """Print a table on standard output: piped, every row is one line; on a terminal no line is wider than that.

    Parameters
    ----------
    keys, prose
        As in :func:`table`.
    """
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    bold = terminal and "NO_COLOR" not in os.environ
    for number, part in enumerate(table(columns, rows, width, keys=keys, prose=prose)):
        head, *body = part
        sys.stdout.write("\n" if number else "")
        sys.stdout.write(f"\x1b[1m{head}\x1b[0m\n" if bold else f"{head}\n")
        sys.stdout.writelines(f"{line}\n" for line in body)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None, *, keys: int = 1, prose: bool = False
) -> list[list[str]]:
    """Return the lines of a table, first the header; numbers are right-aligned, ``None`` is a dash.

    Parameters
    ----------
    width
        Longest line, characters; ``None``: as long as need be. Columns that do not fit become tables of their own, which
        repeat the keys.
    keys
        How many columns say what a row is about.
    prose
        The last column is text: it is folded, or put beneath its row where too little room is left.

    Examples
    --------
    >>> rows = [("press-1", 12, 3.5), ("press-2", 1234, None)]
    >>> for line in table(["machine", "messages", "rate"], rows, None)[0]: print(line)
    machine  messages  rate
    press-1        12  3.50
    press-2     1,234     –
    >>> [head for head, *_ in table(["machine", "messages", "rate"], rows, 18)]
    ['machine  messages', 'machine  rate']
    """
    given = [list(row) for row in rows]
    texts = [list(columns), *([_text(cell) for cell in row] for row in given)]
    right = [
        bool(given) and all(isinstance(row[at], int | float | None) for row in given) for at in range(len(columns))
    ]
    widths = [max(cell_len(line[at]) for line in texts) for at in range(len(columns))]
    fixed = len(columns) - 1 if prose else len(columns)
    if prose and width is not None and _needed(widths) > width:
        room = width - _needed(widths[:fixed]) - len(_GAP)
        return [[line for row in texts for line in _folded(row, widths, right, room, width)]]
    parts = [list(range(len(columns)))] if width is None else _parts(widths, width, keys)
    return [[_line([row[at] for at in part], [widths[at] for at in part], [right[at] for at in part]) for row in texts]
            for part in parts]  # fmt: skip


def age(then: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago something was.

    Examples
    --------
    >>> at = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    >>> [age(at, at + dt.timedelta(seconds=seconds)) for seconds in (75, 7_000, 80_000, 4e6)], age(None, at)
    (['75 s', '117 min', '22 h', '46 d'], '–')
    """
    if then is None:
        return NEVER
    passed_s = (now - then).total_seconds()
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(passed_s) >= 2 * length_s:
            return f"{passed_s / length_s:.0f} {unit}"
    return f"{passed_s:.0f} s"


def printable(text: str) -> str:
    r"""Return text as one line that does nothing to a terminal.

    Examples
    --------
    >>> printable("café\x1b[2J\n")
    'café\\x1b[2J\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _parts(widths: Sequence[int], width: int, keys: int) -> list[list[int]]:
    """Return which columns stand side by side, as few tables as need be."""
    parts: list[list[int]] = [list(range(keys))]
    for at in range(keys, len(widths)):
        fits = _needed([widths[each] for each in (*parts[-1], at)]) <= width
        if fits or len(parts[-1]) == keys:
            parts[-1].append(at)
        else:
            parts.append([*range(keys), at])
    return parts


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, at_right in zip(cells, widths, right, strict=True):
        space = " " * (width - cell_len(cell))
        padded.append(space + cell if at_right else cell + space)
    return _GAP.join(padded).rstrip()


def _folded(row: Sequence[str], widths: Sequence[int], right: Sequence[bool], room: int, width: int) -> list[str]:
    """Return a row whose last cell is prose, as lines."""
    before = _line(row[:-1], widths[:-1], right[:-1])
    if room < _NARROWEST_PROSE:
        return [before, *textwrap.wrap(row[-1], width, initial_indent="    ", subsequent_indent="    ")]
    first, *rest = textwrap.wrap(row[-1], room) or [""]
    indent = _needed(widths[:-1]) + len(_GAP)
    return [f"{before:{indent}}{first}", *(" " * indent + line for line in rest)]


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
    return printable(str(cell))
