"""Broker and database of a benchmark, with what they use and keep."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pipeline.broker import topics
from pipeline.broker.embedded import EmbeddedBroker
from pipeline.broker.security import BrokerSecurity
from pipeline.store.embedded import EmbeddedPostgres
from pipeline.store.migrate import migrate

PARTITIONS = 8
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PEERS_SCHEMA = Path(__file__).parent / "peers" / "schema.sql"
_BROKER = {
    # Apache Kafka's own default: a group's first members wait for each other, so that two processes begin together
    "group.initial.rebalance.delay.ms": "3000",
    # A record's time is when the broker appended it: where latency begins
    "log.message.timestamp.type": "LogAppendTime",
}


@dataclass(frozen=True, slots=True)
class Services:
    """A broker and a database server that run.

    Parameters
    ----------
    address
        ``host:port`` of the broker.
    dsn
        The superuser's connection string.
    broker_pid, postgres_pid
        Process ids of the two servers.
    """

    folder: Path
    address: str
    dsn: str
    broker_pid: int
    postgres_pid: int

    def topic(self) -> str:
        """Make a topic of 8 partitions."""
        name = f"job-{time.time_ns()}"
        topics.create_topics(self.address, BrokerSecurity(), [name], PARTITIONS)
        return name

    def ends(self, topic: str) -> dict[int, int]:
        """Return the offset that the next message of each partition will have."""
        ranges = topics.log_ranges(self.address, BrokerSecurity(), [topic])
        return {source.partition: end for source, (_, end) in ranges.items()}

    def topic_bytes(self, topic: str) -> int:
        """Return what a topic's log takes on disk."""
        return sum(log.stat().st_size for log in (self.folder / "kafka").rglob(f"{topic}-*/*.log"))

    @contextmanager
    def database(self, *, ours: bool) -> Iterator[str]:
        """Give a fresh database with the project's tables, or with the peers'."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
            connection.execute("CREATE DATABASE bench")
        dsn = psycopg.conninfo.make_conninfo(self.dsn, dbname="bench")
        if ours:
            migrate(dsn)
        else:
            with psycopg.connect(dsn) as connection:
                connection.execute(_PEERS_SCHEMA.read_bytes())
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            # What the run before left in memory is not written during this one
            connection.execute("CHECKPOINT")
        yield dsn

    def commit_ms(self) -> float:
        """Return how long a commit of one row takes, ms: from its timestamp to its being visible is less than this."""
        took = []
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS commit_probe (at timestamptz)")
            for _ in range(101):
                began = time.perf_counter()
                connection.execute("INSERT INTO commit_probe VALUES (now())")
                took.append(time.perf_counter() - began)
        return sorted(took)[50] * 1000


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Start a broker and a database of the benchmark's own; both are gone afterwards."""
    broker = EmbeddedBroker(folder / "kafka", settings=_BROKER)
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        broker.start()
        postgres.start()
        yield Services(folder.resolve(), broker.address, postgres.dsn, broker.pid, postgres.pid)
    finally:
        broker.remove()
        postgres.remove()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process; 0 when it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def server_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of its children that ended and of those that run."""
    fields = _stat(pid)
    own = sum(map(int, fields[11:15])) / _TICKS_PER_S if fields else 0.0
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return own + sum(cpu_s(int(child)) for child in (children.read_text().split() if children.exists() else ()))


def resident_mb(pid: int, *, peak: bool = False) -> float:
    """Return the resident set of a process in MB, now or at its largest; 0 when it is gone."""
    name = "VmHWM:" if peak else "VmRSS:"
    status = Path(f"/proc/{pid}/status")
    text = status.read_text() if status.exists() else ""
    return int(text.split(name)[1].split()[0]) * 1024 / 1e6 if name in text else 0.0


def _stat(pid: int) -> list[str]:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
