"""Bytewax: a dataflow with its Kafka source, its window operator, keyed state and a sink of its own.

Chosen, and why:

* the machine is the key, and one window per machine folds all five sensors: a fifth of the items;
* ``fold_window`` with an event clock, unordered, as messages of a machine come in order. The clock waits five minutes: it goes
  on with the wall clock between messages, and with less patience a flow that is slower than its machines for a while takes
  messages for late and drops them;
* ``stateful_flat_map`` for the scores: one state per machine;
* 1,000 messages a batch of the source, the default, and 10 s epochs, the default;
* sinks that write each batch by COPY in one transaction;
* ``recoverable``: with the recovery store, its way to keep windows and scores over a restart, on local disk, a snapshot per
  epoch. ``forgetful``: without, which is its default; a restart loses the offsets too;
* two processes form a cluster (``-i``, ``-a``), as its documentation says, and exchange items by key.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as w
import orjson
import psycopg
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import init_db_dir

from benchmarks.peers import plain

FIRST_PORT = 18_700
_ORIGIN = datetime(2020, 1, 1, tzinfo=UTC)
_ORIGIN_MS = 1_577_836_800_000

Telemetry = tuple[str, str, datetime, int, int, bytes, dict[str, float]]
"""machine, factory, time, partition, offset, body, readings."""


class _Rows(StatelessSinkPartition[Any]):
    def __init__(self, dsn: str, write: Callable[[psycopg.Connection, list[Any]], None]) -> None:
        self._connection, self._write = psycopg.connect(dsn), write

    def write_batch(self, items: list[Any]) -> None:
        self._write(self._connection, items)
        self._connection.commit()


class Table(DynamicSink[Any]):
    """Rows of one table; one transaction per batch."""

    def __init__(self, dsn: str, write: Callable[[psycopg.Connection, list[Any]], None]) -> None:
        self._dsn, self._write = dsn, write

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Rows:
        """Connect."""
        return _Rows(self._dsn, self._write)


def decoded(message: KafkaSourceMessage[bytes, bytes]) -> tuple[str, Telemetry]:
    """Return a message under its machine."""
    body = message.value
    found = orjson.loads(body)
    machine_id = found["machine_id"]
    time = datetime.fromisoformat(found["time"])
    return machine_id, (
        machine_id,
        found["factory_id"],
        time,
        message.partition,
        message.offset,
        body,
        found["readings"],
    )


def write_events(connection: psycopg.Connection, items: list[tuple[str, Telemetry]]) -> None:
    """Store messages as events."""
    plain.write_events(connection, ((*each[:5], each[5].decode()) for _, each in items))


def write_windows(connection: psycopg.Connection, items: list[tuple[str, tuple[int, dict[str, plain.Window]]]]) -> None:
    """Store closed windows, a row per sensor."""
    rows: list[tuple[Any, ...]] = []
    for machine_id, (number, windows) in items:
        rows += plain.window_rows(machine_id, _ORIGIN_MS + number * plain.WINDOW_MS, windows)
    plain.write_windows(connection, rows)


def folded(windows: dict[str, plain.Window], each: Telemetry) -> dict[str, plain.Window]:
    """Add a message to its machine's window."""
    plain.count(windows, each[6])
    return windows


def scored(
    gaussians: dict[str, plain.Gaussian] | None, each: Telemetry
) -> tuple[dict[str, plain.Gaussian], list[tuple[Any, ...]]]:
    """Score every reading, then learn it; return the anomalies."""
    gaussians = {} if gaussians is None else gaussians
    found = []
    for sensor, value in each[6].items():
        gaussian = gaussians.get(sensor)
        if gaussian is None:
            gaussian = gaussians[sensor] = [0.0, 0.0, 0]
        score = plain.score_then_learn(gaussian, value)
        if abs(score) > plain.THRESHOLD:
            found.append((each[0], sensor, each[2], value, score, each[3], each[4]))
    return gaussians, found


def flow(address: str, topic: str, dsn: str) -> Dataflow:
    """Return the dataflow."""
    dataflow = Dataflow("job")
    messages = op.input("kafka", dataflow, KafkaSource([address], [topic]))
    keyed = op.map("decode", messages, decoded)
    op.output("events", keyed, Table(dsn, write_events))
    clock = w.EventClock(lambda each: each[2], wait_for_system_duration=timedelta(minutes=5))
    windower = w.TumblingWindower(length=timedelta(milliseconds=plain.WINDOW_MS), align_to=_ORIGIN)
    closed = w.fold_window("windows", keyed, clock, windower, dict, folded, lambda one, _: one, ordered=False)
    op.output("closed", closed.down, Table(dsn, write_windows))
    anomalies = op.stateful_flat_map("scores", keyed, scored)
    rows = op.map("rows", anomalies, lambda keyed_row: keyed_row[1])
    op.output("anomalies", rows, Table(dsn, plain.write_anomalies))
    return dataflow


def recovery_store(folder: Path, number: int, count: int) -> Path:
    """Return the folder of the cluster's recovery partitions; the first process creates it."""
    ready = folder / "recovery"
    if number == 0:
        created = folder / "recovery.new"
        created.mkdir()
        init_db_dir(created, count)
        created.rename(ready)
    while not ready.exists():
        time.sleep(0.05)
    return ready


def main(kind: str, address: str, topic: str, _: str, dsn: str, number: str, count: str, folder: str) -> None:
    """Become bytewax's own runner, with this process's place in the cluster."""
    command = [sys.executable, "-m", "bytewax.run", f"{__spec__.name}:flow({address!r}, {topic!r}, {dsn!r})"]
    if kind == "recoverable":
        command += ["-r", str(recovery_store(Path(folder), int(number), int(count))), "-s", "10", "-b", "0"]
    if int(count) > 1:
        addresses = ";".join(f"127.0.0.1:{FIRST_PORT + each}" for each in range(int(count)))
        command += ["-i", number, "-a", addresses]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
