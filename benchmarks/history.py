"""What a plant of job J leaves in the database in some hours, written without the pipeline, which would take longer."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import psycopg

from benchmarks.bare import store
from benchmarks.load import INTERVAL_MS, SENSORS
from benchmarks.services import PARTITIONS
from pipeline.core.effects import Events
from pipeline.core.records import SourcePartition
from pipeline.core.windowing.windows import BASE_MS
from pipeline.store import copy_binary, rows, window_index

FACTORIES = 5
# Half past six in the evening of a day: the last hour lies in two partitions of the table
END_MS = 1_735_756_200_000
DAY_BEGIN_S = 1_735_689_600
ROUNDS = 2
"""Messages of each machine in one transaction: 20,000 of 10,000 machines, as many as a worker stores at once."""

_ODD = 500
"""One message in so many has an anomaly."""
_BODY = (
    '{{"type":"machine","factory_id":"{}","machine_id":"{}","machine_type":"stamping_press","time":"2025-01-01T12:00:00.123Z",'
    '"seq":18422,"readings":{{"temperature":55.113,"pressure":7539.215,"electricity":29.417,"ambient_temperature":22.418,'
    '"humidity":20.112}}}}'
)

_WINDOWS = """
INSERT INTO reading_window
SELECT format('machine-%%s', lpad(machine::text, 5, '0')), 'sensor-' || sensor, begins, 'factory-' || machine %% %(factories)s,
       %(readings)s, 50, 11, 48, 52, 50.5, begins + interval '25 s', 1, 1, 0, 0, 1, begins, 0, %(length_s)s
FROM (SELECT to_timestamp(%(begin)s) AS begins) AS at, generate_series(0, %(machines)s - 1) AS machine,
     generate_series(0, %(sensors)s - 1) AS sensor
"""
_ANOMALIES = """
INSERT INTO anomaly
SELECT format('machine-%%s', lpad(machine::text, 5, '0')), 'bench', 'telemetry', 0, i, 0, 'sensor-1', 'spike',
       'factory-' || machine %% %(factories)s, to_timestamp(%(begin)s + i * 86400.0 / %(count)s),
       60, 50, 5.5, 'ewma', 1, 'worker', gen_random_uuid(), gen_random_uuid()
FROM generate_series(0, %(count)s - 1) AS i, LATERAL (SELECT i::bigint * 7919 %% %(machines)s AS machine) AS whose
"""


def machine_id(number: int) -> str:
    """Return the id of a machine; it is of the factory of the number's remainder by 5."""
    return f"machine-{number:05d}"


@dataclass(frozen=True)
class History:
    """Events, windows and anomalies of some machines with 5 sensors each, up to a fixed evening.

    Parameters
    ----------
    machines
        Each sends one message in 5 s.
    events
        How many messages; whole rounds of all machines are stored.
    """

    machines: int
    events: int

    @property
    def transactions(self) -> int:
        """How many transactions the events are."""
        return max(1, self.events // (ROUNDS * self.machines))

    @property
    def begin_ms(self) -> int:
        """Time of the first event, ms since the epoch, UTC."""
        return END_MS - int(self.transactions * ROUNDS * INTERVAL_MS)

    @cached_property
    def _sources(self) -> list[tuple[SourcePartition, Events]]:
        """One transaction's messages of each source partition, with times from 0 on."""
        made = []
        for partition in range(PARTITIONS):
            numbers = list(range(partition, self.machines, PARTITIONS)) * ROUNDS
            n = len(numbers)
            times = (np.arange(n, dtype=np.int64) * int(ROUNDS * INTERVAL_MS)) // max(n, 1)
            ids, factories = [machine_id(i) for i in numbers], [f"factory-{i % FACTORIES}" for i in numbers]
            bodies = [_BODY.format(*whose).encode() for whose in zip(factories, ids, strict=True)]
            events = Events(np.arange(n, dtype=np.int64), np.zeros(n, np.int32), times, times, ids, factories, bodies)
            made.append((SourcePartition("telemetry", partition), events))
        return made

    def block(self, number: int, late_ms: int = 0) -> bytes:
        """Return a transaction's events as binary rows; those past the last one come after the end, as the plant goes on.

        Parameters
        ----------
        late_ms
            How much earlier than their place says they were measured, ms.
        """
        since_ms = self.begin_ms + int(number * ROUNDS * INTERVAL_MS) - late_ms
        parts = [copy_binary.HEADER]
        for source, events in self._sources:
            placed = Events(
                events.offsets + number * len(events.offsets),
                events.indexes,
                events.times_ms + since_ms,
                events.ingest_ms + since_ms + late_ms,
                events.machine_ids,
                events.factory_ids,
                events.bodies,
            )
            parts.append(rows.telemetry("bench", source, placed))
        return b"".join([*parts, copy_binary.TRAILER])

    def store_events(self, connection: psycopg.Connection) -> float:
        """Store all events; return how many that were a second."""
        connection.execute(
            "SELECT make_event_partitions(to_timestamp(%s)::date, to_timestamp(%s)::date)",
            [self.begin_ms / 1000, END_MS / 1000],
        )
        connection.commit()
        began = time.perf_counter()
        pending: Future[None] | None = None
        with ThreadPoolExecutor(1) as database:
            for number in range(self.transactions):
                # It is made while the database takes the one before
                block = self.block(number)
                if pending is not None:
                    pending.result()
                pending = database.submit(store, connection, block)
        if pending is not None:
            pending.result()
        return self.transactions * ROUNDS * self.machines / (time.perf_counter() - began)

    def store_windows(self, connection: psycopg.Connection) -> int:
        """Store as many windows as the events would have, a whole day of some machines; return of how many machines.

        They come in order of time. Their key is built afterwards: what its pages look like is not what is measured.
        """
        machines = max(1, int(self.events * SENSORS * INTERVAL_MS / 60_000) // (1440 * SENSORS))
        whose = {"machines": machines, "sensors": SENSORS, "factories": FACTORIES}
        connection.execute("ALTER TABLE reading_window DROP CONSTRAINT reading_window_pkey")
        connection.execute(f"DROP INDEX {window_index.INDEX}")
        length_s = BASE_MS // 1000
        window = {"length_s": length_s, "readings": BASE_MS // INTERVAL_MS}
        for begin in range(DAY_BEGIN_S, DAY_BEGIN_S + 86_400, length_s):
            connection.execute(_WINDOWS, {"begin": begin, **window, **whose})
        connection.execute("ALTER TABLE reading_window ADD PRIMARY KEY (machine_id, sensor, window_start)")
        connection.execute(window_index.BUILD)
        connection.commit()
        return machines

    def store_anomalies(self, connection: psycopg.Connection) -> None:
        """Store as many anomalies as the events would have, over the whole day."""
        counts = {"machines": self.machines, "factories": FACTORIES, "count": max(FACTORIES, self.events // _ODD)}
        connection.execute(_ANOMALIES, {"begin": DAY_BEGIN_S, **counts})
        connection.commit()
