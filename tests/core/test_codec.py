"""What the codec accepts and refuses, record by record."""

import json
import struct
from typing import Any

import pytest

from pipeline.core.codec import CodecRules, Columns, decode
from pipeline.core.dead_letters import DeadLetter, DeadLetterReason
from pipeline.core.records import Record

NOW_MS = 1_795_298_400_000  # 2026-11-21T22:00:00Z
RULES = CodecRules()
LAB = {
    "factoryId": 1,
    "machine": {"machineId": 12345, "temperature": 55.0, "pressure": 7539, "electricityUtilization": 29.36},
    "ambient": {"temperature": 22.6, "humidity": 20},
    "timeCreated": "2026-11-21T22:00:00Z",
}


def canonical(**changes: Any) -> dict[str, Any]:
    """A canonical message with some fields changed; ``...`` leaves one out."""
    message = {
        "type": "machine",
        "factory_id": "aurora",
        "machine_id": "press-00042",
        "machine_type": "stamping_press",
        "time": "2026-11-21T22:00:00.123Z",
        "seq": 18422,
        "readings": {"temperature": 55.1, "pressure": 7539.2},
    } | changes
    return {key: value for key, value in message.items() if value is not ...}


def raw(message: object) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode()


def read(*messages: object, headers: Any = (), rules: CodecRules = RULES) -> tuple[Columns, list[DeadLetter]]:
    return decode([Record(10 + i, NOW_MS, raw(m), b"k", headers) for i, m in enumerate(messages)], rules, {})


def refused(message: object, headers: Any = (), rules: CodecRules = RULES) -> DeadLetter:
    """The one dead letter of a record between two good ones, which are stored."""
    good = raw(canonical())
    records = [Record(1, NOW_MS, good), Record(2, NOW_MS, raw(message), b"key", headers), Record(5, NOW_MS, good)]

    columns, letters = decode(records, rules, {})

    assert columns.offsets.tolist() == [1, 5]
    assert columns.bodies == [good, good]
    assert columns.values.tolist() == 2 * [55.1, 7539.2]
    (letter,) = letters
    assert (letter.offset, letter.index, letter.key, letter.record_ms) == (2, 0, b"key", NOW_MS)
    assert letter.body == raw(message)
    assert letter.headers is headers
    assert letter.detail.isprintable()
    assert len(letter.detail) < 200
    return letter


def test_a_canonical_message_is_read_column_by_column() -> None:
    body = raw(canonical())

    columns, letters = read(body)

    assert letters == []
    assert columns.offsets.tolist() == [10]
    assert columns.indexes.tolist() == [0]
    assert columns.times_ms.tolist() == [NOW_MS + 123]
    assert columns.ingest_ms.tolist() == [NOW_MS]
    assert columns.seqs.tolist() == [18422]
    assert columns.machine_ids == ["press-00042"]
    assert columns.factory_ids == ["aurora"]
    assert columns.machine_types == ["stamping_press"]
    assert columns.sensors == [("temperature", "pressure")]
    assert columns.values.tolist() == [55.1, 7539.2]
    assert columns.ends.tolist() == [2]
    assert columns.bodies == [body]


def test_columns_have_the_types_the_fold_counts_on() -> None:
    for columns, _ in (read(canonical()), read(), read(b"")):
        found = {name: getattr(columns, name).dtype.name for name in ("offsets", "times_ms", "ingest_ms", "seqs", "ends")}
        assert set(found.values()) == {"int64"}
        assert columns.indexes.dtype.name == "int32"
        assert columns.values.dtype.name == "float64"


def test_messages_of_one_shape_share_their_names() -> None:
    columns, _ = read(*[canonical(seq=i) for i in range(3)], canonical(readings={"pressure": 1, "temperature": 2}))

    assert columns.sensors[0] is columns.sensors[1] is columns.sensors[2]
    assert columns.sensors[3] == ("pressure", "temperature")
    assert columns.ends.tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize(
    "change",
    [
        {"type": ...},
        {"seq": 0},
        {"seq": 2**63 - 1},
        {"readings": {"temperature": 1}},
        {"readings": {"temperature": -1e140, "pressure": 1e140}},
        {"readings": {"temperature": 2**64, "pressure": 2**64 - 1}},
        {"readings": {str(i): i for i in range(256)}},
        {"readings": {"ü" * 128: 5}},
        {"machine_id": "x" * 128},
        {"machine_id": "Süd 😀"},
        {"time": "2026-11-21T23:00:00+01:00"},
        {"time": "2026-11-21T23:00:00Z"},
        {"extra": {"nobody": ["reads", None, True, 1.5e300, {}]}},
        {"note": 'a "quoted" \\ text'},
        {"note": "\\u0000"},  # a backslash and five characters, not U+0000
    ],
)
def test_accepted_variations(change: dict[str, Any]) -> None:
    message = canonical(**change)

    columns, letters = read(message)

    assert letters == []
    assert columns.bodies == [raw(message)]
    assert columns.values.tolist() == [float(value) for value in message["readings"].values()]
    assert columns.machine_ids == [message["machine_id"]]
    assert columns.seqs.tolist() == [message["seq"]]


