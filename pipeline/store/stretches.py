"""What is known of partitions when a replay is planned: how far they are stored, and which states were kept."""

from __future__ import annotations

import datetime as dt

from pipeline.core.records import SourcePartition
from pipeline.store.connect import SCHEMA, Connection
from pipeline.store.progress import KEY, Progress

_STORED = f"""
SELECT topic, partition, effects_next FROM {SCHEMA}.source_progress
WHERE cluster = %(cluster)s AND consumer_group = %(group)s
"""
_NEAREST = f"""
SELECT snapshot_offset FROM {SCHEMA}.snapshot_history
WHERE {KEY} AND fold_version = %(fold_version)s
  AND snapshot_offset <= coalesce(%(offset)s, snapshot_offset) AND taken_at <= coalesce(%(before)s, taken_at)
  AND taken_at >= coalesce((SELECT log_since FROM {SCHEMA}.source_progress WHERE {KEY}), '-infinity')
ORDER BY snapshot_offset DESC LIMIT 1
"""


def stored_to(connection: Connection, progress: Progress) -> dict[SourcePartition, int]:
    """Return for each partition that the live run knows the offset before which everything is stored."""
    rows = connection.execute(_STORED, progress.of_all())
    return {SourcePartition(topic, partition): effects for topic, partition, effects in rows}


def nearest_state(
    connection: Connection,
    progress: Progress,
    source: SourcePartition,
    offset: int | None,
    before: dt.datetime | None,
) -> int | None:
    """Return the offset of the latest state that was kept at or before an offset and a moment; ``None`` if there is none."""
    parameters = {"fold_version": progress.fold_version, "offset": offset, "before": before}
    row = connection.execute(_NEAREST, progress.key(source) | parameters).fetchone()
    return int(row[0]) if row is not None else None
