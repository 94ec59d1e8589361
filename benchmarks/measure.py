"""One run of a job: start the processes, watch from outside, stop them, look at what they left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from benchmarks import outcome
from benchmarks.contestants import Contestant, Task
from benchmarks.load import Job
from benchmarks.services import Services, cpu_s, resident_mb, server_cpu_s
from pipeline.store.connect import connect

_STALLED_S = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to.

    Parameters
    ----------
    messages
        Messages stored, each once.
    per_second
        Event rows committed between the first commit and the last, by the database's commit timestamps.
    per_second_to_last_window
        The same rows, but the time goes on to the commit of the last window, if that came later.
    cpu_us, database_cpu_us, broker_cpu_us
        CPU per message of the processes, of the database server and of the broker, until all events and windows are
        stored, µs.
    resident_mb
        Largest resident set of one process, MB.
    event_bytes, index_bytes, window_bytes, topic_bytes
        Per message: the table of events, its indexes, all of the windows, and the log of the topic.
    windows_after_s
        From the last event's commit to that of the last window, s.
    state_bytes
        The kept states of all partitions before compression, bytes; 0 for who keeps none.
    anomalies, predictions
        Rows of ``anomaly`` and of ``maintenance_prediction``.
    problem
        Why the run does not count; empty if everything is stored, once, and all readings are in the windows.
    """

    what: str
    processes: int
    messages: int
    per_second: float
    per_second_to_last_window: float
    cpu_us: float
    database_cpu_us: float
    broker_cpu_us: float
    resident_mb: float
    event_bytes: float
    index_bytes: float
    window_bytes: float
    topic_bytes: float
    windows_after_s: float
    state_bytes: int
    anomalies: int
    predictions: int
    problem: str


class Processes:
    """The processes of a run, to start, watch and stop.

    Parameters
    ----------
    variables
        More variables for the environment of each.
    """

    def __init__(
        self, contestant: Contestant, tasks: Sequence[Task], variables: Mapping[str, str] | None = None
    ) -> None:
        self._contestant, self.tasks, self._variables = contestant, list(tasks), variables
        self.resident_mb = 0.0
        self.all: list[subprocess.Popen[bytes]] = []
        for number in range(len(tasks)):
            self.start(number)

    def start(self, number: int) -> subprocess.Popen[bytes]:
        """Start the process of a number; the one that had it has ended. The next number is one more of the group."""
        if number == len(self.tasks):
            self.tasks.append(replace(self.tasks[0], number=number))
        process = self._contestant.start(self.tasks[number], self._variables)
        self.all[number : number + 1] = [process]
        return process

    def cpu_s(self) -> float:
        """Return the CPU seconds of all of them; also notes the largest resident set."""
        self.resident_mb = max(self.resident_mb, *(resident_mb(each.pid, peak=True) for each in self.all))
        return sum(cpu_s(each.pid) for each in self.all)

    def problem(self) -> str:
        """Return what one of them that ended said last; empty while all run."""
        for number, each in enumerate(self.all):
            if each.poll() is not None:
                said = self._contestant.log_file(self.tasks[number]).read_text(errors="replace").strip()
                return f"a process ended with code {each.returncode}: {said.rpartition(chr(10))[2][-200:]}"
        return ""

    def stop(self) -> None:
        """End all of them."""
        for each in self.all:
            each.terminate()
        for each in self.all:
            try:
                each.wait(30)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


@contextmanager
def processes(
    contestant: Contestant,
    count: int,
    services: Services,
    topic: str,
    dsn: str,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Processes]:
    """Run some processes of one group."""
    group = f"bench-{time.time_ns()}"
    folder = services.folder / "state" / group
    folder.mkdir(parents=True)
    tasks = [Task(services.address, topic, group, dsn, number, count, folder) for number in range(count)]
    if contestant.prepare is not None:
        contestant.prepare(tasks[0])
    started = Processes(contestant, tasks, variables)
    try:
        yield started
    finally:
        started.stop()


def measure(contestant: Contestant, count: int, services: Services, topic: str, job: Job) -> Run:
    """Run a job once."""
    with services.database(ours=contestant.ours) as dsn, connect(dsn, autocommit=True) as connection:
        # A helper's CPU could not be told from a contestant's
        connection.execute("SET max_parallel_workers_per_gather = 0")

        def spent() -> list[float]:
            # Watching is no part of the job
            database_s = server_cpu_s(services.postgres_pid) - cpu_s(connection.info.backend_pid)
            return [started.cpu_s(), database_s, server_cpu_s(services.broker_pid)]

        with processes(contestant, count, services, topic, dsn) as started:
            problem = _wait("the first event", lambda: outcome.any_stored(connection), started)
            # What a process needs to start is not what a message costs
            began = spent()
            stored = outcome.Stored(connection, marks=contestant.marks)
            problem = problem or _wait("all events", lambda: stored() >= job.records, started, stored)
            if contestant.windows and not problem:
                problem = _wait(
                    "all windows", lambda: outcome.readings_short(connection, job) <= 0, started, every_s=0.5
                )
            # Whoever stores windows later than events pays for them too; to wait for them costs next to nothing
            used_s = [end - begin for begin, end in zip(began, spent(), strict=True)]
        return _left(connection, contestant, started, used_s, services.topic_bytes(topic), job, problem)


def _left(
    connection: psycopg.Connection,
    contestant: Contestant,
    started: Processes,
    used_s: Sequence[float],
    topic_bytes: int,
    job: Job,
    problem: str,
) -> Run:
    found = outcome.committed(connection, ours=contestant.ours)
    last_window_s = outcome.last_window_s(connection, job)
    if not problem and (found.rows, found.distinct) != (job.records, job.records):
        problem = f"{found.rows:,} rows of {found.distinct:,} messages for {job.records:,} sent"
    if not problem and contestant.windows and (short := outcome.readings_short(connection, job)):
        problem = f"{short:,} readings are not in the windows"
    return Run(
        contestant.name,
        len(started.all),
        found.rows,
        found.per_second,
        found.per_second_until(last_window_s),
        *(each_s / max(1, found.rows - found.first_rows) * 1e6 for each_s in used_s),
        started.resident_mb,
        *(size / max(1, found.rows) for size in (*outcome.sizes(connection), topic_bytes)),
        max(0.0, last_window_s - found.last_s),
        outcome.state_bytes(connection) if contestant.marks else 0,
        outcome.anomalies(connection),
        outcome.predictions(connection) if contestant.marks else 0,
        problem,
    )


def _wait(
    what: str,
    reached: Callable[[], bool],
    started: Processes,
    progress: Callable[[], int] = lambda: 0,
    every_s: float = 0.05,
) -> str:
    """Wait until something is reached; return why it never will be, or nothing."""
    best, since = -1, time.monotonic()
    while not reached():
        time.sleep(every_s)
        started.cpu_s()
        if (now := progress()) > best:
            best, since = now, time.monotonic()
        if problem := started.problem():
            return problem
        if time.monotonic() - since > _STALLED_S:
            return f"waited {_STALLED_S:.0f} s in vain for {what}"
    return ""
