"""Run a plant: as fast as possible, or paced by a clock; to a publisher, with a ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from simulator.ledger import Ledger
from simulator.messages import Sent
from simulator.options import Drive, PlantOptions
from simulator.plant import Plant

SHORTEST_TICK_MS = 10
LONGEST_TICK_MS = 50
_PROGRESS_INTERVAL_MS = 250
_RECORDS_PER_TICK = 512


class Clock(Protocol):
    """What the drive asks about time."""

    def now_ms(self) -> int:
        """Return the time, ms since the epoch, UTC."""

    def sleep_ms(self, duration_ms: int) -> None:
        """Return after a duration, ms; ≥ 0."""


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Return the time, ms since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def sleep_ms(self, duration_ms: int) -> None:
        """Return after a duration, ms; ≥ 0."""
        time.sleep(duration_ms / 1000)


class RecordPublisher(Protocol):
    """Where records go; :class:`simulator.publisher.Publisher` is one."""

    def send(self, record: Sent, acknowledged: Callable[[str, int, int], None]) -> None:
        """Take a record; call back with topic, partition and offset when it is delivered."""

    def poll(self) -> None:
        """Call back for what was delivered by now."""

    def flush(self) -> None:
        """Call back for everything; return when nothing is under way."""


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What a plant has sent; also what progress is told with, so far.

    Parameters
    ----------
    records, messages, body_bytes
        Handed to the publisher; an array record holds several messages.
    kinds
        Records by kind.
    anomalies
        Readings that were spiked or dipped, without duplicates and garbage.
    first_event_ms, last_event_ms
        Earliest and latest device time, ms since the epoch, UTC; 0 if nothing was sent.
    elapsed_ms
        By the clock, ms.
    behind_ms
        The most that a record was sent later than the schedule said, ms; 0 when going as fast as possible.
    """

    records: int
    messages: int
    body_bytes: int
    kinds: Mapping[str, int]
    anomalies: int
    first_event_ms: int
    last_event_ms: int
    elapsed_ms: int
    behind_ms: int


def simulate(
    options: PlantOptions,
    publisher: RecordPublisher,
    ledger: Ledger,
    *,
    clock: Clock,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[SimulationResult], None] = lambda _: None,
) -> SimulationResult:
    """Run a plant until its schedule ends or ``stop`` says so; then wait until everything is acknowledged.

    A row comes into the ledger only after the broker acknowledged the record. In real time, event time begins at the
    clock's time and goes with it; what is held back at the end of the schedule is still sent when it is due. After
    ``stop``, what machines hold back is never sent, and is in no ledger.

    Parameters
    ----------
    stop
        Asked at least every :data:`LONGEST_TICK_MS` in real time, every 512 records otherwise.
    on_progress
        Told at most every 250 ms of the clock.

    Raises
    ------
    BrokerUnavailable
        If a record could not be delivered; what was acknowledged is in the ledger.
    """
    run = _Run(_timed(options, clock.now_ms()), publisher, ledger, clock, stop, on_progress)
    try:
        run.send_all()
    finally:
        run.settle()
    return run.result()


def _timed(options: PlantOptions, now_ms: int) -> PlantOptions:
    if options.drive is Drive.BACKFILL:
        return options
    interval_ms = options.machines / options.rate * 1000 if options.rate else options.interval_ms
    return replace(options, start_ms=now_ms, interval_ms=interval_ms)


class _Run:
    def __init__(
        self,
        options: PlantOptions,
        publisher: RecordPublisher,
        ledger: Ledger,
        clock: Clock,
        stop: Callable[[], bool],
        on_progress: Callable[[SimulationResult], None],
    ) -> None:
        self._plant = Plant(options)
        self._paced = options.drive is Drive.REAL_TIME
        self._publisher, self._ledger, self._clock = publisher, ledger, clock
        self._stop, self._on_progress = stop, on_progress
        self._started_ms = self._told_ms = clock.now_ms()
        self._kinds: Counter[str] = Counter()
        self._messages = self._body_bytes = self._anomalies = self._behind_ms = 0
        self._first_ms: int | None = None
        self._last_ms = 0

    def send_all(self) -> None:
        """Send record after record, each not before it is due."""
        if self._stop():
            return
        for count, record in enumerate(self._plant, start=1):
            if self._paced and not self._wait_until(record.due_ms):
                return
            now_ms = self._clock.now_ms()
            self._publisher.send(record, partial(self._ledger.append, record, now_ms))
            self._count(record, now_ms)
            if count % _RECORDS_PER_TICK == 0 and not self._tick():
                return

    def settle(self) -> None:
        """Wait for what is under way, however the sending ended: what the broker has must be in the ledger."""
        try:
            self._publisher.flush()
        finally:
            self._ledger.flush()

    def _wait_until(self, due_ms: int) -> bool:
        """Wait in short ticks; return whether to go on."""
        while (wait_ms := due_ms - self._clock.now_ms()) > 0:
            if not self._tick():
                return False
            self._clock.sleep_ms(min(max(wait_ms, SHORTEST_TICK_MS), LONGEST_TICK_MS))
        return True

    def _tick(self) -> bool:
        """Collect acknowledgments, write the ledger, tell progress; return whether to go on."""
        self._publisher.poll()
        self._ledger.flush()
        now_ms = self._clock.now_ms()
        if now_ms - self._told_ms >= _PROGRESS_INTERVAL_MS:
            self._told_ms = now_ms
            self._on_progress(self.result())
        return not self._stop()

    def _count(self, record: Sent, now_ms: int) -> None:
        self._kinds[record.kind] += 1
        self._messages += len(record.messages)
        self._body_bytes += len(record.body)
        if record.kind not in ("duplicate", "garbage"):
            self._anomalies += sum(len(message.anomalies) for message in record.messages)
        first_ms, last_ms = record.messages[0].event_time_ms, record.messages[-1].event_time_ms
        self._first_ms = first_ms if self._first_ms is None else min(self._first_ms, first_ms)
        self._last_ms = max(self._last_ms, last_ms)
        if self._paced:
            self._behind_ms = max(self._behind_ms, now_ms - record.due_ms)

    def result(self) -> SimulationResult:
        """Return what was sent so far."""
        return SimulationResult(
            records=self._kinds.total(),
            messages=self._messages,
            body_bytes=self._body_bytes,
            kinds=dict(self._kinds),
            anomalies=self._anomalies,
            first_event_ms=self._first_ms or 0,
            last_event_ms=self._last_ms,
            elapsed_ms=self._clock.now_ms() - self._started_ms,
            behind_ms=self._behind_ms,
        )
