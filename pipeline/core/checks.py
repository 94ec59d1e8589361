"""The proof that a body can be stored: UTF-8, JSON, no U+0000, not nested too deeply."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.core.compiling import njit
from pipeline.core.dead_letters import DeadLetterReason as Reason

_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Refused(Exception):
    """A record, or one element of it, is not accepted.

    Parameters
    ----------
    reason, detail
        As in :class:`pipeline.core.dead_letters.DeadLetter`.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def shown(value: object) -> str:
    r"""Return a value for a detail: in one line, printable, not long.

    Examples
    --------
    >>> shown("press" + chr(0)), shown(90 * "x") == "'" + 39 * "x" + "…"
    ("'press\\x00'", True)
    """
    text = repr(value[:80]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:40] + "…"


def read_json(body: bytes, max_depth: int) -> Any:
    """Return what a body says, once it is proven that PostgreSQL can store the body as ``json``.

    Raises
    ------
    Refused
        If it is not.

    Examples
    --------
    >>> read_json(b'{"seq": 7}', max_depth=64)
    {'seq': 7}
    """
    check_text(body)
    check_depth(body, max_depth)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse_json(body, error)


def check_text(body: bytes) -> None:
    """Refuse what is no UTF-8 or holds U+0000, as a byte or as an escape."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{body[error.start]:02x} at {error.start}"
            raise Refused(Reason.NOT_UTF8, f"{byte} is not UTF-8; send the body as UTF-8") from None
    at = body.find(b"\0")
    if at >= 0:
        raise Refused(Reason.NUL_CHARACTER, f"byte {at} is NUL, which no text in the database can hold; leave it out")
    if b"\\u0000" in body and (escape := _NUL_ESCAPE.search(body)):
        at = escape.end() - 6
        raise Refused(Reason.NUL_CHARACTER, f"\\u0000 at byte {at}: no text in the database can hold it; leave it out")


def check_depth(body: bytes, max_depth: int) -> None:
    """Refuse what is nested more than ``max_depth`` levels deep."""
    if body.count(b"{") + body.count(b"[") <= max_depth:
        return
    depth = int(_depth(np.frombuffer(body, np.uint8)))
    if depth > max_depth:
        raise Refused(Reason.NOT_JSON, f"nested {depth} levels deep; at most {max_depth} are taken")


@njit(cache=True, nogil=True)
def _depth(text: npt.NDArray[Any]) -> int:
    depth, deepest = 0, 0
    quoted, escaped = False, False
    for byte in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped = byte == ord("\\")
            quoted = byte != ord('"')
        elif byte == ord('"'):
            quoted = True
        elif byte == ord("{") or byte == ord("["):
            depth += 1
            deepest = max(deepest, depth)
        elif byte == ord("}") or byte == ord("]"):
            depth -= 1
    return deepest


def _refuse_json(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    """Tell numbers that no float can hold, which are JSON, from what is none."""
    huge: list[str] = []

    def number(text: str) -> float:
        value = float(text)
        if math.isinf(value):
            huge.append(text)
        return value

    def constant(name: str) -> NoReturn:
        raise Refused(Reason.NOT_JSON, f"{name} is no JSON number; leave the reading out")

    def members(pairs: list[tuple[str, Any]]) -> None:
        named.extend(name for name, value in pairs if isinstance(value, float) and math.isinf(value))

    named: list[str] = []
    try:
        json.loads(
            body.decode(), parse_int=number, parse_float=number, parse_constant=constant, object_pairs_hook=members
        )
    except ValueError:
        huge.clear()
    if huge:
        whose = f"{shown(named[0])} is" if named else "there is"
        raise Refused(Reason.VALUE_OUT_OF_RANGE, f"{whose} a number that no float can hold: {shown(huge[0])}")
    raise Refused(Reason.NOT_JSON, f"not JSON: {error}")
