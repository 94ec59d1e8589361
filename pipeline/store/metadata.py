"""Commands on metadata as rows: what became of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from pipeline.core.decoding.metadata import MetadataChange, MetadataCommand
from pipeline.core.records import SourcePartition
from pipeline.core.times import iso
from pipeline.store.identity import event_ids, seed
from pipeline.store.progress import Progress

Cursor = psycopg.Cursor[Any]

# A row is there already only when a topic was recreated and its offsets began anew
_COMMAND = """
INSERT INTO metadata_command (cluster, consumer_group, source_topic, source_partition, source_offset, source_index,
    command_id, entity, entity_id, action, expected_version, status, reason, version, is_change, body, machine_id, factory_id,
    event_time, ingest_time, event_id)
VALUES (%(cluster)s, %(group)s, %(topic)s, %(partition)s, %(offset)s, %(index)s, %(command_id)s, %(entity)s, %(entity_id)s,
    %(action)s, %(expected_version)s, %(status)s, %(reason)s, %(version)s, %(is_change)s, %(body)s, %(machine_id)s,
    %(factory_id)s, %(event_time)s, %(ingest_time)s, %(event_id)s)
ON CONFLICT (cluster, consumer_group, source_topic, source_partition, source_offset, source_index) DO UPDATE SET
    command_id = excluded.command_id, entity = excluded.entity, entity_id = excluded.entity_id, action = excluded.action,
    expected_version = excluded.expected_version, status = excluded.status, reason = excluded.reason,
    version = excluded.version, is_change = excluded.is_change, body = excluded.body, machine_id = excluded.machine_id,
    factory_id = excluded.factory_id, event_time = excluded.event_time, ingest_time = excluded.ingest_time,
    event_id = excluded.event_id
"""


def store(cursor: Cursor, progress: Progress, source: SourcePartition, commands: Sequence[MetadataCommand]) -> None:
    """Store commands of one partition, in the transaction of their effects."""
    if commands:
        cursor.executemany(_COMMAND, [_row(progress, source, each) for each in commands])


def _row(progress: Progress, source: SourcePartition, command: MetadataCommand) -> dict[str, Any]:
    names = ("command_id", "entity", "entity_id", "action", "expected_version", "status", "reason", "version")
    return (
        progress.key(source)
        | {name: getattr(command, name) for name in (*names, "offset", "index", "machine_id", "factory_id")}
        | {
            "is_change": isinstance(command, MetadataChange),
            "body": Jsonb(dict(command.result)),
            "event_time": iso(command.time_ms),
            "ingest_time": iso(command.ingest_ms),
            "event_id": _event_id(progress, source, command),
        }
    )


def _event_id(progress: Progress, source: SourcePartition, command: MetadataCommand) -> uuid.UUID:
    seeds = np.array([seed(progress.subscriber.cluster, source)], np.uint64)
    place = (np.array([command.offset], np.int64), np.array([command.index], np.int32))
    ids = event_ids(seeds, np.array([command.time_ms], np.int64), *place)
    return uuid.UUID(int=int(ids.high[0]) << 64 | int(ids.low[0]))
