"""ISO 8601 instants to milliseconds since the epoch, a whole batch at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit, uncounted

END_MS = 7_258_118_400_000
"""2200-01-01T00:00:00Z, ms since the epoch: times are in ``[0, END_MS)``."""

NO_ZONE_MS = int(np.iinfo(np.int64).min)
"""Stands for a time without a zone."""

MALFORMED_MS = NO_ZONE_MS + 1
"""Stands for what is no time."""

Bytes = npt.NDArray[Any]


def parse_times(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return instants in ms since the epoch, UTC, rounded down; shape (n,).

    Taken is ``2026-11-21T22:00:00.123Z`` with any number of decimals or none, with or without seconds, and with ``Z`` or an
    offset such as ``+01:00``, ``+0100`` or ``+01``. What cannot be read is :data:`NO_ZONE_MS` or :data:`MALFORMED_MS`.

    Examples
    --------
    >>> parse_times(["1970-01-01T00:00:01.5Z", "1970-01-01T01:00+01:00"]).tolist()
    [1500, 0]
    >>> parse_times(["2026-11-21T22:00:00", "yesterday"]).tolist() == [NO_ZONE_MS, MALFORMED_MS]
    True
    """
    joined = "".join(texts)
    if not joined.isascii():
        texts = [text if text.isascii() else "" for text in texts]
        joined = "".join(texts)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    instants = np.empty(len(texts), np.int64)
    _parse_all(np.frombuffer(joined.encode(), np.uint8), ends, instants)
    return instants


def iso(at_ms: int) -> str:
    """Return an instant as text, to the millisecond.

    Parameters
    ----------
    at_ms
        Ms since the epoch, UTC.

    Examples
    --------
    >>> iso(1500)
    '1970-01-01T00:00:01.500Z'
    """
    return (
        f"{dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
    )


@uncounted
def _parse_all(text: Bytes, ends: Bytes, instants: Bytes) -> None:
    begin = 0
    for i in range(len(ends)):
        instants[i] = _parse(text[begin : ends[i]])
        begin = ends[i]


@njit(cache=True, nogil=True, inline="always")
def _two_digits(text: Bytes, at: int) -> int:
    """Return the number at a place, -1 if there is none."""
    if at + 2 > len(text):
        return -1
    high, low = int(text[at]) - 48, int(text[at + 1]) - 48
    return 10 * high + low if 0 <= high <= 9 and 0 <= low <= 9 else -1


@njit(cache=True, nogil=True, inline="always")
def _is_laid_out(text: Bytes) -> bool:
    """Return whether the separators of date, hour and minute are in their places."""
    return (
        len(text) >= 16
        and text[4] == ord("-")
        and text[7] == ord("-")
        and (text[10] == ord("T") or text[10] == ord("t") or text[10] == ord(" "))
        and text[13] == ord(":")
    )


@uncounted
def _parse(text: Bytes) -> int:
    if not _is_laid_out(text):
        return MALFORMED_MS
    century, year = _two_digits(text, 0), _two_digits(text, 2)
    month, day = _two_digits(text, 5), _two_digits(text, 8)
    hour, minute = _two_digits(text, 11), _two_digits(text, 14)
    days = _days(100 * century + year, month, day)
    at, ms = _seconds(text, 16)
    zone = _zone_minutes(text, at)
    if min(century, year, hour, minute, ms) < 0 or hour > 23 or minute > 59 or MALFORMED_MS in (days, zone):
        return MALFORMED_MS
    if zone == NO_ZONE_MS:
        return NO_ZONE_MS
    return ((days * 24 + hour) * 60 + minute - zone) * 60_000 + ms


@uncounted
def _days(year: int, month: int, day: int) -> int:
    """Return days since the epoch of a date of the Gregorian calendar."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or day < 1:
        return MALFORMED_MS
    length = (29 if leap else 28) if month == 2 else (30 if month in (4, 6, 9, 11) else 31)
    if day > length:
        return MALFORMED_MS
    # Years begin in March, so that the leap day is their last
    y = year - (month <= 2)
    from_march = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return y * 365 + y // 4 - y // 100 + y // 400 + from_march - 719_468


@uncounted
def _seconds(text: Bytes, at: int) -> tuple[int, int]:
    """Return (where the zone begins, ms); ms is -1 if it is malformed."""
    if at == len(text) or text[at] != ord(":"):
        return at, 0
    second = _two_digits(text, at + 1)
    if not 0 <= second <= 59:
        return at, -1
    at += 3
    ms, weight = second * 1000, 100
    if at < len(text) and (text[at] == ord(".") or text[at] == ord(",")):
        at += 1
        begin = at
        while at < len(text) and ord("0") <= text[at] <= ord("9"):
            ms += weight * (int(text[at]) - 48)
            weight //= 10
            at += 1
        if at == begin:
            return at, -1
    return at, ms


@uncounted
def _zone_minutes(text: Bytes, at: int) -> int:
    """Return how far the zone is ahead of UTC, minutes."""
    if at == len(text):
        return NO_ZONE_MS
    if text[at] == ord("Z") or text[at] == ord("z"):
        return 0 if at + 1 == len(text) else MALFORMED_MS
    if text[at] != ord("+") and text[at] != ord("-"):
        return MALFORMED_MS
    sign = 1 if text[at] == ord("+") else -1
    hours, minutes = _two_digits(text, at + 1), 0
    at += 3
    if at < len(text):
        at += text[at] == ord(":")
        minutes = _two_digits(text, at)
        at += 2
    if not 0 <= hours <= 23 or not 0 <= minutes <= 59 or at != len(text):
        return MALFORMED_MS
    return sign * (hours * 60 + minutes)