def test_a_message_without_a_sequence_number_has_minus_one() -> None:
    assert read(canonical(seq=...))[0].seqs.tolist() == [-1]
    assert read(canonical(seq=..., extra=1))[0].seqs.tolist() == [-1]


@pytest.mark.parametrize(
    "body",
    [
        raw(canonical()).replace(b"aurora", rb"\u0061\ud83d\ude00"),
        b" \t\r\n" + raw(canonical()) + b" \t\r\n",
        raw(canonical()).replace(b'"seq"', b'"seq":1,"seq"'),
    ],
)
def test_any_spelling_of_json_is_read(body: bytes) -> None:
    columns, letters = read(body)

    assert letters == []
    assert columns.bodies == [body]
    assert columns.seqs.tolist() == [18422]


@pytest.mark.parametrize("more", [{}, {"note": 1}])
def test_the_reference_labs_message_is_read(more: dict[str, Any]) -> None:
    columns, letters = read(LAB | more)

    assert letters == []
    assert (columns.machine_ids, columns.factory_ids, columns.machine_types) == (["12345"], ["1"], [""])
    assert columns.sensors == [("temperature", "pressure", "electricity", "ambient_temperature", "humidity")]
    assert columns.values.tolist() == [55.0, 7539.0, 29.36, 22.6, 20.0]
    assert columns.seqs.tolist() == [-1]
    assert columns.times_ms.tolist() == [NOW_MS]


@pytest.mark.parametrize("more", [{}, {"note": 1}])
@pytest.mark.parametrize(
    ("ambient", "names"),
    [
        (..., ()),
        ({}, ()),
        ({"humidity": 1}, ("humidity",)),
        ({"temperature": 1}, ("ambient_temperature",)),
        ({"humidity": 1, "temperature": 1}, ("ambient_temperature", "humidity")),
    ],
)
def test_parts_of_the_labs_ambient_may_be_missing(ambient: Any, names: tuple[str, ...], more: dict[str, Any]) -> None:
    message = {key: value for key, value in (LAB | more | {"ambient": ambient}).items() if value is not ...}

    columns, letters = read(message)

    assert letters == []
    assert columns.sensors == [("temperature", "pressure", "electricity", *names)]


@pytest.mark.parametrize("more", [{}, {"note": 1}])
def test_the_labs_ids_may_be_texts(more: dict[str, Any]) -> None:
    columns, _ = read(LAB | {"factoryId": "one", "machine": LAB["machine"] | {"machineId": "M7"}} | more)

    assert (columns.machine_ids, columns.factory_ids) == (["M7"], ["one"])


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
        *[("wrong_shape", "machineId", LAB | {"machine": LAB["machine"] | {"machineId": x}}) for x in ("", 1.0, None, True)],
        *[("wrong_shape", "factoryId", LAB | {"factoryId": x}) for x in ("", 1.5, None, False, 10**30, [1])],
        *[("wrong_shape", "machine.pressure", LAB | {"machine": LAB["machine"] | {"pressure": x}}) for x in ("1", None)],
        *[("wrong_shape", "ambient.humidity", LAB | {"ambient": {"humidity": x}}) for x in ("1", None, True, [1])],
        *[("wrong_shape", "ambient", LAB | {"ambient": x}) for x in (None, [], 5)],
        ("value_out_of_range", "ambient.temperature", LAB | {"ambient": {"temperature": 1e141}}),
        ("time_without_zone", "timeCreated", LAB | {"timeCreated": "2026-11-21T22:00:00"}),
        ("identifier_too_long", "machine.machineId", LAB | {"machine": LAB["machine"] | {"machineId": 129 * "x"}}),
        ("unknown_type", "pump", LAB | {"type": "pump"}),
    ],
)
def test_lab_messages_that_are_refused(reason: str, word: str, message: object) -> None:
    letter = refused(message)

    assert letter.reason == reason
    assert word in letter.detail


@pytest.mark.parametrize("body", [b"", None])
def test_a_record_without_a_body_is_empty(body: bytes | None) -> None:
    columns, letters = decode([Record(3, NOW_MS, body)], RULES, {})

    assert len(columns.bodies) == 0
    assert [(x.offset, x.reason, x.body) for x in letters] == [(3, DeadLetterReason.EMPTY, body)]


