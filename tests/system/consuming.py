"""What is in a topic, read by a client that is nobody's."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition


class Published(NamedTuple):
    """A message of ours as a consumer finds it."""

    partition: int
    key: str
    id: str
    source: tuple[str, int, int, int]
    body: dict[str, Any]


def published(address: str, topic: str) -> list[Published]:
    """Return what a topic holds, each partition in order."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "a-test", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    try:
        partitions = set(consumer.list_topics(topic, 20).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found = []
        while partitions:
            record = consumer.poll(20)
            assert record is not None, f"{topic} is not read to its end"
            if record.error() is None:
                found.append(_read(record))
            else:
                assert record.error().code() == KafkaError._PARTITION_EOF, record.error()
                partitions.discard(record.partition())
    finally:
        consumer.close()
    return found


def _read(record: Any) -> Published:
    headers = {name: value.decode() for name, value in record.headers()}
    topic, *place = headers["source"].split(":")
    return Published(
        record.partition(),
        record.key().decode(),
        headers["id"],
        (topic, *map(int, place)),  # type: ignore[arg-type]  # three numbers
        orjson.loads(record.value()),
    )


def order(messages: list[Published]) -> dict[tuple[int, str, int], list[tuple[int, int]]]:
    """Return the source positions that each partition has of each source partition, as they follow one another."""
    found: dict[tuple[int, str, int], list[tuple[int, int]]] = {}
    for each in messages:
        found.setdefault((each.partition, *each.source[:2]), []).append(each.source[2:])
    return found
