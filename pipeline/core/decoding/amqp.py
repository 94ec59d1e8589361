"""AMQP 1.0 primitive values, as IoT Hub and Event Hubs put them into headers (OASIS AMQP 1.0, part 1, section 1.6)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

Primitive = str | int | float | bool | bytes | uuid.UUID | None
"""What a value may be; a timestamp is an ``int``: ms since the epoch, UTC."""


def _number(layout: str) -> tuple[int, Callable[[bytes], Primitive]]:
    form = struct.Struct(">" + layout)

    def read(raw: bytes) -> Primitive:
        number: int | float = form.unpack(raw)[0]
        return number

    return form.size, read


def _constant(value: Primitive) -> tuple[int, Callable[[bytes], Primitive]]:
    return 0, lambda _: value


def _boolean(raw: bytes) -> Primitive:
    if raw[0] > 1:
        msg = f"0x{raw.hex()} is no boolean"
        raise ValueError(msg)
    return raw[0] == 1


def _character(raw: bytes) -> Primitive:
    return raw.decode("utf-32-be")


def _text(raw: bytes) -> Primitive:
    return raw.decode()


def _symbol(raw: bytes) -> Primitive:
    return raw.decode("ascii")


_FIXED: dict[int, tuple[int, Callable[[bytes], Primitive]]] = {
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(0),  # uint0
    0x44: _constant(0),  # ulong0
    0x50: _number("B"),  # ubyte
    0x51: _number("b"),  # byte
    0x52: _number("B"),  # smalluint
    0x53: _number("B"),  # smallulong
    0x54: _number("b"),  # smallint
    0x55: _number("b"),  # smalllong
    0x56: (1, _boolean),
    0x60: _number("H"),  # ushort
    0x61: _number("h"),  # short
    0x70: _number("I"),  # uint
    0x71: _number("i"),  # int
    0x72: _number("f"),  # float
    0x73: (4, _character),
    0x80: _number("Q"),  # ulong
    0x81: _number("q"),  # long
    0x82: _number("d"),  # double
    0x83: _number("q"),  # timestamp
    0x98: (16, lambda raw: uuid.UUID(bytes=raw)),
}
"""Constructor: width of the value in bytes, and how it is read."""

_VARIABLE: dict[int, tuple[int, Callable[[bytes], Primitive]]] = {
    0xA0: (1, bytes),  # vbin8
    0xA1: (1, _text),  # str8-utf8
    0xA3: (1, _symbol),  # sym8
    0xB0: (4, bytes),  # vbin32
    0xB1: (4, _text),  # str32-utf8
    0xB3: (4, _symbol),  # sym32
}
"""Constructor: width of the length that comes before the value, in bytes, and how the value is read."""

_TEXTS = frozenset({0xA1, 0xA3, 0xB1, 0xB3})


def decode(value: bytes) -> Primitive:
    """Return one AMQP-encoded primitive value.

    Raises
    ------
    ValueError
        If it is none, is cut short or goes on after its end.

    Examples
    --------
    >>> decode(bytes([0xA1, 5]) + b"press"), decode(bytes([0x55, 0xFF])), decode(bytes([0x40]))
    ('press', -1, None)
    """
    constructor = value[0] if value else -1
    if constructor in _FIXED:
        width, read = _FIXED[constructor]
        raw = value[1:]
    elif constructor in _VARIABLE:
        prefix, read = _VARIABLE[constructor]
        raw = value[1 + prefix :]
        width = int.from_bytes(value[1 : 1 + prefix], "big") if len(value) > prefix else -1
    else:
        msg = f"{value[:1]!r} begins no AMQP primitive value"
        raise ValueError(msg)
    if len(raw) != width:
        msg = f"an AMQP value of constructor 0x{constructor:02x} has {len(raw)} bytes instead of {width}"
        raise ValueError(msg)
    return read(raw)


def header_text(value: bytes) -> str:
    """Return a header's text, whether it comes plain or AMQP-encoded.

    No plain text begins with the constructor of an AMQP string or symbol: in UTF-8 those bytes only go on with a
    character that has begun.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> header_text(b"press-00042"), header_text(bytes([0xA1, 11]) + b"press-00042")
    ('press-00042', 'press-00042')
    """
    return str(decode(value)) if value[:1] and value[0] in _TEXTS else value.decode()
