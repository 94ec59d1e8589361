"""The metrics that are looked up when somebody asks: lag, marks, ages, and what is owned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agents.observed import ObservedVault
from agents.watchdog import Watch
from pipeline.broker.ownership import Ownership
from pipeline.broker.transport import BatchTransport
from pipeline.core.records import SourcePartition
from pipeline.lag import LagHistory
from tables.partition import OwnedPartition
from tables.partitions import Partitions

_SOURCE = ("topic", "partition")

# Everything is read with one call of the interpreter, since the loop goes on changing it meanwhile


class Gauges(Collector):
    """What the worker's parts say about themselves, in a thread of whoever asks.

    Parameters
    ----------
    lags
        By partition; filled by who asks the broker.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        partitions: Partitions,
        ownership: Ownership,
        vault: ObservedVault,
        transport: BatchTransport,
        watch: Watch,
        lags: dict[SourcePartition, LagHistory],
        clock: Callable[[], float],
    ) -> None:
        self._partitions, self._ownership, self._vault = partitions, ownership, vault
        self._transport, self._watch, self._lags, self._clock = transport, watch, lags, clock

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return nothing: without this the registry would collect, and a half-built worker cannot be asked."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield every gauge with its present values."""
        now, held = self._clock(), dict(self._partitions.owned)
        yield from self._lag(now, held)
        yield from self._freshness(held)
        yield from self._state(held)
        yield from self._snapshots(now, held)
        yield from self._worker(now)

    def _lag(self, now: float, held: dict[SourcePartition, OwnedPartition]) -> Iterator[GaugeMetricFamily]:
        records = _gauge("lag_records", "Records in the log that are not stored yet")
        seconds = _gauge("lag_seconds", "For how long the log has had the first of them, as far as this worker saw")
        for source, partition in held.items():
            history = self._lags.get(source)
            if history is not None:
                records.add_metric(_labels(source), max(0, history.end - partition.effects_mark))
                seconds.add_metric(_labels(source), history.seconds(now, partition.effects_mark))
        yield records
        yield seconds

    def _freshness(self, held: dict[SourcePartition, OwnedPartition]) -> Iterator[GaugeMetricFamily]:
        effects = _gauge("effects_age_seconds", "Age of the latest event time that is stored")
        windows = _gauge("windows_age_seconds", "Age of the event time up to which windows are complete")
        now_ms, fresh = time.time() * 1000, dict(self._vault.fresh)
        for source in held.keys() & fresh.keys():
            for gauge, at_ms in ((effects, fresh[source].effects_ms), (windows, fresh[source].windows_ms)):
                if at_ms is not None and at_ms > 0:
                    gauge.add_metric(_labels(source), (now_ms - at_ms) / 1000)
        yield effects
        yield windows

    def _state(self, held: dict[SourcePartition, OwnedPartition]) -> Iterator[GaugeMetricFamily]:
        marks = _gauge("mark", "Offset up to which a partition was folded, stored, merged or kept", "mark")
        pending = _gauge("pending_rows", "Rows that were folded and wait for the database")
        kept = dict(self._vault.kept)
        for source, partition in held.items():
            offsets = {
                "position": partition.position,
                "effects": partition.effects_mark,
                "windows": partition.windows_mark,
            }
            if source in kept:
                offsets["snapshot"] = kept[source].offset
            for name, offset in offsets.items():
                marks.add_metric([*_labels(source), name], offset)
            pending.add_metric(_labels(source), partition.unstored)
        yield marks
        yield pending
        count = GaugeMetricFamily("pipeline_partitions", "Partitions of this worker by state", labels=["state"])
        consumer = self._transport.consumer
        count.add_metric(["assigned"], len(self._ownership.assigned))
        count.add_metric(["owned"], len(held))
        count.add_metric(["paused"], consumer.paused if consumer is not None else 0)
        yield count

    def _snapshots(self, now: float, held: dict[SourcePartition, OwnedPartition]) -> Iterator[GaugeMetricFamily]:
        age = _gauge("snapshot_age_seconds", "Time since this worker kept a partition's state")
        size = _gauge("snapshot_bytes", "Compressed size of that state")
        kept = dict(self._vault.kept)
        for source in held.keys() & kept.keys():
            age.add_metric(_labels(source), now - kept[source].at)
            size.add_metric(_labels(source), kept[source].size)
        yield age
        yield size

    def _worker(self, now: float) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        consumer, longest = self._transport.consumer, self._watch.longest()
        yield CounterMetricFamily(
            "pipeline_rebalances",
            "Times the group gave this worker its partitions",
            consumer.rebalances if consumer is not None else 0,
        )
        yield GaugeMetricFamily(
            "pipeline_no_progress_seconds",
            "For how long something has stood still through no fault of broker or database",
            longest[1] if longest is not None else 0.0,
        )
        yield GaugeMetricFamily(
            "pipeline_database_answer_age_seconds",
            "Time since the database last did what it was asked",
            now - self._vault.answered_at,
        )


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pipeline_{name}", meaning, labels=[*_SOURCE, *labels])


def _labels(source: SourcePartition) -> list[str]:
    return [source.topic, str(source.partition)]
