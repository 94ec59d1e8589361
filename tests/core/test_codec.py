"""What the codec accepts, and how it takes records apart."""

from typing import Any

import pytest

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.records import Record
from tests.core.raw_messages import LAB, NOW_MS, RULES, canonical, raw, read, refused


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
        found = {
            name: getattr(columns, name).dtype.name for name in ("offsets", "times_ms", "ingest_ms", "seqs", "ends")
        }
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
