"""Files in the shape of NASA's C-MAPSS sets: one row per unit and cycle, three settings, then sensors.

Columns are parted by whitespace, or by commas. Without a header they are taken by place, and the sensors are called ``s1``,
``s2`` …; with one, the columns named like a unit, a cycle and settings are taken for those, wherever they stand.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.checks import shown
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.fields import MAX_VALUE
from pipeline.core.prognosis.remaining_life import Estimates
from pipeline.modelling.fleets import Life

MAX_CYCLE = 1e9

HEADER = ("unit", "rul", "lower", "upper")
"""Of the file that is written."""

_MISSING = frozenset({"", "nan", "null", "none", "na"})
_UNIT = re.compile(r"unit|engine|machine|id|(unit|engine|machine)[ _]?(id|no|nr|number)")
_CYCLE = re.compile(r"cycles?|time|time[ _](in[ _])?cycles?|cycle[ _]?(no|nr|number)")
_SETTING = re.compile(r"(op|os|setting|operational|operating)([ _]?setting)?s?[ _]?\d*")
_SENSOR = re.compile(r"s(ensor)?([ _]?measurement)?[ _]?\d+")
_TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class RunFile:
    """What a file says.

    Parameters
    ----------
    sensors
        Names, in the order of the columns.
    lives
        One for each unit, in the order of their first rows.
    """

    sensors: tuple[str, ...]
    lives: tuple[Life, ...]

    def with_sensors(self, sensors: Sequence[str]) -> RunFile:
        """Return the same with some of the sensors, in another order."""
        places = [self.sensors.index(each) for each in sensors]
        lives = tuple(
            Life(life.unit, life.cycles, np.ascontiguousarray(life.readings[:, places])) for life in self.lives
        )
        return RunFile(tuple(sensors), lives)


@dataclass(frozen=True, slots=True)
class _Columns:
    unit: int
    cycle: int
    sensors: dict[str, int]
    names: list[str]


def read(path: Path, tell: Callable[[int, int], None] = lambda _, __: None) -> RunFile:
    """Read a file; rows may come in any order.

    Parameters
    ----------
    tell
        Called with bytes that were read, about, and how many there are.

    Raises
    ------
    SettingsError
        If it cannot be read, or has no sensors.
    PipelineError
        If a row is wrong; the text names the line and the column.
    """
    columns: _Columns | None = None
    units: dict[str, list[tuple[float, int, list[float]]]] = {}
    done, total = 0, _size(path)
    for line, cells in _rows(path):
        if columns is None:
            columns, is_header = _columns(path, cells)
            if is_header:
                continue
        unit, cycle, readings = _numbers(path, line, cells, columns)
        units.setdefault(unit, []).append((cycle, line, readings))
        done += sum(map(len, cells)) + len(cells)
        if line % _TELL_EVERY == 0:
            tell(min(done, total), total)
    if columns is None or not units:
        raise SettingsError(f"{path} has no rows; it has to have one for each unit and cycle")
    tell(total, total)
    return RunFile(tuple(columns.sensors), tuple(_life(path, unit, rows) for unit, rows in units.items()))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, and its cells."""
    by_commas: bool | None = None
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if by_commas is None:
                    by_commas = "," in line
                cells = next(csv.reader([line.rstrip("\n")])) if by_commas else line.split()
                yield number, [cell.strip().strip('"') for cell in cells]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeError, csv.Error) as error:
        raise PipelineError(f"{path} is no text of rows and columns: {error}") from error


def _columns(path: Path, cells: list[str]) -> tuple[_Columns, bool]:
    """Return what stands where, by the first row, and whether that is a header."""
    is_header = not any(map(_is_number, cells))
    if not is_header:
        names = ["unit", "cycle", "setting1", "setting2", "setting3"][: len(cells)]
        names += [f"s{i}" for i in range(1, len(cells) - 4)]
    else:
        names = cells
        if len(set(names)) < len(names):
            raise SettingsError(f"{path} has two columns of the same name; each has to have its own")
    lower = [name.lower() for name in names]
    unit = next((i for i, name in enumerate(lower) if _UNIT.fullmatch(name)), 0)
    cycle = next((i for i, name in enumerate(lower) if _CYCLE.fullmatch(name) and i != unit), 1)
    if cycle == unit:
        raise SettingsError(f"{path} has no column of cycles; call it cycle")
    others = [i for i in range(len(names)) if i not in (unit, cycle)]
    settings = [i for i in others if _SETTING.fullmatch(lower[i])]
    if not settings:
        settings = [i for i in others[:3] if not (is_header and _SENSOR.fullmatch(lower[i]))]
    sensors = {names[i]: i for i in others if i not in settings}
    if not sensors:
        raise SettingsError(
            f"{path} has {len(names)} columns; unit, cycle, three settings and at least one sensor are expected, parted by"
            " whitespace or commas"
        )
    return _Columns(unit, cycle, sensors, names), is_header


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, line: int, cells: list[str], columns: _Columns) -> tuple[str, float, list[float]]:
    """Return unit, cycle and readings of a row."""
    if len(cells) != len(columns.names):
        raise PipelineError(f"{path}, line {line} has {len(cells)} columns; the first row has {len(columns.names)}")
    unit = cells[columns.unit]
    if not unit:
        raise PipelineError(f"{path}, line {line}, column {columns.names[columns.unit]}: the unit is empty")
    cycle = _number(path, line, cells, columns, columns.cycle)
    if not 0.0 <= cycle <= MAX_CYCLE:
        raise PipelineError(
            f"{path}, line {line}, column {columns.names[columns.cycle]}: the cycle is {shown(cells[columns.cycle])}; a number"
            f" from 0 to {MAX_CYCLE:.0f} is expected"
        )
    return unit, cycle, [_number(path, line, cells, columns, i) for i in columns.sensors.values()]


def _number(path: Path, line: int, cells: list[str], columns: _Columns, place: int) -> float:
    cell = cells[place]
    try:
        value = float(cell)
    except ValueError:
        value = math.nan if cell.lower() in _MISSING else math.inf
    if abs(value) > MAX_VALUE or "_" in cell:
        raise PipelineError(
            f"{path}, line {line}, column {columns.names[place]}: {shown(cell)} is no number within ±1e140"
        )
    return value


def _life(path: Path, unit: str, rows: list[tuple[float, int, list[float]]]) -> Life:
    rows.sort(key=lambda row: row[0])
    cycles = np.array([row[0] for row in rows])
    twice = np.flatnonzero(np.diff(cycles) == 0.0)
    if len(twice):
        first, second = (rows[int(twice[0]) + i] for i in (0, 1))
        raise PipelineError(
            f"{path}, line {second[1]}: unit {shown(unit)} has cycle {first[0]:g} in line {first[1]} already"
        )
    return Life(unit, cycles, np.array([row[2] for row in rows], np.float64))


def write(path: Path, units: Sequence[str], estimates: Estimates) -> None:
    """Write one row per unit; the file is there once it is whole. Without an answer, cells are empty.

    Raises
    ------
    SettingsError
        If it cannot be written.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        try:
            with new.open("x", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(HEADER)
                for unit, *numbers in zip(units, *estimates, strict=True):
                    writer.writerow([unit, *("" if math.isnan(each) else f"{each:.3f}" for each in numbers)])
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"--out {path} cannot be written: {error.strerror}") from error
