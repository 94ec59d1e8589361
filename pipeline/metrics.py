"""The worker's metrics: what is counted as it happens, once per batch or transaction, never per record.

What can be looked up when somebody asks (lag, marks, ages) is not counted here but gathered by :mod:`agents.vitals`. Labels
are topic, partition and reason; never a machine, of which there are too many.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from pipeline.core.effects import UnitOfWork
from pipeline.core.outbox import Outcome
from pipeline.core.records import SourcePartition

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 10, 100, 500, 1000, 2500, 5000, 10_000, 20_000, 50_000)
_SOURCE = ("topic", "partition")


class Metrics:
    """Counters and histograms of one worker, in a registry of its own."""

    def __init__(self) -> None:
        # They would double the lines, and a counter that begins anew shows it by its value
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated in the library
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        counter = self._counter
        self._received = counter("records_received", "Records taken from the broker, also those folded again")
        self._refolded = counter("records_refolded", "Records folded again whose effects were stored before")
        self._stored = counter("records_stored", "Offsets that the effects mark has passed")
        self._events = counter("events_stored", "Accepted messages stored")
        self._anomalies = counter("anomalies", "Anomalies stored")
        self._late = counter("late_messages", "Messages stored after their window was complete")
        self._duplicates = counter("duplicate_messages", "Messages dropped because the device had sent them before")
        self._dead = counter("dead_letters", "Records or messages set aside", "reason")
        self._refused = counter("marks_refused", "Compare-and-sets that missed: somebody else owned the partition")
        self._gaps = counter("gaps", "Acquisitions that found records gone from the log, or another log")
        self._transactions = Counter(
            "pipeline_transactions", "Transactions by how they ended", ["outcome"], registry=self.registry
        )
        self._transaction_s = self._histogram("transaction_seconds", "Time of a stored transaction", _SECONDS)
        self._transaction_rows = self._histogram("transaction_rows", "Rows of a stored transaction", _ROWS)
        self._acquisition_s = self._histogram("acquisition_seconds", "Time to take a partition over", _SECONDS)
        self.loop_delay_s = self._histogram("event_loop_delay_seconds", "How late the event loop came round", _SECONDS)
        self._acquisitions = counter("acquisitions", "Partitions taken over")
        self._messages = Counter(
            "pipeline_outbox_messages",
            "Messages of our own by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.outbox_waiting = Gauge(
            "pipeline_outbox_waiting",
            "Messages that waited when last looked at, at most about 1000",
            registry=self.registry,
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"pipeline_{name}", meaning, [*_SOURCE, *labels], registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"pipeline_{name}", meaning, buckets=buckets, registry=self.registry)

    def received(self, source: SourcePartition, records: int, *, again: bool) -> None:
        """Count a batch; ``again`` if all of its effects were stored before."""
        self._received.labels(*source).inc(records)
        if again:
            self._refolded.labels(*source).inc(records)

    def stored(self, units: Sequence[UnitOfWork], hit: Collection[SourcePartition], took_s: float) -> None:
        """Count a transaction that was committed.

        Parameters
        ----------
        hit
            The partitions whose marks were moved; of the others nothing was stored.
        took_s
            From its begin to the database's answer, s.
        """
        rows = 0
        for unit in units:
            if unit.source in hit:
                rows += self._count(unit)
            else:
                self._refused.labels(*unit.source).inc()
        self._transactions.labels("stored").inc()
        self._transaction_s.observe(took_s)
        self._transaction_rows.observe(rows)

    def failed(self, outcome: str) -> None:
        """Count a transaction that was not committed, or of which nobody knows."""
        self._transactions.labels(outcome).inc()

    def acquired(self, source: SourcePartition, took_s: float, *, found_gap: bool) -> None:
        """Count a partition that was taken over."""
        if found_gap:
            self._gaps.labels(*source).inc()
        self._acquisitions.labels(*source).inc()
        self._acquisition_s.observe(took_s)

    def relayed(self, outcomes: Mapping[Outcome, int]) -> None:
        """Count messages of our own that were done with."""
        for outcome, number in outcomes.items():
            self._messages.labels(outcome).inc(number)

    def _count(self, unit: UnitOfWork) -> int:
        source = unit.source
        self._stored.labels(*source).inc(unit.next - unit.expected)
        self._events.labels(*source).inc(sum(len(effects.events) + len(effects.facts) for effects in unit.effects))
        self._anomalies.labels(*source).inc(sum(len(effects.anomalies) for effects in unit.effects))
        for effects in unit.effects:
            for letter in effects.dead_letters:
                self._dead.labels(*source, letter.reason).inc()
        rows = sum(effects.rows for effects in unit.effects)
        if unit.projections is not None:
            machines = unit.projections.machines
            self._late.labels(*source).inc(sum(machine.late for machine in machines))
            self._duplicates.labels(*source).inc(sum(machine.duplicates for machine in machines))
            rows += len(machines) + len(unit.projections.windows.machine_ids)
        return rows
