"""The yardstick: fetch, decode and COPY into the project's own table, and nothing else; one process of a group.

Called as ``python -m benchmarks.bare ADDRESS TOPIC GROUP DSN``; ends when nothing came for some seconds.
"""

from __future__ import annotations

import sys

import msgspec
import numpy as np
from confluent_kafka import Consumer, Message

from pipeline.core.effects import Events
from pipeline.core.records import SourcePartition
from pipeline.store import copy_binary, rows
from pipeline.store.connect import connect

BATCH = 10_000
QUIET_S = 3.0


class Telemetry(msgspec.Struct, gc=False):
    """The fields of a canonical message."""

    machine_id: str
    factory_id: str
    time: str
    readings: dict[str, float]
    seq: int = -1


_decode = msgspec.json.Decoder(Telemetry).decode


def events_of(messages: list[Message]) -> Events:
    """Return messages of one partition as columns."""
    bodies = [message.value() or b"" for message in messages]
    decoded = [_decode(body) for body in bodies]
    times = np.array([each.time[:-1] for each in decoded], "datetime64[ms]").astype(np.int64)
    return Events(
        np.array([message.offset() for message in messages], np.int64),
        np.zeros(len(messages), np.int32),
        times,
        times,
        [each.machine_id for each in decoded],
        [each.factory_id for each in decoded],
        bodies,
    )


def main(address: str, topic: str, group: str, dsn: str) -> None:
    """Consume until nothing comes any more."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    consumer.subscribe([topic])
    quiet_s = 0.0
    seen = False
    with connect(dsn) as connection:
        while quiet_s < QUIET_S or not seen:
            messages = consumer.consume(BATCH, timeout=0.2)
            quiet_s = 0.0 if messages else quiet_s + 0.2
            if not messages:
                continue
            seen = True
            by_partition: dict[int, list[Message]] = {}
            for message in messages:
                by_partition.setdefault(message.partition() or 0, []).append(message)
            blocks = [
                rows.telemetry("bench", SourcePartition(topic, partition), events_of(some))
                for partition, some in by_partition.items()
            ]
            with connection.cursor().copy(f"COPY event ({rows.EVENT}) FROM STDIN (FORMAT binary)") as copy:
                copy.write(b"".join([copy_binary.HEADER, *blocks, copy_binary.TRAILER]))
            connection.commit()
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
