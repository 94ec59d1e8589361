"""The custom consumer: one consumer-group application as a good developer writes it without a stream framework.

Chosen, and why:

* confluent-kafka, 5,000 messages a batch: the fastest client, and its batch interface;
* orjson: the usual quick decoder;
* state in dicts of plain lists, one look-up per machine and one per sensor;
* COPY for events and anomalies, one array upsert for windows, one transaction per batch;
* offsets committed after the transaction, synchronously: at least once. State is not kept over a restart, which makes it
  cheaper than every other contestant.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import orjson
import psycopg
from confluent_kafka import Consumer, Message

from benchmarks.peers import plain

BATCH = 5_000

Machine = tuple[dict[str, plain.Window], dict[str, plain.Gaussian]]


class Application:
    """State of all machines of this process, and the rows of one batch."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._starts: dict[str, int] = {}
        self._windows: dict[str, dict[str, plain.Window]] = {}
        self._gaussians: dict[str, dict[str, plain.Gaussian]] = {}
        self._events: list[tuple[Any, ...]] = []
        self._closed: list[tuple[Any, ...]] = []
        self._anomalies: list[tuple[Any, ...]] = []

    def take(self, message: Message) -> None:
        """Take one message into the state and the batch."""
        body = message.value()
        telemetry = orjson.loads(body)
        machine_id, time = telemetry["machine_id"], telemetry["time"]
        place = (message.partition(), message.offset())
        self._events.append((machine_id, telemetry["factory_id"], time, *place, body.decode()))
        readings = telemetry["readings"]
        self._count(machine_id, plain.milliseconds(time), readings)
        gaussians = self._gaussians.setdefault(machine_id, {})
        for sensor, value in readings.items():
            gaussian = gaussians.get(sensor)
            if gaussian is None:
                gaussian = gaussians[sensor] = [0.0, 0.0, 0]
            score = plain.score_then_learn(gaussian, value)
            if abs(score) > plain.THRESHOLD:
                self._anomalies.append((machine_id, sensor, time, value, score, *place))

    def _count(self, machine_id: str, at_ms: int, readings: dict[str, float]) -> None:
        start_ms = at_ms - at_ms % plain.WINDOW_MS
        if self._starts.get(machine_id) == start_ms:
            plain.count(self._windows[machine_id], readings)
            return
        if machine_id in self._starts:
            self._closed += plain.window_rows(machine_id, self._starts[machine_id], self._windows[machine_id])
        self._starts[machine_id] = start_ms
        self._windows[machine_id] = plain.first(readings)

    def store(self) -> None:
        """Store the batch in one transaction."""
        plain.write_events(self._connection, self._events)
        plain.write_windows(self._connection, self._closed)
        plain.write_anomalies(self._connection, self._anomalies)
        self._connection.commit()
        self._events, self._closed, self._anomalies = [], [], []


def main(address: str, topic: str, group: str, dsn: str) -> None:
    """Consume until asked to stop."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    with psycopg.connect(dsn) as connection:
        application = Application(connection)
        while not stopped:
            messages = consumer.consume(BATCH, timeout=0.5)
            if not messages:
                continue
            for message in messages:
                application.take(message)
            application.store()
            consumer.commit(asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:5])
