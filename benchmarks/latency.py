"""From the broker's append time of a message to its commit in the database: steady, and while workers come and go."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from benchmarks import report
from benchmarks.contestants import PIPELINE
from benchmarks.load import start_steady
from benchmarks.measure import Processes, processes
from benchmarks.services import PARTITIONS, Services, resident_mb
from pipeline.store.connect import connect

RATES = (1_000, 5_000, 10_000)
WARM_UP_S = 5.0
_PATIENCE_S = 180.0
_PERCENTILES: LiteralString = """
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (
           ORDER BY extract(epoch FROM pg_xact_commit_timestamp(event.xmin) - ingest_time)::float8 * 1000),
       count(*)
FROM event JOIN unnest(%s::int[], %s::bigint[], %s::bigint[]) AS log (place, begin_at, end_at)
  ON source_partition = place AND source_offset >= begin_at AND source_offset < end_at
WHERE event_type = 'Telemetry Ingest'
"""
_MARKS: LiteralString = "SELECT partition, effects_next FROM source_progress"
_COMMITS: LiteralString = """
SELECT source_partition, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at FROM event
WHERE event_type = 'Telemetry Ingest' GROUP BY source_partition, xmin ORDER BY source_partition, at
"""
_OWNED: LiteralString = (
    "SELECT partition FROM source_progress WHERE owner IS NOT NULL AND worker = %s AND acquired_at >= to_timestamp(%s)"
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Latency of the messages that were appended in a stretch of time, ms.

    Parameters
    ----------
    rate, sent_rate
        Messages per second that were wanted, and that the log got: a machine that is too busy for the rate shows here.
    """

    what: str
    rate: float
    sent_rate: float
    messages: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a stretch begins or ends.

    Parameters
    ----------
    at_s
        The time, s since the epoch.
    ends
        The offset that the next message of each partition had then.
    """

    at_s: float
    ends: dict[int, int]


@dataclass(frozen=True, slots=True)
class Site:
    """Workers under load, with a connection that watches.

    Parameters
    ----------
    idle_mb
        Resident set of each worker before the first message, MB.
    load
        The sender.
    """

    workers: Processes
    connection: psycopg.Connection
    rate: float
    idle_mb: tuple[float, ...]
    services: Services
    topic: str
    load: subprocess.Popen[bytes]

    def now(self) -> Moment:
        """Return how far the log has come."""
        ends = self.services.ends(self.topic)
        return Moment(time.time(), ends)

    def lag(self) -> int:
        """Return how many messages of the log are not stored."""
        marks: dict[int, int] = dict(self.connection.execute(_MARKS))
        return sum(end - marks.get(partition, 0) for partition, end in self.services.ends(self.topic).items())

    def stretch(self, what: str, begin: Moment, end: Moment) -> Stretch:
        """Return the latency of all that was appended between two moments, once it is stored.

        What is not there yet is what took longest, so that figures without it would be too good.
        """
        wait(f"all messages of the stretch {what!r} in the table", lambda: self._stored(end.ends))
        begins = [begin.ends[partition] for partition in end.ends]
        sent = sum(end.ends.values()) - sum(begins)
        found = self.connection.execute(_PERCENTILES, [list(end.ends), begins, list(end.ends.values())])
        ((percentiles, messages),) = found
        if messages != sent:
            raise SystemExit(f"{messages:,} rows for the {sent:,} messages of the stretch {what!r}")
        sent_rate = sent / (end.at_s - begin.at_s)
        return Stretch(what, self.rate, sent_rate, messages, *(percentiles or [float("nan")] * 4))

    def _stored(self, ends: Mapping[int, int]) -> bool:
        return all(mark >= ends[partition] for partition, mark in self.connection.execute(_MARKS))

    def owned(self, number: int, since_s: float = 0.0) -> set[int]:
        """Return the partitions that a worker owns and has acquired since a moment, s since the epoch."""
        return {partition for (partition,) in self.connection.execute(_OWNED, [f"bench-{number}", since_s])}

    def commits(self) -> dict[int, list[float]]:
        """Return when transactions stored events of each partition, in order, s since the epoch."""
        found: dict[int, list[float]] = {partition: [] for partition in range(PARTITIONS)}
        for partition, at_s in self.connection.execute(_COMMITS):
            found[partition].append(at_s)
        return found


@contextmanager
def under_load(
    services: Services,
    count: int,
    machines: int,
    rate: float,
    seconds: float,
    variables: Mapping[str, str] | None = None,
    warm_up_s: float = WARM_UP_S,
) -> Iterator[Site]:
    """Give workers that own all partitions and have had some seconds of load; ``seconds`` more of it follow."""
    topic = services.topic()
    with (
        services.database(ours=True) as dsn,
        connect(dsn, autocommit=True) as connection,
        processes(PIPELINE, count, services, topic, dsn, variables) as workers,
    ):
        wait("workers that own all partitions", lambda: _all_owned(connection, count))
        idle_mb = tuple(resident_mb(each.pid) for each in workers.all)
        load = start_steady(services.address, topic, machines, rate, warm_up_s + seconds)
        try:
            time.sleep(warm_up_s)
            yield Site(workers, connection, rate, idle_mb, services, topic, load)
        finally:
            load.terminate()
            load.wait()


def wait(what: str, reached: Callable[[], object], every_s: float = 0.1) -> None:
    """Wait until something is reached, or give up."""
    deadline = time.monotonic() + _PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {_PATIENCE_S:.0f} s in vain for {what}")
        time.sleep(every_s)


def _all_owned(connection: psycopg.Connection, count: int) -> bool:
    owned = "SELECT count(*), count(DISTINCT worker) FROM source_progress WHERE owner IS NOT NULL"
    return connection.execute(owned).fetchone() == (PARTITIONS, count)


def run(
    services: Services,
    *,
    machines: int,
    seconds: float,
    rates: Sequence[float] = RATES,
    warm_up_s: float = WARM_UP_S,
) -> dict[str, Any]:
    """Measure one worker at every rate; return the figures.

    Parameters
    ----------
    seconds
        How long at each rate, s; 0: 30.
    """
    seconds = seconds or 30.0
    stretches = []
    for rate in rates:
        # Load goes on while what was appended last is on its way
        with under_load(services, 1, machines, rate, seconds + 2, warm_up_s=warm_up_s) as site:
            began = site.now()
            time.sleep(seconds)
            stretches.append(site.stretch("steady, 1 worker", began, site.now()))
    show(stretches)
    return {"stretches": stretches}


def show(stretches: list[Stretch]) -> None:
    """Print the table."""
    names = ("append to commit", "rate/s", "sent/s", "messages", "p50 ms", "p95 ms", "p99 ms", "max ms")
    rows = [(s.what, s.rate, s.sent_rate, s.messages, s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms) for s in stretches]
    report.show("", names, rows)