def test_a_body_may_have_the_largest_size_but_not_a_byte_more() -> None:
    body = raw(canonical())

    assert len(read(body, rules=CodecRules(max_body_bytes=len(body)))[0].bodies) == 1
    (letter,) = read(body, rules=CodecRules(max_body_bytes=len(body) - 1))[1]
    assert letter.reason == "too_large"
    assert letter.body == body


def test_offsets_to_skip_become_dead_letters_unseen() -> None:
    records = [Record(i, NOW_MS, raw(canonical())) for i in range(4)]
    skip = {1: (DeadLetterReason.FOLD_FAILED, "fold failed"), 99: (DeadLetterReason.UNSTORABLE, "elsewhere")}

    columns, letters = decode(records, RULES, skip)

    assert columns.offsets.tolist() == [0, 2, 3]
    assert [(x.offset, x.reason, x.detail, x.body) for x in letters] == [
        (1, "fold_failed", "fold failed", records[1].value)
    ]


def test_nesting_is_counted_outside_of_texts_and_up_to_the_limit() -> None:
    deepest = raw(canonical(extra="~")).replace(b'"~"', 63 * b"[" + 63 * b"]")
    brackets = canonical(extra=1000 * '[{"')

    assert read(deepest, brackets)[1] == []


def test_every_element_of_an_array_is_a_message_of_its_own() -> None:
    elements = [canonical(), LAB, canonical(seq="x"), 5, canonical(extra=1), [canonical()]]
    body = b" [" + b" , ".join(map(raw, elements)) + b"]\n"

    columns, letters = read(canonical(), body, canonical())

    assert list(zip(columns.offsets.tolist(), columns.indexes.tolist(), strict=True)) == [
        (10, 0),
        (11, 0),
        (11, 1),
        (11, 4),
        (12, 0),
    ]
    assert columns.bodies[1:4] == [raw(elements[0]), raw(elements[1]), raw(elements[4])]
    assert columns.ends.tolist() == [2, 4, 9, 11, 13]
    assert [(x.offset, x.index, x.reason, x.body) for x in letters] == [
        (11, 2, "wrong_shape", raw(elements[2])),
        (11, 3, "wrong_shape", b"5"),
        (11, 5, "wrong_shape", raw(elements[5])),
    ]


def test_an_element_that_is_no_utf8_leaves_its_neighbours_alone() -> None:
    bad = raw(canonical(note="~")).replace(b"~", b"\xff")

    columns, letters = read(b"[" + raw(canonical()) + b"," + bad + b"," + raw(canonical()) + b"]")

    assert columns.indexes.tolist() == [0, 2]
    assert [(x.index, x.reason, x.body) for x in letters] == [(1, "not_utf8", bad)]


@pytest.mark.parametrize(
    ("reason", "body"),
    [
        ("not_json", b"[" + raw(canonical()) + b",]"),
        ("not_json", b"[" + raw(canonical())),
        ("not_json", b"[" + raw(canonical()) + b"]]"),
        ("not_json", b"[" + raw(canonical()) + b",{]"),
        ("not_utf8", b"[\xff]"),
        ("nul_character", b"[" + raw(canonical()) + b"]\0"),
        ("wrong_shape", b"[" + 10_000 * b"1," + b"1]"),
    ],
)
def test_an_array_that_cannot_be_taken_apart_is_one_dead_letter(reason: str, body: bytes) -> None:
    assert refused(body).reason == reason


def test_a_message_may_be_as_deep_in_an_array_as_alone() -> None:
    deepest = raw(canonical(extra="~")).replace(b'"~"', 63 * b"[" + 63 * b"]")

    columns, letters = read(b"[" + deepest + b"," + raw(canonical()) + b"]")

    assert (len(columns.bodies), letters) == (2, [])


@pytest.mark.parametrize("value", [b"machine", b"\xa1\x07machine", b"\xa3\x07machine"])
def test_the_type_may_come_from_a_header(value: bytes) -> None:
    assert read(canonical(type=...), LAB, canonical(), headers=[("type", value)])[1] == []


@pytest.mark.parametrize("value", [b"pump", b"\xa1\x04pump", b"\xff", b"", None])
def test_another_type_in_a_header_counts_for_messages_that_say_none(value: bytes | None) -> None:
    headers = [("type", value)]
    columns, letters = read(canonical(), canonical(type=...), LAB, headers=headers)

    assert columns.offsets.tolist() == [10]
    assert [letter.reason for letter in letters] == ["unknown_type", "unknown_type"]


@pytest.mark.parametrize(
    "value", [b"press-00042", b"\xa1\x0bpress-00042", b"\xb1\0\0\0\x0bpress-00042", b"\xa3\x0bpress-00042"]
)
def test_the_device_that_sent_it_is_the_machine(value: bytes) -> None:
    assert read(canonical(), headers=[("iothub-connection-device-id", value)])[1] == []


