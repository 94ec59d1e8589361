"""What the codec refuses, and that the records beside it are stored."""

from typing import Any

import pytest

from tests.core.raw_messages import LAB, NOW_MS, canonical, raw, refused

LONE_SURROGATES = [rb"\ud800", rb"\udc00", rb"\ud800\ud800", rb"\ud800x", rb"\udc00\ud800", rb"\ud800\u0041"]


@pytest.mark.parametrize(
    ("reason", "word", "message"),
    [
        ("not_utf8", "0xff", raw(canonical()).replace(b"aurora", b"aur\xffora")),
        ("not_utf8", "0xed", raw(canonical(note="~")).replace(b"~", b"\xed\xa0\x80")),
        ("not_utf8", "0xc0", raw(canonical(note="~")).replace(b"~", b"\xc0\xaf")),
        ("nul_character", "NUL", raw(canonical(note="~")).replace(b"~", b"\0")),
        ("nul_character", "u0000", raw(canonical()).replace(b"aurora", rb"aur\u0000")),
        ("nul_character", "u0000", raw(canonical(note="~")).replace(b"~", rb"\u0000")),
        ("nul_character", "u0000", raw(canonical(note="~")).replace(b"~", rb"\\\u0000")),
        *[("not_json", "surrogate", raw(canonical(note="~")).replace(b"~", each)) for each in LONE_SURROGATES],
        *[("not_json", "surrogate", raw(canonical()).replace(b"aurora", each)) for each in LONE_SURROGATES],
        ("not_json", "JSON", raw(canonical())[:100]),
        ("not_json", "JSON", raw(canonical()) + raw(canonical())),
        ("not_json", "JSON", raw(canonical()) + b"," + raw(canonical())),
        ("not_json", "JSON", b'{"factory_id":"aurora'),
        ("not_json", "JSON", b'","machine_id":"press-00042"}'),
        ("not_json", "JSON", b"\xef\xbb\xbf" + raw(canonical())),
        ("not_json", "JSON", raw(canonical(note="~")).replace(b"~", rb"\x")),
        ("not_json", "JSON", raw(canonical(note="~")).replace(b"~", rb"\u12")),
        ("not_json", "JSON", raw(canonical(note="~")).replace(b"~", b"\n")),
        ("not_json", "JSON", raw(canonical()).replace(b"55.1", b"055.1")),
        ("not_json", "JSON", raw(canonical()).replace(b"55.1", b"55.")),
        ("not_json", "NaN", raw(canonical(readings={"temperature": float("nan")}))),
        ("not_json", "Infinity", raw(canonical(readings={"temperature": float("-inf")}))),
        ("not_json", "NaN", raw(canonical(extra=float("nan")))),
        ("not_json", "levels", raw(canonical(extra="~")).replace(b'"~"', 64 * b"[" + 64 * b"]")),
        ("not_json", "levels", 200_000 * b"["),
        ("not_json", "levels", 100_000 * b'{"a":'),
        ("not_json", "levels", b"[" + 100_000 * b'{"a":['),
    ],
)
def test_text_that_cannot_be_stored_is_refused(reason: str, word: str, message: bytes) -> None:
    letter = refused(message)

    assert letter.reason == reason
    assert word in letter.detail


