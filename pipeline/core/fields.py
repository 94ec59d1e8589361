"""The fields of a message that was read in plain Python: each is what it should be, or the message is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.checks import Refused, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason

MAX_VALUE = 1e140
"""Largest reading of either sign: no float holds the sum of squares of larger ones."""

MAX_INTEGER = 2**63 - 1


def present(message: Mapping[str, Any], key: str, where: str = "") -> Any:
    """Return a field.

    Parameters
    ----------
    where
        What stands before its name for people, such as ``machine.``; so in all functions here.

    Raises
    ------
    Refused
        If it is not there; the other functions here also if it is of the wrong kind.
    """
    if key not in message:
        raise Refused(Reason.WRONG_SHAPE, f"{where}{key} is missing; send it")
    return message[key]


def members(message: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a field that is an object."""
    found = present(message, key)
    if not isinstance(found, dict):
        raise Refused(Reason.WRONG_SHAPE, f"{key} is {kind_of(found)}; send an object")
    return found


def text(message: Mapping[str, Any], key: str, where: str = "") -> str:
    """Return a field that is text and not empty."""
    found = present(message, key, where)
    if not isinstance(found, str) or not found:
        raise Refused(Reason.WRONG_SHAPE, f"{where}{key} is {kind_of(found)}; send text that is not empty")
    return found


def number_or_text(message: Mapping[str, Any], key: str, where: str = "") -> str:
    """Return a field that is an id, which may be sent as a whole number."""
    found = present(message, key, where)
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= MAX_INTEGER:
        return str(found)
    return text(message, key, where)


def sequence_number(found: object) -> int:
    """Return a device's sequence number."""
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MAX_INTEGER:
        what = shown(found) if isinstance(found, int | float) else kind_of(found)
        raise Refused(Reason.WRONG_SHAPE, f"seq is {what}; send a whole number from 0 to 2**63 - 1, or leave it out")
    return found


def reading(found: object, key: str) -> float:
    """Return a reading."""
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise Refused(Reason.WRONG_SHAPE, f"{shown(key)} is {kind_of(found)}; send a number, or leave it out")
    if abs(found) > MAX_VALUE:
        raise Refused(Reason.VALUE_OUT_OF_RANGE, f"{shown(key)} is {found!r}; send a number within ±{MAX_VALUE:g}")
    return float(found)


_KINDS: dict[type, str] = {dict: "an object", list: "an array", bool: "true or false", type(None): "null"}


def kind_of(found: object) -> str:
    """Return what a value is, for people.

    Examples
    --------
    >>> kind_of(None), kind_of(7), kind_of(""), kind_of("x")
    ('null', 'a number', 'empty', "the text 'x'")
    """
    if isinstance(found, str):
        return f"the text {shown(found)}" if found else "empty"
    return _KINDS.get(type(found), "a number")
