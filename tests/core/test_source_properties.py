"""What a record's headers and timestamp do to its messages."""

import struct

import pytest

from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.records import Record
from tests.core.raw_messages import LAB, NOW_MS, RULES, canonical, raw, read, refused


@pytest.mark.parametrize("value", [b"machine", b"\xa1\x07machine", b"\xa3\x07machine"])
def test_the_type_may_come_from_a_header(value: bytes) -> None:
    assert read(canonical(type=...), LAB, canonical(), headers=[("type", value)])[1] == []


@pytest.mark.parametrize("value", [b"valve", b"\xa1\x05valve", b"\xff", b"", None])
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
    assert (
        refused(canonical(), [(name, b"x"), (name, b"press-00042"), (name, b"press-00042")]).reason == "device_mismatch"
    )
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
