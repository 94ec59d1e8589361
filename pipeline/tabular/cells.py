"""What cells mean: numbers, texts and times, a column at a time."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from pipeline.core.checks import shown
from pipeline.core.times import MALFORMED_MS, NO_ZONE_MS, parse_times
from pipeline.tabular.mapping import EPOCHS, Layout, Time
from pipeline.tabular.rows import Cell

Bad = tuple[str, str]
"""Reason and detail."""

# What datetime can hold: the years 1 to 9999
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MINUTE_MS = 60_000


@dataclass(slots=True)
class Numbers:
    """A column's numbers; ``None`` where there is no reading, and where ``bad`` says what is wrong."""

    values: list[float | None]
    bad: dict[int, Bad] = field(default_factory=dict)


@dataclass(slots=True)
class Instants:
    """A column's times, ms since the epoch, UTC; where ``bad`` says what is wrong, they mean nothing."""

    ms: npt.NDArray[np.int64]
    bad: dict[int, Bad] = field(default_factory=dict)


class NumberReader:
    """Reads columns of numbers.

    Parameters
    ----------
    layout
        Which mark is the decimal one, and what means that there is no reading.

    Examples
    --------
    >>> read = NumberReader(Layout(decimal=",", no_reading=("", "-999"))).read
    >>> found = read(["55,1", "-999,0", "", "1.5"], "t")
    >>> found.values, list(found.bad)
    ([55.1, None, None, None], [3])
    """

    def __init__(self, layout: Layout) -> None:
        self._comma = layout.decimal == ","
        self._nothing = frozenset(layout.no_reading)
        numbers = [self._number(each) for each in layout.no_reading]
        self._no_values = frozenset(number for number in numbers if number is not None)

    def read(self, cells: Sequence[Cell], what: str) -> Numbers:
        """Return the numbers of a column.

        Parameters
        ----------
        what
            Of what, for details.
        """
        quick = self._read_quickly(cells)
        if quick is not None:
            return Numbers(quick)
        found = Numbers([None] * len(cells))
        for i, cell in enumerate(cells):
            if cell is None or cell in self._nothing or cell != cell:  # noqa: PLR0124  # NaN
                continue
            value = self._number(cell)
            if value is None:
                expected = "a number with a decimal comma" if self._comma else "a number"
                found.bad[i] = "not_a_number", f"{what} is {shown(cell)}; {expected} is expected"
            elif value not in self._no_values:
                found.values[i] = value
        return found

    def _read_quickly(self, cells: Sequence[Cell]) -> list[float | None] | None:
        """Return the numbers of a column in which every cell is a reading; ``None`` if that is not sure."""
        if self._comma or not self._nothing.isdisjoint(cells):
            return None
        try:
            values: list[float | None] = list(map(float, cells))  # type: ignore[arg-type]  # nothing is no float
            joined = "" if not cells or not isinstance(cells[0], str) else "".join(cells)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return None
        if "_" in joined or not np.isfinite(np.array(values)).all() or not self._no_values.isdisjoint(values):
            return None
        return values

    def _number(self, cell: str | int | float) -> float | None:
        if isinstance(cell, str):
            if "_" in cell or (self._comma and "." in cell):
                return None
            cell = cell.replace(",", ".") if self._comma else cell
        with suppress(ValueError, OverflowError):
            value = float(cell)
            return value if math.isfinite(value) else None
        return None


def whole_number(cell: Cell) -> int | None:
    """Return a whole number, ``None`` for anything else.

    Examples
    --------
    >>> whole_number("9007199254740993"), whole_number(7.0), whole_number("7.0"), whole_number("7_0")
    (9007199254740993, 7, None, None)
    """
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else None
    if isinstance(cell, str):
        with suppress(ValueError):
            return int(cell) if "_" not in cell else None
        return None
    return cell


