"""One worker that meets a crash point, another one that goes on, and what must be in the tables afterwards."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.crash_points import CrashPoint
from tests.forks import Forked, Forks
from tests.system.consuming import order, published
from tests.system.independent import compare
from tests.system.processes import Site
from tests.system.producing import message, produce

PARTITIONS = 2
STEP = 60  # records per partition and round
POISON = "poison"
"""A machine whose events the database refuses."""

SETTINGS = {
    "FLUSH__WINDOWS_INTERVAL_S": 0.3,
    "FLUSH__SNAPSHOT_INTERVAL_S": 0.3,
    "FLUSH__OFFSET_COMMIT_INTERVAL_S": 1,
    "POSTGRES__LOCK_TIMEOUT_S": 0.5,
}

OF_THE_SCHEMA = {
    CrashPoint.MAKING_EVENT_PARTITIONS,
    CrashPoint.BEFORE_MIGRATION,
    CrashPoint.INSIDE_MIGRATION,
    CrashPoint.PARTITION_INDEXED,
}
"""Points that no batch meets; see ``test_schema_points.py``."""

AT_START = {
    CrashPoint.TOKEN_WRITTEN,
    CrashPoint.LOADING_SNAPSHOT,
    CrashPoint.REBUILDING_STATE,
    CrashPoint.BEFORE_SEEK,
}
AT_STOP = {CrashPoint.DRAINING, CrashPoint.DRAINED}
ON_ALERTS = {CrashPoint.MESSAGES_PUBLISHED}
"""Points that are met once per alert."""

ON_POISON = {CrashPoint.BEFORE_CONTROL_RECORD, CrashPoint.CONTROL_RECORD_WRITTEN}


class Case(NamedTuple):
    """What happens where."""

    point: CrashPoint
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.point}"


def alert_topic(topic: str) -> str:
    """Return where the alerts about a topic go."""
    return f"{topic}-alerts"


class Scene:
    """One case on a topic of its own.

    Parameters
    ----------
    folder
        Of the case's own.
    dsn
        Of a database in which the events of :data:`POISON` are refused; cases share it.
    """

    def __init__(self, case: Case, folder: Path, broker: str, dsn: str, topic: str, forks: Forks) -> None:
        self._case, self._folder, self._broker, self._topic, self._forks = case, folder, broker, topic, forks
        self._alerts = alert_topic(topic) if case.point in ON_ALERTS else ""
        settings = SETTINGS | {"BROKER__ALERT_TOPIC": self._alerts}
        self._environment = Site(folder, broker, dsn, [topic], settings).environment
        self._connection = psycopg.connect(dsn, options="-c search_path=telemetry", autocommit=True)
        self._started: list[Forked] = []
        self._sent = 0
        self._told_to_stop: Forked | None = None

    def play(self) -> None:
        """Go through the case; raises ``AssertionError`` for whatever is not as it must be."""
        try:
            self._play()
        finally:
            for process in self._started:
                process.signal(signal.SIGKILL)
            self._connection.close()

    def _play(self) -> None:
        armed = self._lead_to_the_point()
        self._wait((self._folder / "hit").exists, f"{self._case.point} is hit")
        self._send()
        if self._case.kind == "error":
            # It goes on by itself, or ends and says so: never may it stay and do nothing
            self._wait(lambda: self._is_done() or armed.poll() is not None, "the worker goes on or ends")
            assert (armed.poll() == 0) == (armed is self._told_to_stop), armed.last_words()
        second = self._start("second") if self._case.kind != "error" or armed.poll() is not None else None
        if self._case.kind == "kill":
            assert armed.wait() == -signal.SIGKILL
        elif self._case.kind == "freeze":
            self._wait(self._is_done, "the other worker does everything")
            armed.signal(signal.SIGCONT)
        elif self._case.kind == "hang":
            self._wait(lambda: self._has_taken_over("second"), "the other worker has its share")
            (self._folder / "release").touch()
        self._send()
        self._wait(self._is_done, "everything is stored")
        self._stop([armed] if second is None else [armed, second])
        self._judge()

    def _lead_to_the_point(self) -> Forked:
        """Start the worker that will meet the point, with state and marks behind it."""
        self._send()
        at_start = self._case.point in AT_START
        first = self._start("seed") if at_start else self._start("armed", self._case)
        self._wait(self._is_done, "the first records are stored")
        if at_start:
            self._stop([first])
            if self._case.point == CrashPoint.REBUILDING_STATE:
                self._lose_what_was_read()
            first = self._start("armed", self._case)
        # Before the records are sent that lead there: a worker is done with them in no time
        (self._folder / "go").touch()
        self._send(poisoned=self._case.point in ON_POISON)
        if self._case.point in AT_STOP:
            first.signal(signal.SIGTERM)
            self._told_to_stop = first
        return first

    def _lose_what_was_read(self) -> None:
        """Leave neither snapshots nor the beginning of the logs."""
        self._connection.execute("UPDATE partition_snapshot SET fold_version = 0 WHERE topic = %s", [self._topic])
        client = AdminClient({"bootstrap.servers": self._broker})
        gone = [TopicPartition(self._topic, partition, self._sent) for partition in range(PARTITIONS)]
        for answer in client.delete_records(gone).values():
            answer.result(30)

    def _start(self, name: str, case: Case | None = None) -> Forked:
        armed = {"point": case.point, "kind": case.kind} if case else {}
        log = self._folder / f"{name}.log"
        self._started.append(self._forks.start("tests.crash.worker:work", log, self._environment, name=name, **armed))
        return self._started[-1]

    def _send(self, poisoned: bool = False) -> None:
        for partition in range(PARTITIONS):
            machine = f"{self._topic}-{partition}"
            bodies = [message(machine, seq=n, factory_id=self._topic) for n in range(self._sent, self._sent + STEP)]
            if self._alerts:
                bodies[-1]["readings"]["pressure"] = 100.0
            if poisoned:
                bodies[STEP // 2]["machine_id"] = POISON
            produce(self._broker, self._topic, bodies, partition=partition)
        self._sent += STEP

    def _stop(self, workers: list[Forked]) -> None:
        """Stop workers in order; each that is still there leaves with success."""
        running = [worker for worker in workers if worker.poll() is None]
        for worker in running:
            # Told twice, it would be ended by the second time
            if worker is not self._told_to_stop:
                worker.signal(signal.SIGTERM)
        assert [worker.wait() for worker in running] == [0] * len(running), self._last_words()

    def _wait(self, until: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline, f"not reached: {what}; {self._last_words()}"
            time.sleep(0.05)

    def _last_words(self) -> str:
        return " || ".join(process.last_words() for process in self._started)

    def _count(self, query: str, **parameters: object) -> int:
        row = self._connection.execute(query, {"topic": self._topic} | parameters).fetchone()
        assert row is not None
        return int(row[0])

    def _is_done(self) -> bool:
        done = (
            "SELECT count(*) FROM source_progress WHERE topic = %(topic)s AND effects_next = %(end)s"
            " AND windows_next = %(end)s"
        )
        waits = "SELECT count(*) FROM outbox WHERE source_topic = %(topic)s AND outcome IS NULL"
        return self._count(done, end=self._sent) == PARTITIONS and not self._count(waits)

    def _has_taken_over(self, worker: str) -> bool:
        taken = (
            "SELECT count(*) FROM source_progress"
            " WHERE topic = %(topic)s AND worker = %(worker)s AND effects_next = %(end)s"
        )
        return self._count(taken, worker=worker, end=self._sent) > 0

    def _judge(self) -> None:
        """Compare the tables with what was sent and with each other."""
        assert self._is_done(), "a worker that left moved marks"
        stored = self._connection.execute(
            "SELECT source_partition, source_offset FROM event WHERE source_topic = %(topic)s"
            " AND event_type = 'Telemetry Ingest' UNION ALL"
            " SELECT source_partition, source_offset FROM dead_letter WHERE source_topic = %(topic)s ORDER BY 1, 2",
            {"topic": self._topic},
        ).fetchall()
        assert stored == [(partition, offset) for partition in range(PARTITIONS) for offset in range(self._sent)]
        letters = self._count("SELECT count(*) FROM dead_letter WHERE source_topic = %(topic)s")
        assert letters == (PARTITIONS if self._case.point in ON_POISON else 0)
        # Only this case's rows, under the tables' names: a connection looks among its temporary ones first
        for table, column in (("event", "source_topic"), ("reading_window", "machine_id"), ("anomaly", "machine_id")):
            self._connection.execute(
                f"CREATE TEMPORARY VIEW {table} AS SELECT * FROM telemetry.{table}"
                f" WHERE starts_with({column}, '{self._topic}')"
            )
        self._connection.execute(
            f"CREATE TEMPORARY VIEW own_factory AS SELECT * FROM dashboard.factory_window WHERE factory_id = '{self._topic}'"
        )
        wrong = compare(self._connection, "own_factory")
        assert {name: rows for name, (rows, _) in wrong.items()} == {"windows": 0, "anomalies": 0}
        assert wrong["windows"][1] >= 2 * PARTITIONS
        if self._alerts:
            self._judge_alerts()

    def _judge_alerts(self) -> None:
        """Every anomaly is in the topic; what a worker published that could note nothing more was found by the next one."""
        found = published(self._broker, self._alerts)
        anomalies = self._connection.execute("SELECT event_id::text FROM anomaly").fetchall()
        assert len(anomalies) >= PARTITIONS * self._sent // STEP
        assert sorted(each.id for each in found) == sorted(id_ for (id_,) in anomalies)
        assert all(places == sorted(places) for places in order(found).values())
