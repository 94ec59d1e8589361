"""AMQP 1.0 primitive values in headers; the bytes are those of the specification's section 1.6."""

import contextlib
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.decoding.amqp import decode, header_text

ENCODED = [
    ("40", None),
    ("41", True),
    ("42", False),
    ("5601", True),
    ("5600", False),
    ("50ff", 255),
    ("60ffff", 65_535),
    ("70ffffffff", 2**32 - 1),
    ("5207", 7),
    ("43", 0),
    ("80ffffffffffffffff", 2**64 - 1),
    ("5307", 7),
    ("44", 0),
    ("51ff", -1),
    ("61ff00", -256),
    ("71ffffffff", -1),
    ("54fe", -2),
    ("81ffffffffffffffff", -1),
    ("55fe", -2),
    ("723fc00000", 1.5),
    ("82bff8000000000000", -1.5),
    ("730001f600", "\U0001f600"),
    ("83000001a1ff0e8e78", 1_795_280_506_488),
    ("98" + 16 * "ab", uuid.UUID(16 * "ab")),
    ("a003616263", b"abc"),
    ("b000000003616263", b"abc"),
    ("a104c3bc7878", "üxx"),
    ("b100000003616263", "abc"),
    ("a303616263", "abc"),
    ("b300000003616263", "abc"),
    ("a100", ""),
]


@pytest.mark.parametrize(("encoded", "value"), ENCODED)
def test_every_primitive_type_is_read(encoded: str, value: object) -> None:
    found = decode(bytes.fromhex(encoded))

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("encoded", [encoded for encoded, _ in ENCODED])
def test_a_value_that_is_cut_short_or_goes_on_is_refused(encoded: str) -> None:
    raw = bytes.fromhex(encoded)

    with pytest.raises(ValueError):  # noqa: PT011 - any text will do
        decode(raw[:-1])
    with pytest.raises(ValueError, match="bytes instead of"):
        decode(raw + b"\0")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\x53\x70",  # a described type
        b"\x45",  # an empty list
        b"\xc0\x01\x00",  # a list
        b"\x84" + bytes(8),  # a decimal
        b"\x56\x02",  # neither true nor false
        b"\xa1\x01\xff",  # no UTF-8
        b"\xa3\x02\xc3\xbc",  # a symbol is ASCII
        b"\x73\x00\x11\x00\x00",  # beyond Unicode
        b"\xb1\xff\xff\xff\xffx",  # says it is longer than it is
        b"press-00042",
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text will do
        decode(raw)


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_value_error(raw: bytes) -> None:
    for read in (decode, header_text):
        with contextlib.suppress(ValueError):
            read(raw)


@given(st.text(max_size=300))
def test_a_header_text_is_the_same_plain_or_encoded(text: str) -> None:
    raw = text.encode()

    assert header_text(raw) == text
    assert header_text(b"\xb1" + struct.pack(">I", len(raw)) + raw) == text
    if len(raw) < 256:
        assert header_text(bytes([0xA1, len(raw)]) + raw) == text


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xa1\x09short", b"\x83\x00", b"\xa0\x01x"])
def test_a_header_that_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text will do
        header_text(raw)
