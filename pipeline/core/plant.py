"""What there is in a plant, and what may be said of it: the fields of every kind of entity."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline.core.checks import shown
from pipeline.core.fields import MAX_VALUE

MAX_NAME = 128
"""Longest text of a field, in characters."""

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_OPERATORS = ("<", "<=", ">", ">=")


class Field(NamedTuple):
    """One field of an entity.

    Parameters
    ----------
    is_right
        Whether a value may stand there.
    wanted
        What may, in words.
    """

    is_right: Callable[[Any], bool]
    wanted: str
    required: bool = True


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_VALUE


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _are_weekdays(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 7 and all(_is_whole(each, 1, 7) for each in value)


def _is_condition(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"sensor", "op", "value"}
        and _is_text(value["sensor"])
        and value["op"] in _OPERATORS
        and _is_number(value["value"])
    )


def _are_conditions(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 32 and all(map(_is_condition, value))


_TEXT = Field(_is_text, f"text of 1 to {MAX_NAME} characters")
_MAYBE_TEXT = _TEXT._replace(required=False)
_TIME = Field(lambda value: isinstance(value, str) and bool(_CLOCK.fullmatch(value)), "a time of day such as 06:30")


def _one_of(*words: str) -> Field:
    return Field(lambda value: isinstance(value, str) and value in words, " or ".join(words), required=False)


ENTITIES: Mapping[str, Mapping[str, Field]] = {
    "factory": {
        "name": _TEXT,
        "time_zone": Field(
            lambda value: _is_text(value) and bool(_ZONE.fullmatch(value)), "a time zone such as Europe/Oslo"
        ),
        "policy": _one_of("accept", "quarantine"),
    },
    "line": {"factory_id": _TEXT, "name": _TEXT},
    "machine": {
        "factory_id": _TEXT,
        "line_id": _MAYBE_TEXT,
        "machine_type": _MAYBE_TEXT,
        "status": _one_of("enabled", "disabled"),
        "pump_id": _MAYBE_TEXT,
        "gateway": _MAYBE_TEXT,
    },
    "sku": {
        "name": _TEXT,
        "ideal_cycle_s": Field(lambda value: _is_number(value) and 1e-9 <= value <= 1e12, "seconds from 1e-9 to 1e12"),
    },
    "shift": {
        "factory_id": _TEXT,
        "name": _TEXT,
        "start": _TIME,
        "end": _TIME,
        "weekdays": Field(_are_weekdays, "a list of weekdays, 1 (Monday) to 7"),
    },
    "maintenance_rule": {
        "class": Field(lambda value: _is_whole(value, 1, 5), "a whole number from 1 to 5"),
        "name": _TEXT,
        "conditions": Field(
            _are_conditions, 'a list of 1 to 32 conditions such as {"sensor": "pressure", "op": "<", "value": 7475}'
        ),
    },
}
"""The fields of each kind of entity."""


def complaint(kind: str, body: Mapping[str, Any]) -> str:
    """Return what is wrong with what is said of an entity, in one line; empty: nothing.

    Examples
    --------
    >>> complaint("sku", {"name": "bolt", "ideal_cycle_s": 2.5})
    ''
    >>> complaint("line", {"factory_id": "aurora", "colour": "red"})
    "a line has no field 'colour'; it has factory_id, name"
    >>> complaint("line", {"factory_id": 7, "name": "one"})
    'factory_id is 7; send text of 1 to 128 characters'
    """
    fields = ENTITIES[kind]
    for name, value in body.items():
        if name not in fields:
            return f"a {kind} has no field {shown(name)}; it has {', '.join(fields)}"
        if not fields[name].is_right(value):
            return f"{name} is {shown(value)}; send {fields[name].wanted}"
    for name, field in fields.items():
        if field.required and name not in body:
            return f"{name} is missing; send {field.wanted}"
    return ""
