"""Predictions and anomalies as they are stored, and what is stored of how they came about."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg.rows import class_row, dict_row

from pipeline.core.records import SourcePartition
from pipeline.store.connect import Connection
from pipeline.store.fact_rows import IS_INGESTED
from pipeline.store.progress import KEY, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What was found in a message, or by a control record behind one.

    Parameters
    ----------
    source_offset, source_index
        Where the message is, and its place in an array record; of what a control record brought to light, the message before
        it, and 2**30 and the ordinal of the record.
    """

    event_id: uuid.UUID
    message_id: uuid.UUID
    machine_id: str
    factory_id: str
    event_time: dt.datetime
    kind: str
    worker: str
    cluster: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_index: int
    stored_time: dt.datetime

    @property
    def source(self) -> SourcePartition:
        """The partition that the message is in."""
        return SourcePartition(self.source_topic, self.source_partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrediction(Derived):
    """One prediction; see :class:`pipeline.core.predictions.Prediction`.

    Parameters
    ----------
    in_force_from, in_force_until
        Offsets ``[from, until)`` of its partition between which the model was in force in that stage; ``until`` is ``None`` as
        long as it is; both are ``None`` if no control record says so.
    control_id, consumer_group
        The record that says so, and whose it is.
    """

    stage: str
    model_id: int
    model_version: int
    feature_version: int
    label: str
    value: float
    lower: float
    upper: float
    hours_per_day: float
    by_rules: str
    inputs: list[float]
    in_force_from: int | None
    in_force_until: int | None
    control_id: int | None
    consumer_group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnomaly(Derived):
    """One anomaly; see :class:`pipeline.core.anomalies.Anomaly`."""

    sensor: str
    value: float
    expected: float
    score: float
    detector: str
    detector_version: int


class StoredMessage(NamedTuple):
    """A message, and what was found in it.

    Parameters
    ----------
    row
        Of ``event``, without its body.
    predictions, anomalies
        Id, machine, kind and time of each.
    """

    row: dict[str, Any]
    predictions: Sequence[dict[str, Any]]
    anomalies: Sequence[dict[str, Any]]


class Versions(NamedTuple):
    """By which fold and by which rules a partition was folded somewhere; empty rules: nobody noted them."""

    fold: int
    rules: str


class OfReplay(NamedTuple):
    """A replay that found something, which was promoted.

    Parameters
    ----------
    versions
        ``None``: the replay was dropped since.
    is_whole
        Whether it read its partitions from their beginning.
    """

    name: str
    versions: Versions | None
    is_whole: bool


class KeptState(NamedTuple):
    """A partition's state as it was kept: it holds what is before an offset."""

    offset: int
    state: bytes
    taken_at: dt.datetime


# Ids begin with the event time, and that finds rows by any index on it
_TIME = "'epoch'::timestamptz + %(ms)s * interval '1 millisecond'"
_BY_ID = f"WHERE event_id = %(id)s AND event_time = {_TIME}"
_SHARED = (
    "event_id, message_id, machine_id, factory_id, event_time, kind, worker, cluster, source_topic, source_partition,"
    " source_offset, source_index, stored_time"
)
_PREDICTION = f"""
SELECT {_SHARED}, p.stage, p.model_id, p.model_version, p.feature_version, p.label, p.value, p.lower, p.upper, p.hours_per_day,
       p.by_rules, p.inputs, l.in_force_from, l.in_force_until, l.control_id, l.consumer_group
FROM maintenance_prediction AS p JOIN dashboard.prediction_lineage AS l USING ({_SHARED}) {_BY_ID}
"""
_ANOMALY = f"SELECT {_SHARED}, sensor, value, expected, score, detector, detector_version FROM anomaly {_BY_ID}"
_MESSAGE = f"""
SELECT event_id, event_type, machine_id, factory_id, event_time, ingest_time, source_topic, source_partition, source_offset,
       source_index, stored_time
FROM event {_BY_ID} AND {IS_INGESTED}
"""
# A cycle that ended in a message is older than it, and so may a device be that fell silent
_FOUND_IN = f"""
WHERE message_id = %(id)s AND event_time > {_TIME} - interval '7 days' AND event_time <= {_TIME}
ORDER BY event_time, machine_id, kind, event_id
"""
_PREDICTIONS_IN = f"""
SELECT event_id, machine_id, kind, event_time, stage, model_id FROM maintenance_prediction {_FOUND_IN}
"""
_ANOMALIES_IN = f"SELECT event_id, machine_id, kind, event_time, sensor, detector FROM anomaly {_FOUND_IN}"

# What was in force before the next change; if there is none, what is in force now
_VERSIONS = f"""
SELECT coalesce(p.fold_version, 0), coalesce(p.config_version, ''), (
    SELECT c.detail FROM control_record AS c
    WHERE c.kind = 'version' AND (c.cluster, c.consumer_group, c.topic, c.partition)
        = (p.cluster, p.consumer_group, p.topic, p.partition)
      AND c."offset" > %(offset)s AND (p.log_since IS NULL OR c.created_at >= p.log_since)
    ORDER BY c."offset", c.id LIMIT 1
)
FROM source_progress AS p WHERE {KEY}
"""
_REPLAY = """
SELECT fold_version, config_version,
       options ->> 'from_offset' IS NULL AND options ->> 'since_ms' IS NULL AND options ->> 'cold' IS DISTINCT FROM 'true'
FROM replay WHERE name = %s
"""
_OF_REPLAY = "replay-"
_CHANGE = re.compile(r"fold (\d+) -> \d+, configuration (\w*) -> ")

_NEAREST = f"""
SELECT snapshot_offset, state, taken_at FROM (
    SELECT * FROM snapshot_history WHERE {KEY} UNION ALL SELECT * FROM partition_snapshot WHERE {KEY}
) AS kept
WHERE fold_version = %(fold_version)s AND snapshot_offset <= %(offset)s
  AND taken_at >= coalesce((SELECT log_since FROM source_progress WHERE {KEY}), '-infinity')
ORDER BY snapshot_offset DESC LIMIT 1
"""


def prediction(connection: Connection, event_id: uuid.UUID) -> StoredPrediction | None:
    """Return the prediction of an id, of a shadow too; ``None``: there is none."""
    with connection.cursor(row_factory=class_row(StoredPrediction)) as cursor:
        return cursor.execute(_PREDICTION, _by(event_id)).fetchone()


def anomaly(connection: Connection, event_id: uuid.UUID) -> StoredAnomaly | None:
    """Return the anomaly of an id; ``None``: there is none."""
    with connection.cursor(row_factory=class_row(StoredAnomaly)) as cursor:
        return cursor.execute(_ANOMALY, _by(event_id)).fetchone()


def message(connection: Connection, event_id: uuid.UUID) -> StoredMessage | None:
    """Return the message of an id and what was found in it; ``None``: there is none.

    What is more than 7 days older than the message, by event time, is not looked for.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_MESSAGE, _by(event_id)).fetchone()
        if row is None:
            return None
        found = [cursor.execute(each, _by(event_id)).fetchall() for each in (_PREDICTIONS_IN, _ANOMALIES_IN)]
    return StoredMessage(row, *found)


def _by(event_id: uuid.UUID) -> dict[str, Any]:
    return {"id": event_id, "ms": event_id.int >> 80}


def versions_at(connection: Connection, progress: Progress, source: SourcePartition, offset: int) -> Versions | None:
    """Return by what the record at an offset of a partition was folded; ``None``: the group knows no such partition."""
    row = connection.execute(_VERSIONS, progress.key(source) | {"offset": offset}).fetchone()
    if row is None:
        return None
    change = _CHANGE.match(row[2] or "")
    return Versions(int(change[1]), change[2]) if change is not None else Versions(*row[:2])


def replay_of(connection: Connection, worker: str) -> OfReplay | None:
    """Return the replay that a worker was of; ``None``: it was a worker of the group."""
    if not worker.startswith(_OF_REPLAY):
        return None
    name = worker.removeprefix(_OF_REPLAY)
    row = connection.execute(_REPLAY, [name]).fetchone()
    return OfReplay(name, None, True) if row is None else OfReplay(name, Versions(*row[:2]), row[2])


def state_before(connection: Connection, progress: Progress, source: SourcePartition, offset: int) -> KeptState | None:
    """Return the nearest state of this version of the fold that was kept and holds nothing from an offset on."""
    key = progress.key(source) | {"offset": offset, "fold_version": progress.fold_version}
    row = connection.execute(_NEAREST, key).fetchone()
    return KeptState(*row) if row is not None else None
