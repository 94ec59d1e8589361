"""How fast history is read again, from topics and from what is stored, and what live workers notice of it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from benchmarks import outcome, report
from benchmarks.contestants import PIPELINE, environment, worker_variables
from benchmarks.latency import Stretch, show, under_load, wait
from benchmarks.load import Job
from benchmarks.measure import processes
from benchmarks.services import Services
from pipeline.store.connect import connect

RATE = 10_000.0
_PROCESSES = 2
_STORED = "SELECT coalesce(sum(least(effects_next, windows_next)), 0) FROM {}.source_progress"


@dataclass(frozen=True, slots=True)
class Reading:
    """One replay of everything.

    Parameters
    ----------
    per_second
        Messages per second, from the first commit into the shadow to the last, event rows and windows.
    cpu_us
        CPU per message of the replay's processes, their start included, µs.
    """

    what: str
    processes: int
    messages: int
    per_second: float
    seconds: float
    cpu_us: float


def run(services: Services, *, messages: int, machines: int, seconds: float) -> dict[str, Any]:
    """Measure replays of job J, then the latency of live workers beside a throttled one; return the figures.

    Parameters
    ----------
    seconds
        How long live workers are watched alone, and then beside a replay, s; 0: 30.
    """
    readings = _readings(services, Job(machines, messages))
    report.show(
        "",
        ("replay", "processes", "messages", "messages/s", "seconds in all", "µs CPU a message"),
        [(each.what, each.processes, each.messages, each.per_second, each.seconds, each.cpu_us) for each in readings],
    )
    stretches = _undisturbed(services, machines, seconds or 30.0)
    show(stretches)
    ratio = stretches[1].p99_ms / stretches[0].p99_ms
    report.show("", ("live p99 beside a replay to alone", "×"), [("", ratio)])
    return {"readings": readings, "stretches": stretches, "p99_ratio": ratio}


def _readings(services: Services, job: Job) -> list[Reading]:
    topic = services.topic()
    job.fill(services.address, topic)
    with services.database(ours=True) as dsn, connect(dsn, autocommit=True) as connection:
        with processes(PIPELINE, _PROCESSES, services, topic, dsn) as workers:
            variables = worker_variables(workers.tasks[0])
            wait("all messages in the live tables", lambda: _stored(connection, "telemetry") >= job.records)
        archive = {"PIPELINE_ARCHIVE__ADDRESS": str(services.folder / "archive")}
        found = [
            _reading(connection, job, variables, "topic", "from the topic"),
            _reading(connection, job, variables, "stored", "from the table of events", "--stored"),
        ]
        _pipeline(variables | archive, "archive").check_returncode()
        found.append(_reading(connection, job, variables | archive, "parquet", "from the archive", "--stored"))
    return found


def _reading(
    connection: psycopg.Connection, job: Job, variables: Mapping[str, str], name: str, what: str, *options: str
) -> Reading:
    began, used_s = time.monotonic(), _children_s()
    done = _pipeline(variables, "replay", "start", name, f"--processes={_PROCESSES}", *options)
    done.check_returncode()
    seconds, used_s = time.monotonic() - began, _children_s() - used_s
    shadow = f"replay_{name}"
    connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(shadow)))
    found = outcome.committed(connection, ours=True)
    last_s = max(found.last_s, outcome.last_window_s(connection, job))
    if found.rows != job.records:
        raise SystemExit(f"{found.rows:,} rows for {job.records:,} messages in {shadow}")
    rate = found.per_second_until(last_s)
    _pipeline(variables, "replay", "drop", name).check_returncode()
    connection.execute("SET search_path TO telemetry")
    return Reading(what, _PROCESSES, job.records, rate, seconds, used_s / job.records * 1e6)


def _undisturbed(services: Services, machines: int, seconds: float) -> list[Stretch]:
    """Watch one worker under load, alone and then beside a replay of what it has stored so far, at the same rate."""
    with under_load(services, 1, machines, RATE, 2 * seconds + 30) as site:
        began = site.now()
        time.sleep(seconds)
        alone = site.stretch("live alone", began, site.now())
        variables = worker_variables(site.workers.tasks[0])
        with _replaying(variables, f"--rate={RATE:.0f}", "--processes=1"):
            wait("a replay that stores", lambda: _begun(site.connection))
            began = site.now()
            time.sleep(seconds)
            end = site.now()
        return [alone, site.stretch("live beside a replay at the same rate", began, end)]


@contextmanager
def _replaying(variables: Mapping[str, str], *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "pipeline", "replay", "start", "beside", *options]
    replay = subprocess.Popen(command, env=environment(variables), stdin=subprocess.DEVNULL)
    try:
        yield
        if replay.poll() is not None:
            raise SystemExit("the replay was over before the stretch was")
    finally:
        replay.terminate()
        replay.wait()


def _begun(connection: psycopg.Connection) -> bool:
    if connection.execute("SELECT to_regclass('replay_beside.source_progress') IS NULL").fetchone() == (True,):
        return False
    return _stored(connection, "replay_beside") > 0


def _stored(connection: psycopg.Connection, schema: str) -> int:
    row = connection.execute(sql.SQL(_STORED).format(sql.Identifier(schema))).fetchone()
    return int(row[0]) if row else 0


def _pipeline(variables: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pipeline", *words]
    return subprocess.run(command, env=environment(variables), stdin=subprocess.DEVNULL, check=False)


def _children_s() -> float:
    """Return the CPU seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