@pytest.mark.parametrize(
    ("reason", "word", "message"),
    [
        ("wrong_shape", "the text 'on and on'", b'"on and on"'),
        ("wrong_shape", "a number", b"7"),
        ("wrong_shape", "null", b"null"),
        ("wrong_shape", "true or false", b"true"),
        ("wrong_shape", "array is empty", b"[]"),
        ("wrong_shape", "array is empty", b" [ ] "),
        ("wrong_shape", "machine_id", b"{}"),
        *[
            ("wrong_shape", key, canonical(**{key: value}))
            for key in ("factory_id", "machine_id", "machine_type", "time")
            for value in (..., "", 5, None, True, ["x"], {"x": "y"})
        ],
        *[("wrong_shape", "readings", canonical(readings=value)) for value in (..., {}, [], None, "x", 5)],
        *[
            ("wrong_shape", "readings.temperature", canonical(readings={"temperature": value}))
            for value in ("55.1", True, False, None, {}, {"value": 5}, [5], "")
        ],
        ("wrong_shape", "without a name", canonical(readings={"": 5})),
        ("wrong_shape", "257 sensors", canonical(readings={str(i): i for i in range(257)})),
        *[("wrong_shape", "seq", canonical(seq=value)) for value in (-1, 2**63, 1.5, 1.0, 1e3, "5", True, None, [])],
        *[("wrong_shape", "type", canonical(type=value)) for value in (5, None, True, [], {})],
        *[("unknown_type", "type", canonical(type=value)) for value in ("toaster", "Machine", "", "machine ")],
        ("time_without_zone", "time is '2026-11-21T22:00:00'", canonical(time="2026-11-21T22:00:00")),
        ("wrong_shape", "time is 'yesterday'", canonical(time="yesterday")),
        ("wrong_shape", "time is '2026-11-21'", canonical(time="2026-11-21")),
        ("wrong_shape", "ISO 8601", canonical(time="2026-02-30T22:00:00Z")),
        ("wrong_shape", "ISO 8601", canonical(time="٢٠٢٦-11-21T22:00:00Z")),
        ("wrong_shape", "time is a number", canonical(time=NOW_MS)),
        ("time_out_of_range", "time", canonical(time="1969-12-31T23:59:59.999Z")),
        ("time_out_of_range", "time", canonical(time="1970-01-01T00:59:59+01:00")),
        ("time_out_of_range", "time", canonical(time="2200-01-01T00:00:00Z")),
        ("time_out_of_range", "time", canonical(time="9999-12-31T23:59:59.999Z")),
        ("time_in_future", "3600 s ahead", canonical(time="2026-11-21T23:00:00.001Z")),
        ("value_out_of_range", "readings.temperature", canonical(readings={"temperature": 1.0001e140})),
        ("value_out_of_range", "readings.temperature", canonical(readings={"temperature": -1e308})),
        ("value_out_of_range", "temperature", raw(canonical()).replace(b"55.1", b"1e400")),
        ("value_out_of_range", "temperature", raw(canonical()).replace(b"55.1", b"-1e400")),
        ("value_out_of_range", "temperature", raw(canonical()).replace(b"55.1", 10_000 * b"9")),
        ("value_out_of_range", "extra", raw(canonical(extra="~")).replace(b'"~"', b"1e400")),
        ("value_out_of_range", "1e400", raw(canonical(extra=["~"])).replace(b'"~"', b"1e400")),
        ("not_json", "JSON", raw(canonical()).replace(b"55.1", b"1e400") + b"}"),
        *[
            ("identifier_too_long", f"{key} has 129", canonical(**{key: 129 * "x"}))
            for key in ("factory_id", "machine_id", "machine_type")
        ],
        ("identifier_too_long", "129", canonical(readings={129 * "x": 5, "y": 5})),
        ("identifier_too_long", "5000", canonical(machine_id=5_000 * "x", extra=1)),
    ],
)
def test_messages_that_are_refused(reason: str, word: str, message: object) -> None:
    letter = refused(message)

    assert letter.reason == reason
    assert word in letter.detail


def without(message: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != key}


@pytest.mark.parametrize(
    ("reason", "word", "message"),
    [
        *[("wrong_shape", key, without(LAB, key)) for key in ("factoryId", "machine", "timeCreated")],
        *[("wrong_shape", key, LAB | {"machine": without(LAB["machine"], key)}) for key in LAB["machine"]],
        *[
            ("wrong_shape", "machineId", LAB | {"machine": LAB["machine"] | {"machineId": x}})
            for x in ("", 1.0, None, True)
        ],
        *[("wrong_shape", "factoryId", LAB | {"factoryId": x}) for x in ("", 1.5, None, False, 10**30, [1])],
        *[
            ("wrong_shape", "machine.pressure", LAB | {"machine": LAB["machine"] | {"pressure": x}})
            for x in ("1", None)
        ],
        *[("wrong_shape", "ambient.humidity", LAB | {"ambient": {"humidity": x}}) for x in ("1", None, True, [1])],
        *[("wrong_shape", "ambient", LAB | {"ambient": x}) for x in (None, [], 5)],
        ("value_out_of_range", "ambient.temperature", LAB | {"ambient": {"temperature": 1e141}}),
        ("time_without_zone", "timeCreated", LAB | {"timeCreated": "2026-11-21T22:00:00"}),
        ("identifier_too_long", "machine.machineId", LAB | {"machine": LAB["machine"] | {"machineId": 129 * "x"}}),
        ("unknown_type", "valve", LAB | {"type": "valve"}),
    ],
)
def test_lab_messages_that_are_refused(reason: str, word: str, message: object) -> None:
    letter = refused(message)

    assert letter.reason == reason
    assert word in letter.detail
