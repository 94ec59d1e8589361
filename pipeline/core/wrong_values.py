"""What is wrong with a value that somebody wrote, in words that say what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_parsing_size": "write a smaller whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number: no text, true, false or null",
    "float_parsing": "write a number",
    "finite_number": "write a finite number",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "string_type": "write a text",
    "string_too_short": "write at least {min_length} character(s)",
    "string_too_long": "write at most {max_length} characters",
    "string_pattern_mismatch": "write what the pattern {pattern} allows",
    "greater_than": "write a number above {gt}",
    "greater_than_equal": "write a number of at least {ge}",
    "less_than": "write a number below {lt}",
    "less_than_equal": "write a number of at most {le}",
    "literal_error": "write {expected}",
    "enum": "write {expected}",
    "uuid_parsing": "write a UUID, such as 01a0c450-48d8-8c11-9d31-c4780999a2f7",
    "list_type": "write a list",
    "tuple_type": "write a list",
    "too_short": "give at least {min_length} of them",
    "too_long": "give at most {max_length} of them",
    "dict_type": "write an object of names and values",
    "model_type": "write an object of names and values",
    "model_attributes_type": "write an object of names and values",
}
_OF_OUR_OWN = ("value_error", "assertion_error")


def said(found: Mapping[str, Any]) -> str:
    """Return what to write; of what has no words here, those of the library.

    Parameters
    ----------
    found
        One of the errors that pydantic's ``ValidationError`` lists: ``type``, ``ctx`` and ``msg``.

    Examples
    --------
    >>> said({"type": "less_than_equal", "ctx": {"le": 1e140}, "msg": "Input should be less than or equal to 1000…"})
    'write a number of at most 1e+140'
    >>> said({"type": "value_error", "ctx": {}, "msg": "Value error, 'stars' is not one of 'events', 'archive'"})
    "'stars' is not one of 'events', 'archive'"
    >>> said({"type": "date_parsing", "msg": "Input should be a valid date"})
    'input should be a valid date'
    """
    message = str(found.get("msg", ""))
    words = _WORDS.get(str(found.get("type")))
    if words is not None:
        return words.format(**{name: _number(value) for name, value in found.get("ctx", {}).items()})
    if found.get("type") in _OF_OUR_OWN:
        return message.partition(", ")[2]
    return message[:1].lower() + message[1:]


def not_utf8(error: UnicodeDecodeError) -> str:
    r"""Return what is wrong with a file that cannot be decoded.

    Examples
    --------
    >>> try:
    ...     b"M\xfcller".decode()
    ... except UnicodeDecodeError as error:
    ...     not_utf8(error)
    'is not UTF-8: byte 0xfc; save it as UTF-8'
    """
    return f"is not UTF-8: byte 0x{error.object[error.start]:02x}; save it as UTF-8"


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
