"""A clock that only sleeping moves, and a publisher that takes everything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from pipeline.core.errors import BrokerUnavailable
from simulator.messages import Sent

Acknowledged = Callable[[str, int, int], None]


class ManualClock:
    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.at_ms = now_ms
        self.slept: list[int] = []

    def now_ms(self) -> int:
        return self.at_ms

    def sleep_ms(self, duration_ms: int) -> None:
        self.slept.append(duration_ms)
        self.at_ms += duration_ms


class ListPublisher:
    """Acknowledges at the next poll; one partition per key, as a broker with very many would have it.

    Parameters
    ----------
    refuse_from
        How many records it takes before it takes no more.
    """

    def __init__(self, clock: ManualClock, topic: str = "telemetry", refuse_from: int | None = None) -> None:
        self._clock, self._topic, self._refuse_from = clock, topic, refuse_from
        self.records: list[Sent] = []
        self.sent_at_ms: list[int] = []
        self._waiting: list[tuple[Sent, Acknowledged]] = []
        self._partitions: dict[bytes, int] = {}
        self._ends: dict[int, int] = defaultdict(int)

    def send(self, record: Sent, acknowledged: Acknowledged) -> None:
        if self._refuse_from is not None and len(self.records) >= self._refuse_from:
            raise BrokerUnavailable("the broker is gone")
        self.records.append(record)
        self.sent_at_ms.append(self._clock.now_ms())
        self._waiting.append((record, acknowledged))

    def poll(self) -> None:
        for record, acknowledged in self._waiting:
            partition = self._partitions.setdefault(record.key, len(self._partitions))
            acknowledged(self._topic, partition, self._ends[partition])
            self._ends[partition] += 1
        self._waiting.clear()

    def flush(self) -> None:
        self.poll()
