"""What a source record says to every partition of its group, as control records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from pipeline.core.controls import MAINTAINED, METADATA
from pipeline.core.decoding.metadata import MetadataChange
from pipeline.core.facts import Fact, MaintenanceRecord, ends_life
from pipeline.core.records import SourcePartition
from pipeline.store.identity import control_id
from pipeline.store.progress import Progress

Cursor = psycopg.Cursor[Any]

# After the database was restored to an older point the same record is read again, and makes the same control record
_CONTROL = """
INSERT INTO control_record (id, kind, cluster, consumer_group, reason, detail, created_by, body) OVERRIDING SYSTEM VALUE
VALUES (%(id)s, %(kind)s, %(cluster)s, %(group)s, %(reason)s, %(detail)s, %(worker)s, %(said)s)
ON CONFLICT (id) DO NOTHING
"""


class _Said(NamedTuple):
    """A control record that a fact makes.

    Parameters
    ----------
    version
        What else tells it from one of the same place in a log that was made anew.
    """

    kind: str
    reason: str
    detail: str
    body: Mapping[str, Any]
    version: str = ""


def announce(cursor: Cursor, progress: Progress, source: SourcePartition, facts: Sequence[Fact]) -> None:
    """Write the control records that facts of one partition make, in the transaction of their effects."""
    said = [(fact, found) for fact in facts if (found := _said(fact)) is not None]
    if said:
        cursor.executemany(_CONTROL, [_row(progress, source, *each) for each in said])


def _said(fact: Fact) -> _Said | None:
    if isinstance(fact, MetadataChange):
        return _Said(METADATA, "command", fact.command_id, fact.control())
    if isinstance(fact, MaintenanceRecord) and ends_life(fact.kind, fact.requirement):
        body = {"machine_id": fact.machine_id, "time_ms": fact.time_ms, "kind": fact.kind, "component": fact.component}
        return _Said(MAINTAINED, "maintenance", fact.machine_id, body, f"\0{fact.time_ms}")
    return None


def _row(progress: Progress, source: SourcePartition, fact: Fact, said: _Said) -> dict[str, Any]:
    whence = f"{source.topic}\0{source.partition}\0{fact.offset}\0{fact.index}"
    return progress.of_all() | {
        "id": control_id(
            f"{progress.subscriber.cluster}\0{progress.subscriber.group}\0{whence}\0{said.detail}{said.version}"
        ),
        "kind": said.kind,
        "reason": said.reason,
        "detail": said.detail,
        "worker": progress.subscriber.worker,
        "said": Jsonb(dict(said.body)),
    }
