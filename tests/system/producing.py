"""Records of the tests' own making, put into topics."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.broker import topics
from pipeline.broker.security import BrokerSecurity
from tests.core.raw_messages import command

Headers = Sequence[tuple[str, bytes]]


def message(machine: str = "press-00001", seq: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a canonical message of now."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    whole = {
        "type": "machine",
        "factory_id": "aurora",
        "machine_id": machine,
        "machine_type": "stamping_press",
        "time": now,
        "seq": seq,
        "readings": {"temperature": 55.0 + seq % 7, "pressure": 7539.0},
    }
    return whole | changes


def produce(
    address: str,
    topic: str,
    bodies: Iterable[bytes | dict[str, Any] | None],
    *,
    key: bytes = b"press-00001",
    headers: Headers = (),
    partition: int = 0,
    settings: dict[str, Any] | None = None,
) -> None:
    """Put records into one partition, in order, and wait until the broker has them."""
    failures: list[str] = []
    producer = Producer(
        {"bootstrap.servers": address, "message.max.bytes": 2_000_000, "linger.ms": 5, "log_level": 2}
        | (settings or {})
    )
    for body in bodies:
        raw = orjson.dumps(body) if isinstance(body, dict) else body
        producer.produce(
            topic,
            raw,
            key,
            partition,
            headers=list(headers),
            timestamp=int(time.time() * 1000),
            on_delivery=lambda error, _: failures.append(error.str()) if error else None,
        )
        producer.poll(0)
    producer.flush(30)
    assert failures == []


def command_some(address: str, topic: str, machine: str = "m0") -> None:
    """Put commands into a topic: a machine is added and disabled, and another command comes too late."""
    added = {"factory_id": "aurora", "line_id": "one"}
    changes = [(1, "add", 0, added), (2, "change", 1, {"status": "disabled"}), (3, "change", 1, {"line_id": "two"})]
    produce(
        address,
        topic,
        [
            command(id=machine, command_id=f"c-{number}", action=action, expected_version=version, body=body)
            for number, action, version, body in changes
        ],
        key=machine.encode(),
    )


def pause_some(address: str, topic: str, machines: Sequence[str] = ("paused-0", "paused-1", "paused-2")) -> None:
    """Put messages of machines into a topic, one partition each, that pause for a minute twice: two cycles of each are over."""
    now = dt.datetime.now(dt.UTC)
    for partition, machine in enumerate(machines):
        times = (now - dt.timedelta(seconds=240 - 70 * cycle - 2 * turn) for cycle in range(3) for turn in range(5))
        bodies = [
            message(machine, seq, time=time.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
            for seq, time in enumerate(times)
        ]
        produce(address, topic, bodies, key=machine.encode(), partition=partition)


def delete_before(address: str, topic: str, offset: int, partitions: int = 1) -> None:
    """Move the start of a topic's first logs; -1: to their ends."""
    client = AdminClient({"bootstrap.servers": address})
    starts = [TopicPartition(topic, partition, offset) for partition in range(partitions)]
    for answer in client.delete_records(starts).values():
        answer.result(30)


def recreate(address: str, names: list[str]) -> None:
    """Put empty topics of one partition in the place of topics."""
    topics.delete_topics(address, BrokerSecurity(), names)
    topics.create_topics(address, BrokerSecurity(), names, 1)
