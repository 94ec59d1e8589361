"""Where a group stands: lag, rates, watermark, marks and snapshot age of every partition."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline import connections
from pipeline.broker import topics
from pipeline.core.records import SourcePartition
from pipeline.settings import Settings
from pipeline.store import figures
from pipeline.store.figures import PartitionProgress
from pipeline.store.migrate import require_schema


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One source partition.

    Parameters
    ----------
    progress
        ``None`` if no worker ever owned it.
    log_start, log_end
        What the broker's log holds: ``[log_start, log_end)``.
    records_per_s
        Offsets stored per second while this was measured.
    """

    topic: str
    partition: int
    progress: PartitionProgress | None
    log_start: int
    log_end: int
    records_per_s: float

    @property
    def lag(self) -> int:
        """Records in the log that are not stored yet."""
        return self.log_end - max(self.log_start, self.progress.effects_next if self.progress else 0)

    @property
    def windows_lag(self) -> int:
        """Records in the log that the windows do not contain yet."""
        return self.log_end - max(self.log_start, self.progress.windows_next if self.progress else 0)


def status(settings: Settings, interval_s: float = 1.0) -> list[PartitionStatus]:
    """Return the status of all source partitions.

    Parameters
    ----------
    interval_s
        How long rates are measured, s.

    Raises
    ------
    BrokerUnavailable, DatabaseUnavailable
        If one of them does not answer.
    SchemaOutdated, SettingsError
        If migrations or topics are missing.
    """
    with connections.database(settings, "pipeline status") as connection:
        require_schema(connection)
        began = time.monotonic()
        before = _by_source(figures.progress(connection, settings.site.cluster, settings.group))
        time.sleep(interval_s)
        after = _by_source(figures.progress(connection, settings.site.cluster, settings.group))
        elapsed_s = time.monotonic() - began
    ranges = topics.log_ranges(settings.broker.address, connections.broker_security(settings), settings.source_topics)
    rows = []
    for source, (start, end) in sorted(ranges.items()):
        now, earlier = after.get(source), before.get(source)
        moved = now.effects_next - earlier.effects_next if now and earlier else 0
        rows.append(PartitionStatus(*source, now, start, end, moved / elapsed_s if elapsed_s else 0.0))
    return rows


def _by_source(rows: list[PartitionProgress]) -> dict[SourcePartition, PartitionProgress]:
    return {SourcePartition(row.topic, row.partition): row for row in rows}