@pytest.mark.parametrize(
    "value", [b"press-00043", b"press-00042 ", b"\xa1\x0bpress-00043", b"\xff\xfe", b"\xa1\x0cpress-00042", b"", None]
)
def test_a_message_that_another_device_sent_is_refused(value: bytes | None) -> None:
    letter = refused(canonical(), headers=[("iothub-connection-device-id", value)])

    assert letter.reason == "device_mismatch"
    assert "press-00042" in letter.detail


def test_two_devices_in_one_records_headers_are_nobody() -> None:
    name = "iothub-connection-device-id"

    assert refused(canonical(), [(name, b"press-00042"), (name, b"x")]).reason == "device_mismatch"
    assert refused(canonical(), [(name, b"x"), (name, b"press-00042"), (name, b"press-00042")]).reason == "device_mismatch"
    assert read(canonical(), headers=[(name, b"press-00042"), (name, b"press-00042")])[1] == []


def test_a_registered_gateway_may_speak_for_other_machines() -> None:
    rules = CodecRules(gateways=frozenset({"edge-1"}))

    assert read(canonical(), LAB, headers=[("iothub-connection-device-id", b"edge-1")], rules=rules)[1] == []
    assert refused(canonical(), [("iothub-connection-device-id", b"edge-2")], rules).reason == "device_mismatch"


def test_each_element_of_an_array_must_be_the_devices() -> None:
    body = raw([canonical(), canonical(machine_id="other")])

    columns, letters = read(body, headers=[("iothub-connection-device-id", b"press-00042")])

    assert columns.indexes.tolist() == [0]
    assert [(x.index, x.reason) for x in letters] == [(1, "device_mismatch")]


@pytest.mark.parametrize(
    "value",
    [
        b"\x83" + struct.pack(">q", NOW_MS + 5),
        b"\x81" + struct.pack(">q", NOW_MS + 5),
        b"\x80" + struct.pack(">Q", NOW_MS + 5),
        str(NOW_MS + 5).encode(),
        b"2026-11-21T22:00:00.005Z",
        b"2026-11-21T23:00:00.005+01:00",
        b"\xa1\x182026-11-21T22:00:00.005Z",
        b"\xa1\x0d" + str(NOW_MS + 5).encode(),
    ],
)
def test_the_enqueued_time_is_the_brokers_time(value: bytes) -> None:
    columns, letters = read(canonical(), headers=[("iothub-enqueuedtime", value)])

    assert letters == []
    assert columns.ingest_ms.tolist() == [NOW_MS + 5]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x83\0",
        b"\x83" + struct.pack(">q", -1),
        b"\x83" + struct.pack(">q", 2**62),
        b"\x41",
        b"\x82" + struct.pack(">d", 5.0),
        b"2026-11-21T22:00:00",
        b"soon",
        b"\xff",
        500 * b"9",
        "１２".encode(),
    ],
)
def test_an_enqueued_time_that_cannot_be_read_leaves_the_records_time(value: bytes | None) -> None:
    columns, letters = read(canonical(), headers=[("iothub-enqueuedtime", value)])

    assert letters == []
    assert columns.ingest_ms.tolist() == [NOW_MS]


def test_the_future_is_judged_against_the_enqueued_time() -> None:
    an_hour_ago = b"\x83" + struct.pack(">q", NOW_MS - 3_600_000)

    assert refused(canonical(), [("iothub-enqueuedtime", an_hour_ago)]).reason == "time_in_future"


@pytest.mark.parametrize("timestamp", [-1, -(2**63), 2**63 - 1, 7_258_118_400_000])
def test_a_record_timestamp_that_is_no_time_is_refused_with_one_that_can_be_stored(timestamp: int) -> None:
    columns, letters = decode([Record(1, timestamp, raw(canonical()))], RULES, {})

    assert len(columns.bodies) == 0
    assert [letter.reason for letter in letters] == ["time_out_of_range"]
    assert "timestamp" in letters[0].detail
    assert 0 <= letters[0].record_ms < 7_258_118_400_000


def test_the_limits_are_the_rules() -> None:
    rules = CodecRules(max_future_ms=0, max_identifier_length=14, max_readings=2, max_depth=2, max_elements=1)
    good = canonical(time="2026-11-21T22:00:00Z")

    assert read(good, rules=rules)[1] == []
    for message, reason in (
        (canonical(time="2026-11-21T22:00:00.001Z"), "time_in_future"),
        (good | {"machine_type": 15 * "x"}, "identifier_too_long"),
        (good | {"readings": {"a": 1, "b": 2, "c": 3}}, "wrong_shape"),
        (good | {"extra": [[]]}, "not_json"),
        ([good, good], "wrong_shape"),
    ):
        (letter,) = read(message, rules=rules)[1]
        assert letter.reason == reason
