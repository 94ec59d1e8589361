"""Two Faust pipelines: the textbook one, of what the user guide teaches, and the same one tuned.

Chosen for both, and why:

* a typed ``faust.Record``, an agent that takes event by event;
* a tumbling table of one minute, relative to the message's time; its changelog makes it survive a restart;
* River's exponentially weighted mean and variance per (machine, sensor), in a dict: models do not fit a changelog;
* rows to PostgreSQL in batches of 500, or once a second: events by COPY, which is kinder to Faust than an INSERT per row;
* windows are written once, when their machine moves on to the next one. ``on_window_close`` would not do: it goes by the
  wall clock, so that a backlog's windows close while they are being filled;
* memory store, no web server, Faust's defaults for the rest.

The textbook one keeps count, mean, minimum and maximum under (machine, sensor), which sends five changelog records for a
message, each on its way at once. The tuned one keeps a machine's five sensors under one key, and lets changelog records wait
up to 50 ms for company.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import defaultdict
from datetime import datetime
from typing import Any

import faust
import psycopg
from river import stats

SIZE_S = 60.0
BATCH = 500
THRESHOLD = 4.5
FADING = 0.03
WARM_UP = 30


class Telemetry(faust.Record, isodates=True, serializer="json"):
    """A message."""

    machine_id: str
    factory_id: str
    time: datetime
    readings: dict[str, float]


class Gaussian:
    """An exponentially weighted Gaussian of River's parts."""

    def __init__(self) -> None:
        self._mean, self._variance, self._seen = stats.EWMean(FADING), stats.EWVar(FADING), 0

    def score_then_learn(self, value: float) -> float:
        """Return z of an unseen value; learn it unless it is flagged."""
        score = 0.0
        if self._seen >= WARM_UP:
            score = (value - self._mean.get()) / max(math.sqrt(self._variance.get()), 1e-12)
            if abs(score) > THRESHOLD:
                return score
        self._mean.update(value)
        self._variance.update(value)
        self._seen += 1
        return score


class Rows:
    """Rows that wait for the database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()
        self.events: list[tuple[Any, ...]] = []
        self.windows: list[tuple[Any, ...]] = []
        self.anomalies: list[tuple[Any, ...]] = []

    async def store(self) -> None:
        """Store all of them in one transaction."""
        async with self._turn:
            events, windows, anomalies = self.events, self.windows, self.anomalies
            self.events, self.windows, self.anomalies = [], [], []
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(self._dsn)
            async with self._connection.cursor() as cursor:
                async with cursor.copy(
                    "COPY event (machine_id, factory_id, event_time, source_partition, source_offset, body) FROM STDIN"
                ) as copy:
                    for row in events:
                        await copy.write_row(row)
                await cursor.executemany(
                    "INSERT INTO reading_window VALUES (%s, %s, to_timestamp(%s), %s, %s, %s, %s)"
                    " ON CONFLICT (machine_id, sensor, window_start) DO UPDATE SET count = EXCLUDED.count,"
                    " mean = EXCLUDED.mean, min = EXCLUDED.min, max = EXCLUDED.max",
                    windows,
                )
                await cursor.executemany("INSERT INTO anomaly VALUES (%s, %s, %s, %s, %s, %s, %s)", anomalies)
            await self._connection.commit()


class Windows:
    """The tumbling table.

    Parameters
    ----------
    together
        A machine's sensors lie under one key.
    """

    def __init__(self, app: faust.App, *, together: bool) -> None:
        self._table = app.Table("windows", default=dict).tumbling(SIZE_S).relative_to_field(Telemetry.time)
        self._together = together
        self._starts: dict[str, float] = {}

    def _keys(self, message: Telemetry) -> dict[str, dict[str, float]]:
        if self._together:
            return {message.machine_id: message.readings}
        return {f"{message.machine_id}|{sensor}": {sensor: value} for sensor, value in message.readings.items()}

    def count(self, message: Telemetry) -> None:
        """Add a message to its windows."""
        for key, readings in self._keys(message).items():
            sums = dict(self._table[key].value())
            for sensor, value in readings.items():
                n, mean, low, high = sums.get(sensor, (0, 0.0, math.inf, -math.inf))
                sums[sensor] = (n + 1, mean + (value - mean) / (n + 1), min(low, value), max(high, value))
            self._table[key] = sums

    def closed_by(self, message: Telemetry) -> list[tuple[Any, ...]]:
        """Return the windows of a machine that has moved on, as rows."""
        start_s = message.time.timestamp() // SIZE_S * SIZE_S
        before_s = self._starts.get(message.machine_id)
        self._starts[message.machine_id] = start_s
        if before_s is None or before_s == start_s:
            return []
        span = self._table.table.window.current(before_s)
        return [
            (message.machine_id, sensor, before_s, *sums)
            for key in self._keys(message)
            for sensor, sums in self._table[key][span].items()
        ]


def build(address: str, topic: str, group: str, dsn: str, folder: str, *, tuned: bool) -> faust.App:
    """Return the application."""
    app = faust.App(
        group,
        broker=f"kafka://{address}",
        store="memory://",
        topic_partitions=8,
        web_enabled=False,
        datadir=folder,
        producer_linger=0.05 if tuned else 0.0,
    )
    rows = Rows(dsn)
    windows = Windows(app, together=tuned)
    gaussians: dict[tuple[str, str], Gaussian] = defaultdict(Gaussian)

    @app.agent(app.topic(topic, value_type=Telemetry))
    async def telemetry(stream: faust.StreamT[Telemetry]) -> None:
        async for event in stream.events():
            message, source = event.value, event.message
            place = (source.partition, source.offset)
            rows.events.append((message.machine_id, message.factory_id, message.time, *place, source.value.decode()))
            rows.windows += windows.closed_by(message)
            windows.count(message)
            for sensor, value in message.readings.items():
                score = gaussians[message.machine_id, sensor].score_then_learn(value)
                if abs(score) > THRESHOLD:
                    rows.anomalies.append((message.machine_id, sensor, message.time, value, score, *place))
            if len(rows.events) >= BATCH:
                await rows.store()

    @app.timer(interval=1.0)
    async def store_the_rest() -> None:
        if rows.events:
            await rows.store()

    return app


def main(kind: str, address: str, topic: str, group: str, dsn: str, number: str, _: str, folder: str) -> None:
    """Run until asked to stop; ``kind`` is ``textbook`` or ``tuned``."""
    app = build(address, topic, group, dsn, f"{folder}/{number}", tuned=kind == "tuned")
    app.finalize()
    faust.Worker(app, loglevel="WARN").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
