"""From the broker's append time of a message to its commit in the database: steady, and while workers come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
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
_PATIENCE_S = 60.0
_PERCENTILES: LiteralString = """
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (
           ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - ingest_time)::float8 * 1000),
       count(*)
FROM event
WHERE event_type = 'Telemetry Ingest' AND ingest_time >= to_timestamp(%s) AND ingest_time < to_timestamp(%s)
"""
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
        Messages per second that were wanted, and that came: a machine that is too busy for the rate shows here.
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
class Site:
    """Workers under load, with a connection that watches.

    Parameters
    ----------
    idle_mb
        Resident set of the first worker before the first message, MB.
    """

    workers: Processes
    connection: psycopg.Connection
    rate: float
    idle_mb: float

    def stretch(self, what: str, begin_s: float, end_s: float) -> Stretch:
        """Return the latency of what was appended in [begin, end), s since the epoch."""
        percentiles, messages = self.connection.execute(_PERCENTILES, [begin_s, end_s]).fetchone()
        return Stretch(what, self.rate, messages / (end_s - begin_s), messages, *(percentiles or [float("nan")] * 4))

    def owned(self, number: int, since_s: float = 0.0) -> set[int]:
        """Return the partitions that a worker owns and has acquired since a moment, s since the epoch."""
        return {partition for (partition,) in self.connection.execute(_OWNED, [f"bench-{number}", since_s])}

    def longest_pauses(self, begin_s: float, partitions: set[int]) -> list[tuple[float, float]]:
        """Return when each partition's longest pause between two commits began and ended, s since the epoch.

        Parameters
        ----------
        begin_s
            Pauses that ended before are left out.
        """
        commits: dict[int, list[float]] = {partition: [] for partition in partitions}
        for partition, at_s in self.connection.execute(_COMMITS):
            # The pause may begin with the last commit before
            if partition in commits and at_s >= begin_s - 1:
                commits[partition].append(at_s)
        return [max(pairwise(found), key=lambda pause: pause[1] - pause[0]) for found in commits.values()]


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
        wait(lambda: _all_owned(connection, count))
        site = Site(workers, connection, rate, resident_mb(workers.all[0].pid))
        load = start_steady(services.address, topic, machines, rate, warm_up_s + seconds)
        try:
            time.sleep(warm_up_s)
            yield site
        finally:
            load.terminate()
            load.wait()


def wait(reached: Callable[[], bool], every_s: float = 0.1) -> None:
    """Wait until something is reached, or give up."""
    deadline = time.monotonic() + _PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise SystemExit(f"not reached within {_PATIENCE_S:.0f} s")
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
        with under_load(services, 1, machines, rate, seconds + 2, warm_up_s=warm_up_s) as site:
            began_s = time.time()
            time.sleep(seconds)
            ended_s = time.time()
            # What was appended last is still on its way
            time.sleep(2)
            stretches.append(site.stretch("steady, 1 worker", began_s, ended_s))
    show(stretches)
    return {"stretches": stretches}


def show(stretches: list[Stretch]) -> None:
    """Print the table."""
    names = ("append to commit", "rate/s", "sent/s", "messages", "p50 ms", "p95 ms", "p99 ms", "max ms")
    rows = [(s.what, s.rate, s.sent_rate, s.messages, s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms) for s in stretches]
    report.show("", names, rows)
