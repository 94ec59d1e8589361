"""Job J: how many messages per second one and two workers store, beside bare fetch + decode + COPY in the same run.

Telemetry of 10,000 machines with 5 readings each, one message per machine and 5 s of event time, one topic of 8 partitions,
lz4, filled beforehand. Every message becomes an event, every reading is aggregated into its one-minute window and scored.
The rate is rows committed between the first and the last commit, by the database's own commit timestamps.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import psycopg
from rich.console import Console
from rich.table import Table

from pipeline.broker import topics
from pipeline.broker.embedded import EmbeddedBroker
from pipeline.broker.security import BrokerSecurity
from pipeline.store.connect import connect
from pipeline.store.embedded import EmbeddedPostgres
from pipeline.store.migrate import migrate
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.publisher import Publisher

PARTITIONS = 8
MACHINES = 10_000
SPIKED_MESSAGES = 1 / 500
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to; memory in MB of the largest process."""

    what: str
    processes: int
    messages: int
    per_second: float
    cpu_us_per_message: float
    resident_mb: float
    bytes_per_event: float


def fill(address: str, topic: str, messages: int) -> None:
    """Put the job's messages into the topic."""
    share = SPIKED_MESSAGES / 5
    plant = Plant(PlantOptions(machines=MACHINES, messages=messages, spike_share=share / 2, dip_share=share / 2))
    publisher = Publisher(address, topic, codec="lz4", linger_ms=20)
    for count, record in enumerate(plant):
        publisher.send(record, lambda *_: None)
        if count % 1000 == 0:
            publisher.poll()
    publisher.flush()


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Give a migrated database."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
        connection.execute("CREATE DATABASE bench")
        connection.execute("CHECKPOINT")
    dsn = psycopg.conninfo.make_conninfo(server, dbname="bench")
    migrate(dsn)
    yield dsn


def worker(address: str, topic: str, group: str, dsn: str) -> subprocess.Popen[bytes]:
    """Start a worker."""
    environment = os.environ | {
        "PIPELINE_BROKER__ADDRESS": address,
        "PIPELINE_BROKER__TOPICS": f'["{topic}"]',
        "PIPELINE_BROKER__GROUP": group,
        "PIPELINE_POSTGRES__DSN": dsn,
        "PIPELINE_LOG__LEVEL": "warning",
    }
    return subprocess.Popen([sys.executable, "-m", "pipeline", "worker"], env=environment)


def bare(address: str, topic: str, group: str, dsn: str) -> subprocess.Popen[bytes]:
    """Start a process of the yardstick."""
    return subprocess.Popen([sys.executable, "-m", "benchmarks.bare", address, topic, group, dsn])


def measure(what: str, count: int, address: str, topic: str, server: str, messages: int) -> Run:
    """Run the job once."""
    start = {"pipeline": worker, "fetch + decode + COPY": bare}[what]
    group = f"{count}-{time.time_ns()}"
    with fresh_database(server) as dsn:
        processes = [start(address, topic, group, dsn) for _ in range(count)]
        with connect(dsn, autocommit=True) as connection:
            while stored(connection, what) == 0:
                time.sleep(0.02)
            # What a process needs to start is not what a message costs
            started_s = [usage(process.pid)[0] for process in processes]
            used_s, resident_mb = list(started_s), [0.0] * count
            while stored(connection, what) < messages:
                time.sleep(0.2)
                for number, process in enumerate(processes):
                    if process.poll() is None:
                        used_s[number], resident_mb[number] = usage(process.pid)
                    elif process.returncode != 0:
                        raise SystemExit(f"{what} ended with code {process.returncode}")
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(60)
            rate, size = committed_rate(connection)
    return Run(what, count, messages, rate, (sum(used_s) - sum(started_s)) / messages * 1e6, max(resident_mb), size)


def stored(connection: psycopg.Connection, what: str) -> int:
    """Return how many messages are stored, without reading them."""
    marks = "SELECT coalesce(sum(effects_next), 0) FROM source_progress"
    inserted = "SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables WHERE relname LIKE 'event\\_%'"
    row = connection.execute(marks if what == "pipeline" else inserted).fetchone()
    return int(row[0])


def committed_rate(connection: psycopg.Connection) -> tuple[float, float]:
    """Return rows per second between the first commit and the last, and bytes per event."""
    row = connection.execute(
        "WITH c AS (SELECT pg_xact_commit_timestamp(xmin) AS at, count(*) AS n FROM event"
        " WHERE event_type = 'Telemetry Ingest' GROUP BY xmin)"
        " SELECT sum(n), extract(epoch FROM max(at) - min(at)), (array_agg(n ORDER BY at))[1] FROM c"
    ).fetchone()
    size = connection.execute(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'event'::regclass"
    ).fetchone()
    return float(row[0] - row[2]) / float(row[1]), float(size[0]) / float(row[0])


def usage(pid: int) -> tuple[float, float]:
    """Return CPU seconds and peak resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = int(status.split("VmHWM:")[1].split()[0]) if "VmHWM:" in status else 0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, peak_kb / 1000


def show(runs: list[Run]) -> dict[str, float]:
    """Print the table; return the ratios."""
    table = Table(title="job J", title_justify="left", box=None)
    for name in ("what", "processes", "messages/s", "µs CPU/message", "peak MB", "bytes/event"):
        table.add_column(name, justify="left" if name == "what" else "right")
    best: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        best.setdefault((run.what, run.processes), []).append(run.per_second)
        numbers = (run.per_second, run.cpu_us_per_message, run.resident_mb, run.bytes_per_event)
        table.add_row(run.what, str(run.processes), *(f"{x:,.1f}" if x < 100 else f"{x:,.0f}" for x in numbers))
    Console().print(table)
    middle = {key: statistics.median(rates) for key, rates in best.items()}
    ratios = {
        f"{count} worker(s) to bare {other}": middle["pipeline", count] / middle[what, other]
        for (what, other) in middle
        if what != "pipeline"
        for count in sorted(n for w, n in middle if w == "pipeline")
        if count == other
    }
    if ("pipeline", 2) in middle:
        ratios["2 workers to 1"] = middle["pipeline", 2] / middle["pipeline", 1]
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    return ratios


def main() -> None:
    """Fill the topic, run everything in turns, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    # Apache Kafka's own default: a group's first members wait for each other, so that two workers begin together
    together = {"group.initial.rebalance.delay.ms": "3000"}
    with (
        EmbeddedBroker(options.folder / "kafka", settings=together) as broker,
        EmbeddedPostgres(options.folder / "postgres") as postgres,
    ):
        topic = f"job-{time.time_ns()}"
        topics.create_topics(broker.address, BrokerSecurity(), [topic], PARTITIONS)
        fill(broker.address, topic, options.messages)
        runs = [
            measure(what, count, broker.address, topic, postgres.dsn, options.messages)
            for _ in range(options.rounds)
            for what in ("fetch + decode + COPY", "pipeline")
            for count in (1, 2)
        ]
    ratios = show(runs)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    report = {"machine": machine, "runs": [asdict(run) for run in runs], "ratios": ratios}
    (options.folder / "job.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    print(orjson.dumps(report).decode())


if __name__ == "__main__":
    main()
