"""What devices send (R6, R7, R8): every codec, IoT Hub's headers, and garbage of every sort, on the real broker and sink."""

from __future__ import annotations

import struct
from collections.abc import Callable

import orjson
import psycopg
import pytest

from pipeline.store.connect import connect
from tests.system.processes import Site
from tests.system.producing import message, produce


def events(dsn: str) -> list[tuple[int, str]]:
    with connect(dsn) as connection:
        return connection.execute(
            "SELECT source_offset, machine_id FROM event WHERE event_type = 'Telemetry Ingest' ORDER BY 1"
        ).fetchall()


def text(**changes: object) -> bytes:
    return orjson.dumps(message(**changes))


BAD: dict[str, tuple[bytes | None, str]] = {
    "tombstone": (None, "empty"),
    "nothing": (b"", "empty"),
    "undecodable bytes": (b"\xff\xfe\x00garbage", "not_utf8"),
    "undecodable bytes in a field nobody reads": (text(note="x").replace(b'"x"', b'"\xff"'), "not_utf8"),
    "half a message": (text()[:60], "not_json"),
    "NUL byte": (text(note="x").replace(b'"x"', b'"\x00"'), "nul_character"),
    "NUL escape in an id": (text(machine_id="press").replace(b'"press"', b'"pre\\u0000ss"'), "nul_character"),
    "NUL escape in a field nobody reads": (text(note="x").replace(b'"x"', b'"\\u0000"'), "nul_character"),
    "lone surrogate": (text(note="x").replace(b'"x"', b'"\\ud800"'), "not_json"),
    "NaN": (text().replace(b"7539.0", b"NaN"), "not_json"),
    "infinity": (text().replace(b"7539.0", b"-Infinity"), "not_json"),
    "1e308": (text(readings={"t": 1e308}), "value_out_of_range"),
    "-1e308": (text(readings={"t": -1e308}), "value_out_of_range"),
    "1e400": (text().replace(b"7539.0", b"1e400"), "value_out_of_range"),
    "number as text": (text(readings={"t": "55.1"}), "wrong_shape"),
    "boolean": (text(readings={"t": True}), "wrong_shape"),
    "no readings": (text(readings={}), "wrong_shape"),
    "no machine": (orjson.dumps({k: v for k, v in message().items() if k != "machine_id"}), "wrong_shape"),
    "a lone number": (b"12", "wrong_shape"),
    "unknown type": (text(type="toaster"), "unknown_type"),
    "no zone": (text(time="2026-11-21T22:00:00"), "time_without_zone"),
    "year 9999": (text(time="9999-12-31T00:00:00Z"), "time_out_of_range"),
    "far in the future": (text(time="2099-01-01T00:00:00Z"), "time_in_future"),
    "long id": (text(machine_id="x" * 5000), "identifier_too_long"),
    "1 MB": (text(note="x" * 1_000_100), "too_large"),
}


def test_garbage_becomes_dead_letters_and_everything_around_it_is_stored(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    at = site(partitions=1, settings={"INGEST__MAX_FUTURE_MS": 60_000})
    fine = [message(seq=n, note='back\\slash "quoted" \t ü 漢') for n in range(len(BAD) + 1)]
    bodies: list[object] = [fine[0]]
    for (bad, _), good in zip(BAD.values(), fine[1:], strict=True):
        bodies += [bad, good]
    at.worker("worker")

    produce(broker_address, at.topics[0], bodies, settings={"message.max.bytes": 1_048_588})

    at.wait(lambda: at.stored() == len(bodies))
    assert events(database.dsn) == [(offset, "press-00001") for offset in range(0, len(bodies), 2)]
    with connect(database.dsn) as connection:
        letters = connection.execute(
            "SELECT source_offset, reason, body, detail FROM dead_letter ORDER BY source_offset"
        ).fetchall()
        # Every stored body can be asked for what it holds
        assert connection.execute("SELECT count(*) FROM event WHERE body ->> 'note' LIKE 'back%'").fetchone() == (
            len(fine),
        )
    found = dict(zip(BAD, letters, strict=True))
    assert {name: reason for name, (_, reason, _, _) in found.items()} == {n: reason for n, (_, reason) in BAD.items()}
    assert {name: body for name, (_, _, body, _) in found.items()} == {n: raw or b"" for n, (raw, _) in BAD.items()}
    assert all(detail and "\n" not in detail for *_, detail in letters)


def test_every_compression_codec_and_several_topics_are_read(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    at = site(topics=2, partitions=1)
    at.worker("worker")
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    for number, codec in enumerate(codecs):
        for topic in at.topics:
            some = [message(machine=f"{topic}-{codec}", seq=n) for n in range(200)]
            produce(broker_address, topic, some, settings={"compression.type": codec})
        at.wait(lambda number=number: at.stored() == (number + 1) * 400)

    with connect(database.dsn) as connection:
        counted = connection.execute(
            "SELECT machine_id, count(*) FROM event WHERE event_type = 'Telemetry Ingest' GROUP BY 1"
        )
        assert dict(counted.fetchall()) == {f"{topic}-{codec}": 200 for topic in at.topics for codec in codecs}


def amqp_text(value: str) -> bytes:
    return b"\xa1" + bytes([len(value)]) + value.encode()


@pytest.mark.parametrize("encode", [amqp_text, str.encode], ids=["AMQP-encoded", "plain"])
def test_the_device_in_the_header_must_be_the_machine_or_a_gateway(
    site: Callable[..., Site], broker_address: str, database, encode: Callable[[str], bytes]
) -> None:
    at = site(partitions=1, settings={"INGEST__GATEWAYS": '["gateway-7"]'})
    at.worker("worker")
    enqueued_ms = 1_790_000_000_123
    when = b"\x83" + struct.pack(">q", enqueued_ms) if encode is amqp_text else str(enqueued_ms).encode()
    for seq, device in enumerate(["press-00001", "gateway-7", "rogue"]):
        headers = [("iothub-connection-device-id", encode(device)), ("iothub-enqueuedtime", when)]
        body = message(seq=seq, time="2026-09-21T00:00:00Z")
        produce(broker_address, at.topics[0], [body], headers=headers)

    at.wait(lambda: at.stored() == 3)

    assert [offset for offset, _ in events(database.dsn)] == [0, 1]
    with connect(database.dsn) as connection:
        times = connection.execute("SELECT DISTINCT extract(epoch FROM ingest_time) * 1000 FROM event").fetchall()
        letters = connection.execute("SELECT source_offset, reason FROM dead_letter").fetchall()
    assert times == [(enqueued_ms,)]
    assert letters == [(2, "device_mismatch")]


def test_a_worker_cannot_change_an_event(site: Callable[..., Site], database) -> None:
    with connect(database.dsn, autocommit=True) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE event SET machine_id = 'x'")
