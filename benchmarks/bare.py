"""The yardstick: fetch, decode and COPY into the project's own table, and nothing else; one process of a group.

The fastest simple thing there is: batches of the quickest client, a decoder that builds nothing but the columns that are
stored, rows made column by column as the project makes them, binary COPY. While the database takes one batch, the next one
is decoded. It neither checks nor remembers anything, and commits no offsets.

Called as ``python -m benchmarks.bare ADDRESS TOPIC GROUP DSN``; ends when it is told to.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import numpy as np
import psycopg
from confluent_kafka import Consumer, Message

from pipeline.core.effects import Events
from pipeline.core.records import SourcePartition
from pipeline.store import copy_binary, rows
from pipeline.store.connect import connect

BATCH = 10_000


class Telemetry(msgspec.Struct, gc=False):
    """The fields that become columns; the decoder skips over the others."""

    machine_id: str
    factory_id: str
    time: str


_decode = msgspec.json.Decoder(Telemetry).decode


def events_of(messages: Sequence[Message]) -> Events:
    """Return messages of one partition as columns."""
    bodies = [message.value() or b"" for message in messages]
    decoded = [_decode(body) for body in bodies]
    times = np.array([each.time[:-1] for each in decoded], "datetime64[ms]").astype(np.int64)
    return Events(
        np.array([message.offset() for message in messages], np.int64),
        np.zeros(len(messages), np.int32),
        times,
        np.array([message.timestamp()[1] for message in messages], np.int64),
        [each.machine_id for each in decoded],
        [each.factory_id for each in decoded],
        bodies,
    )


def block_of(topic: str, messages: Sequence[Message]) -> bytes:
    """Return messages as binary rows of ``event``."""
    by_partition: dict[int, list[Message]] = {}
    for message in messages:
        by_partition.setdefault(message.partition() or 0, []).append(message)
    blocks = [
        rows.telemetry("bench", SourcePartition(topic, partition), events_of(some))
        for partition, some in by_partition.items()
    ]
    return b"".join([copy_binary.HEADER, *blocks, copy_binary.TRAILER])


def store(connection: psycopg.Connection, block: bytes) -> None:
    """Store rows in one transaction."""
    with connection.cursor().copy(f"COPY event ({rows.EVENT}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(block)
    connection.commit()


def main(address: str, topic: str, group: str, dsn: str) -> None:
    """Consume until told to stop."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
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
    pending: Future[None] | None = None
    with connect(dsn) as connection, ThreadPoolExecutor(1) as database:
        while not stopped:
            messages = consumer.consume(BATCH, timeout=0.2)
            block = block_of(topic, messages) if messages else b""
            if pending is not None:
                pending.result()
            pending = database.submit(store, connection, block) if block else None
        if pending is not None:
            pending.result()
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
