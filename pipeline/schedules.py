"""Manufacturers' schedules of service: a CSV file checked row by row, and put into the database."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline import connections
from pipeline.core.checks import shown
from pipeline.core.errors import SettingsError
from pipeline.core.wrong_values import not_utf8
from pipeline.settings import Settings
from pipeline.store.failures import worded
from pipeline.store.migrate import require_schema

COLUMNS = ("machine_type", "component", "every_h", "every_days", "task", "manufacturer")
LONGEST_TEXT = 128
LONGEST_TASK = 256
LONGEST_DAYS = 36_500

_KEY = ("machine_type", "component", "task")
_UPSERT = """
INSERT INTO service_schedule (machine_type, component, every_h, every_days, task, manufacturer)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (machine_type, component, task) DO UPDATE SET
    every_h = excluded.every_h, every_days = excluded.every_days, manufacturer = excluded.manufacturer, imported_at = now()
"""
_ALL = f"SELECT {', '.join(COLUMNS)} FROM service_schedule ORDER BY machine_type, component, task"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One task of service.

    Parameters
    ----------
    machine_type, component, task
        What is to be done to which part of machines of a type; none of them is empty.
    every_h, every_days
        After how many hours of running, and after how many days, it is due again; > 0, at least one is given.
    manufacturer
        Whose schedule it is; may be empty.
    """

    machine_type: str
    component: str
    every_h: float | None
    every_days: float | None
    task: str
    manufacturer: str

    @property
    def row(self) -> tuple[str | float | None, ...]:
        """Its values in the order of :data:`COLUMNS`."""
        return tuple(getattr(self, name) for name in COLUMNS)


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that is not taken: the line of the file where it begins, and why."""

    line: int
    detail: str


@dataclass(frozen=True, slots=True)
class Import:
    """What became of a file."""

    rows: int
    imported: int
    refused: list[RefusedRow]


def read(path: Path) -> tuple[list[Schedule], list[RefusedRow]]:
    """Return the schedules of a CSV file, and the rows that are none.

    Raises
    ------
    SettingsError
        If it cannot be read, is no CSV in UTF-8, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _judged(path, file)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} {not_utf8(error)}") from error


def import_file(settings: Settings, path: Path, *, dry_run: bool = False) -> Import:
    """Put the schedules of a file into the database, in one transaction; each replaces the one with its key.

    Raises
    ------
    SettingsError
        As :func:`read`.
    DatabaseUnavailable, SchemaOutdated
        If the database does not answer, or lacks the table.
    """
    schedules, refused = read(path)
    if not dry_run:
        with connections.database(settings, "pipeline schedules", autocommit=False) as connection:
            require_schema(connection)
            with worded("the schedules were not imported"):
                with connection.cursor() as cursor:
                    cursor.executemany(_UPSERT, [schedule.row for schedule in schedules])
                connection.commit()
    return Import(len(schedules) + len(refused), len(schedules), refused)


def stored(settings: Settings) -> list[Schedule]:
    """Return the schedules in the database, by their keys; raises :class:`DatabaseUnavailable`, :class:`SchemaOutdated`."""
    with connections.database(settings, "pipeline schedules") as connection:
        require_schema(connection)
        with worded("the schedules were not read"):
            return [Schedule(*row) for row in connection.execute(_ALL)]


def _judged(path: Path, file: TextIO) -> tuple[list[Schedule], list[RefusedRow]]:
    schedules: list[Schedule] = []
    refused: list[RefusedRow] = []
    lines: dict[tuple[str, ...], int] = {}
    for line, cells in _rows(path, file):
        try:
            schedule = _schedule(cells)
            _require_new(schedule, lines, line)
        except _Wrong as wrong:
            refused.append(RefusedRow(line, str(wrong)))
        else:
            schedules.append(schedule)
    return schedules, refused


def _require_new(schedule: Schedule, lines: dict[tuple[str, ...], int], line: int) -> None:
    first = lines.setdefault((schedule.machine_type, schedule.component, schedule.task), line)
    if first != line:
        raise _Wrong(f"machine_type, component and task are those of line {first}; leave one of the two out")


class _Wrong(Exception):
    """Why a row is no schedule."""


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows with the line where each begins; lines that are empty are none."""
    reader = csv.reader(file, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise SettingsError(
                f"{path} lacks the column {missing[0]}; its first line has to name {', '.join(COLUMNS)}"
            )
        begins = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                # What is missing at the end of a row is empty, and what is too much is told by a column without a name
                padded = [*cells, *[""] * (len(header) - len(cells))]
                surplus = {"": "surplus"} if len(cells) > len(header) else {}
                yield begins, dict(zip(header, map(str.strip, padded), strict=False)) | surplus
            begins = reader.line_num + 1
    except csv.Error as error:
        raise SettingsError(f"{path} is no CSV: line {reader.line_num}: {error}") from error


def _schedule(cells: dict[str, str]) -> Schedule:
    if "" in cells:
        raise _Wrong("there are more cells than columns; put a cell that holds a comma into quotes")
    limits = dict.fromkeys(("machine_type", "component", "manufacturer"), LONGEST_TEXT) | {"task": LONGEST_TASK}
    for name, limit in limits.items():
        text = cells[name]
        if not text and name in _KEY:
            raise _Wrong(f"{name} is empty; name it")
        if len(text) > limit:
            raise _Wrong(f"{name} has {len(text)} characters; at most {limit} are taken")
        if "\0" in text:
            raise _Wrong(f"{name} is {shown(text)}; no text in the database can hold NUL")
    hours, days = _length(cells, "every_h", 24 * LONGEST_DAYS), _length(cells, "every_days", LONGEST_DAYS)
    if hours is None and days is None:
        raise _Wrong("every_h and every_days are empty; give one of them, or both")
    return Schedule(cells["machine_type"], cells["component"], hours, days, cells["task"], cells["manufacturer"])


def _length(cells: dict[str, str], name: str, most: int) -> float | None:
    text = cells[name]
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 1e-3 <= found <= most:
        raise _Wrong(f"{name} is {shown(text)}; write a number from 0.001 to {most}, or nothing")
    return found
