"""Quix Streams: windows and state in its own stores, rows through its own batching sink.

Chosen, and why:

* the machine stays the key, and one window per machine reduces all five sensors: expanding to a key per sensor would send
  everything through a repartition topic;
* ``reduce`` and not five times three aggregators: one state update per message;
* ``final()``: a window is written once, when it closes;
* the scores are state of the machine (``stateful=True``), one read and one write per message;
* a ``BatchingSink`` that writes by COPY: several times faster than the PostgreSQL sink that comes with the library, which
  inserts in pages of 100;
* a checkpoint every 20,000 messages or 5 s (the default interval): the sinks write, state and offsets are committed;
* changelog topics stay on, as they come: without them a lost disk loses the state.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import psycopg
from quixstreams import Application
from quixstreams.models import Deserializer
from quixstreams.sinks import BatchingSink, SinkBatch
from quixstreams.state import State

from benchmarks.peers import plain

COMMIT_EVERY = 20_000

Write = Callable[[psycopg.Connection, Sequence[Any]], None]


class Telemetry(Deserializer):
    """A message with its own bytes beside it, for the event's body."""

    def __call__(self, value: bytes, ctx: object) -> dict[str, Any]:
        telemetry: dict[str, Any] = orjson.loads(value)
        telemetry["body"] = value
        telemetry["time_ms"] = plain.milliseconds(telemetry["time"])
        return telemetry


class Table(BatchingSink):
    """Rows of one table; written and committed at every checkpoint."""

    def __init__(self, dsn: str, write: Write, rows: Callable[[Any], list[tuple[Any, ...]]]) -> None:
        super().__init__()
        self._dsn, self._write, self._rows = dsn, write, rows

    def setup(self) -> None:
        """Connect."""
        self._connection = psycopg.connect(self._dsn)

    def write(self, batch: SinkBatch) -> None:
        """Store what came since the last checkpoint."""
        rows = [(row, batch.partition, item.offset) for item in batch for row in self._rows(item)]
        self._write(self._connection, rows)
        self._connection.commit()


def event_rows(item: Any) -> list[tuple[Any, ...]]:
    """Return a message as its event."""
    value = item.value
    return [(value["machine_id"], value["factory_id"], value["time"], value["body"].decode())]


def write_events(connection: psycopg.Connection, rows: Sequence[Any]) -> None:
    """Store events with their places."""
    plain.write_events(connection, (((*row[:3], part, at, row[3]) for row, part, at in rows)))


def closed_rows(item: Any) -> list[tuple[Any, ...]]:
    """Return a machine's closed window, a row per sensor."""
    return plain.window_rows(item.key.decode(), item.value["start"], item.value["value"])


def write_windows(connection: psycopg.Connection, rows: Sequence[Any]) -> None:
    """Store windows."""
    plain.write_windows(connection, [row for row, _, _ in rows])


def write_anomalies(connection: psycopg.Connection, rows: Sequence[Any]) -> None:
    """Store anomalies with the places of their messages."""
    plain.write_anomalies(connection, ((*row, part, at) for row, part, at in rows))


def reduced(windows: dict[str, plain.Window], telemetry: dict[str, Any]) -> dict[str, plain.Window]:
    """Add a message to its machine's window."""
    plain.count(windows, telemetry["readings"])
    return windows


def scored(telemetry: dict[str, Any], state: State) -> list[tuple[Any, ...]]:
    """Score every reading, then learn it; return the anomalies."""
    gaussians = state.get("gaussians", None) or {}
    found = []
    for sensor, value in telemetry["readings"].items():
        gaussian = gaussians.setdefault(sensor, [0.0, 0.0, 0])
        score = plain.score_then_learn(gaussian, value)
        if abs(score) > plain.THRESHOLD:
            found.append((telemetry["machine_id"], sensor, telemetry["time"], value, score))
    state.set("gaussians", gaussians)
    return found


def build(address: str, topic: str, group: str, dsn: str, folder: str) -> Application:
    """Return the application."""
    application = Application(
        broker_address=address,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_every=COMMIT_EVERY,
        state_dir=folder,
        loglevel="WARNING",
    )
    source = application.topic(
        topic, value_deserializer=Telemetry(), timestamp_extractor=lambda value, *_: value["time_ms"]
    )
    messages = application.dataframe(source)
    messages.sink(Table(dsn, write_events, event_rows))
    windows = messages.tumbling_window(plain.WINDOW_MS).reduce(reduced, lambda value: plain.first(value["readings"]))
    windows.final().sink(Table(dsn, write_windows, closed_rows))
    anomalies = messages.apply(scored, stateful=True).filter(bool)
    anomalies.sink(Table(dsn, write_anomalies, lambda item: item.value))
    return application


def main(address: str, topic: str, group: str, dsn: str, number: str, _: str, folder: str) -> None:
    """Run until asked to stop."""
    application = build(address, topic, group, dsn, f"{folder}/{number}")
    signal.signal(signal.SIGTERM, lambda *_: application.stop())
    application.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