class TimeReader:
    """Reads columns of times.

    A time without a zone is taken in the mapping's zone; when clocks are put back, an hour that comes twice is taken for the
    first one.

    Examples
    --------
    >>> found = TimeReader(Time(column="t", zone="Europe/Oslo")).read(["2026-07-01 12:00", "2026-07-01T12:00Z", "noon"])
    >>> found.ms.tolist(), found.bad
    ([1782900000000, 1782907200000, 0], {2: ('time_unreadable', "the time is 'noon'; time.format is 'iso'")})
    """

    def __init__(self, time: Time) -> None:
        self._format = time.format
        self._zone = ZoneInfo(time.zone) if time.zone else None

    def read(self, cells: Sequence[Cell], *, iso: bool = False) -> Instants:
        """Return the times of a column.

        Parameters
        ----------
        iso
            The cells are ISO 8601, whatever the mapping says.
        """
        if iso or self._format == "iso":
            found = self._read_iso(cells)
        elif self._format in EPOCHS:
            found = self._read_epoch(cells, EPOCHS[self._format])
        else:
            found = self._read_pattern(cells)
        for i in np.flatnonzero((found.ms < _FIRST_MS) | (found.ms > _LAST_MS)).tolist():
            found.ms[i] = 0
            found.bad.setdefault(i, ("time_out_of_range", f"the time is {shown(cells[i])}; taken is 1970 to 2199"))
        return found

    def _read_iso(self, cells: Sequence[Cell]) -> Instants:
        texts = [cell if isinstance(cell, str) else "" for cell in cells]
        ms = parse_times(texts)
        bad: dict[int, Bad] = {}
        naive = np.flatnonzero(ms == NO_ZONE_MS)
        if self._zone is not None and len(naive):
            ms[naive] = self._to_utc(parse_times([texts[i] + "Z" for i in naive.tolist()]))
        for i in np.flatnonzero((ms == NO_ZONE_MS) | (ms == MALFORMED_MS)).tolist():
            bad[i] = self._unreadable(cells[i])
            if ms[i] == NO_ZONE_MS:
                bad[i] = "time_without_zone", f"the time is {shown(cells[i])}; write time.zone in the mapping"
            ms[i] = 0
        return Instants(ms, bad)

    def _read_epoch(self, cells: Sequence[Cell], unit_ns: int) -> Instants:
        ms = np.zeros(len(cells), np.int64)
        bad: dict[int, Bad] = {}
        for i, cell in enumerate(cells):
            at = _epoch_ms(cell, unit_ns)
            if at is None:
                bad[i] = self._unreadable(cell)
            else:
                ms[i] = min(max(at, _FIRST_MS - 1), _LAST_MS + 1)
        return Instants(ms, bad)

    def _read_pattern(self, cells: Sequence[Cell]) -> Instants:
        known = {cell: self._parse(cell) for cell in set(cells)}
        found = [known[cell] for cell in cells]
        bad = {i: self._unreadable(cells[i]) for i, at in enumerate(found) if at is None}
        return Instants(np.array([at or 0 for at in found], np.int64), bad)

    def _parse(self, cell: Cell) -> int | None:
        if not isinstance(cell, str | int):
            return None
        with suppress(ValueError, OverflowError):
            # The zone is the mapping's, or the pattern's own
            at = dt.datetime.strptime(str(cell), self._format)  # noqa: DTZ007
            return (at.replace(tzinfo=at.tzinfo or self._zone) - _EPOCH) // dt.timedelta(milliseconds=1)
        return None

    def _to_utc(self, wall_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return what a clock on the wall shows, read as if it were UTC, as UTC; what is no time stays none."""
        inside = (wall_ms >= _FIRST_MS + 86_400_000) & (wall_ms <= _LAST_MS - 86_400_000)
        # Zones change at whole minutes, and neighbouring rows mostly share theirs
        minutes, which = np.unique(wall_ms[inside] // _MINUTE_MS, return_inverse=True)
        offsets = np.array([self._offset_ms(minute) for minute in minutes.tolist()], np.int64)
        wall_ms[inside] -= offsets[which]
        return wall_ms

    def _offset_ms(self, minute: int) -> int:
        wall = (_EPOCH + dt.timedelta(minutes=minute)).replace(tzinfo=self._zone)
        return (wall.utcoffset() or dt.timedelta()) // dt.timedelta(milliseconds=1)

    def _unreadable(self, cell: Cell) -> Bad:
        if cell is None or cell == "":
            return "time_unreadable", "the time is empty"
        return "time_unreadable", f"the time is {shown(cell)}; time.format is {self._format!r}"


def text(cell: Cell) -> str | None:
    """Return a name; whole numbers are written without a fraction.

    Examples
    --------
    >>> text("press-1"), text(7), text(7.0), text(None)
    ('press-1', '7', '7', None)
    """
    if cell is None or isinstance(cell, str):
        return cell
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _epoch_ms(cell: Cell, unit_ns: int) -> int | None:
    number = whole_number(cell)
    if number is not None:
        return number * unit_ns // 1_000_000
    value = _PLAIN.read([cell], "the time").values[0]
    # A float of seconds is exact to the µs, not to the ns
    return None if value is None else round(value * unit_ns / 1000) // 1000


_PLAIN = NumberReader(Layout())
