"""The ways in which a message arrives spoilt."""

from __future__ import annotations

import re
from enum import StrEnum


class Garbage(StrEnum):
    """What is wrong with a record; none of them can be accepted."""

    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    TRUNCATED = "truncated"
    NOT_AN_OBJECT = "not_an_object"
    NUL_CHARACTER = "nul_character"
    NAN = "nan"
    NUMBER_AS_TEXT = "number_as_text"
    WRONG_TYPE = "wrong_type"
    MISSING_ID = "missing_id"
    UNKNOWN_TYPE = "unknown_type"
    TIME_WITHOUT_ZONE = "time_without_zone"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    IDENTIFIER_TOO_LONG = "identifier_too_long"


KINDS = tuple(Garbage)

_TIME = re.compile(r'"time":"[^"]*"')
_TEMPERATURE = re.compile(r'"temperature":[-0-9.]+')
_READINGS = re.compile(r'"readings":\{.*\}\}$')
_MACHINE_ID = re.compile(r'"machine_id":"[^"]*"')

_REWRITES: dict[Garbage, tuple[re.Pattern[str], str]] = {
    Garbage.NUL_CHARACTER: (_MACHINE_ID, r'"machine_id":"press\\u0000"'),
    Garbage.NAN: (_TEMPERATURE, '"temperature":NaN'),
    Garbage.NUMBER_AS_TEXT: (_TEMPERATURE, '"temperature":"55.10"'),
    Garbage.WRONG_TYPE: (_READINGS, '"readings":[55.1,7539.2]}'),
    Garbage.MISSING_ID: (re.compile(_MACHINE_ID.pattern + ","), ""),
    Garbage.UNKNOWN_TYPE: (re.compile(r'"type":"machine"'), '"type":"toaster"'),
    Garbage.TIME_WITHOUT_ZONE: (re.compile(r'Z","seq"'), '","seq"'),
    Garbage.TIME_OUT_OF_RANGE: (_TIME, '"time":"9999-12-31T23:59:59.999Z"'),
    Garbage.VALUE_OUT_OF_RANGE: (_TEMPERATURE, '"temperature":1e200'),
    Garbage.IDENTIFIER_TOO_LONG: (_MACHINE_ID, '"machine_id":"' + 5_000 * "x" + '"'),
}


def spoil(body: str, kind: Garbage) -> bytes:
    """Return a canonical message spoilt in one way.

    Parameters
    ----------
    body
        A message from :func:`simulator.messages.canonical`.

    Examples
    --------
    >>> spoil('{"type":"machine","machine_id":"press-00042","readings":{}}', Garbage.MISSING_ID)
    b'{"type":"machine","readings":{}}'
    >>> spoil('{"type":"machine"}', Garbage.TRUNCATED)
    b'{"type":"'
    """
    if kind is Garbage.EMPTY:
        return b""
    if kind is Garbage.NOT_UTF8:
        return body.encode().replace(b"machine", b"mach\xff\xfene", 1)
    if kind is Garbage.TRUNCATED:
        return body[: len(body) // 2].encode()
    if kind is Garbage.NOT_AN_OBJECT:
        return b'"on and on"'
    pattern, replacement = _REWRITES[kind]
    return pattern.sub(replacement, body, count=1).encode()
