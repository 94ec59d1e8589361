"""What happened, in order: kept as it came, written out only when somebody asks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What the simulation does to the pipeline; each kind has to happen over the seeds of one test run."""

    REBALANCE = "the group is rebalanced"
    SEEK_TWICE = "Faust seeks twice for one assignment"
    HEARTBEATS_LOST = "a worker is taken for dead and goes on"
    STALE_BATCH = "a batch of an older generation reaches the agent"
    BATCH_LOST = "a batch is lost between fetcher and agent"
    REDELIVERY = "the client goes back to the log's start by itself"
    HOLE = "offsets are missing in the log"
    BROKER_AWAY = "the broker does not answer"
    BROKER_SLOW = "the broker is slow"
    RETENTION = "the log's start moves past a mark"
    RECREATION = "the topic is recreated"
    KILL = "a worker is killed"
    STOP = "a worker stops in order"
    FREEZE = "a worker is stopped for longer than the session timeout, and continued"
    DATABASE_AWAY = "the database does not answer"
    DATABASE_SLOW = "the database is slow"
    ROLLED_BACK = "a transaction is lost before its COMMIT"
    UNKNOWN_STORED = "the connection is lost inside COMMIT, which took effect"
    UNKNOWN_NOT_STORED = "the connection is lost inside COMMIT, which did not take effect"
    LEASE_ANSWER_LOST = "a lease is taken, and nobody hears of it"
    HOLDER_ENDED = "the connection that holds a row's lock is ended"
    RESTORE = "the database is restored to an older state"
    UNSTORABLE = "a record can never be stored"
    CONTROL = "a machine is disabled or enabled while records come"
    TICK = "nothing has come to a partition for some time"
    POISON = "the fold fails on one record, each time"
    FOLD_FAILS = "the fold fails in the middle of a batch, once"
    SNAPSHOT_LOST = "a snapshot is not kept"
    EVENTS_NOT_READ = "the connection is lost while a state is rebuilt from events"


class Trace:
    """The lines of one run, and how often each fault happened."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: list[tuple[float, str, str, Any]] = []
        self.faults: Counter[Fault] = Counter()

    def now(self) -> float:
        """Return the virtual time, s."""
        return self._clock()

    def add(self, who: str, what: str, details: Any = "") -> None:
        self._lines.append((self._clock(), who, what, details))

    def fault(self, kind: Fault, who: str = "", details: Any = "") -> None:
        self.faults[kind] += 1
        self.add(who, f"FAULT {kind.name}", details)

    def lines(self, last: int = 10**9) -> list[str]:
        return [f"{at:9.4f} {who:>8} {what} {_plain(details)}" for at, who, what, details in self._lines[-last:]]

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()


def _plain(details: Any) -> str:
    if isinstance(details, dict):
        return " ".join(f"{key}={value}" for key, value in details.items())
    return str(details)
