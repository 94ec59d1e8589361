"""Effects as rows of the sink tables, in binary COPY form. One function per table, columns in the order of its constant."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.core.anomalies import Anomaly
from pipeline.core.dead_letters import DeadLetter
from pipeline.core.effects import Events, MachineRow, WindowRows
from pipeline.core.facts import TELEMETRY_INGEST
from pipeline.core.outbox import AlertRules
from pipeline.core.records import SourcePartition
from pipeline.core.times import iso
from pipeline.core.windowing.windows import BASE_MS
from pipeline.store import copy_binary as copy
from pipeline.store.dead_letters import readable_headers
from pipeline.store.identity import Uuids, event_ids, seed, source_id
from pipeline.store.progress import Subscriber

EVENT = (
    "event_id, event_type, entity_type, entity_id, event_time, ingest_time, source_topic, source_partition,"
    " source_offset, source_index, machine_id, factory_id, body"
)
READING_WINDOW = (
    "window_start, count, mean, m2, min, max, last, last_time, last_source, last_offset, last_index, late_count,"
    " very_late_count, length_s, source_id, machine_id, sensor, factory_id"
)
ANOMALY = (
    "cluster, source_topic, source_partition, source_offset, source_index, sensor, kind, machine_id, factory_id,"
    " event_time, value, expected, score, detector, detector_version, worker, event_id, message_id"
)
MACHINE_STATE = (
    "machine_id, factory_id, machine_type, line_id, readings, last_seen, last_offset, source_id, messages, duplicates, late,"
    " very_late, unverified, missing, silent"
)
OUTBOX = (
    "cluster, consumer_group, source_topic, source_partition, source_offset, source_index, ordinal, id, target_topic,"
    " event_time, ingest_time, message_key, body"
)
DEAD_LETTER = (
    "cluster, consumer_group, source_topic, source_partition, source_offset, source_index, reason, detail, key, body,"
    " headers, record_time"
)

_JSONB_VERSION = b"\x01"


def message_ids(cluster: str, source: SourcePartition, events: Events) -> Uuids:
    """Return the ids of accepted messages; all that derives from a message carries its id as ``entity_id``."""
    seeds = np.array([seed(cluster, source)], np.uint64)
    return event_ids(seeds, events.times_ms, events.offsets, events.indexes)


def telemetry(cluster: str, source: SourcePartition, events: Events) -> bytes:
    """Return accepted messages as rows of ``event``."""
    n = len(events)
    ids = copy.uuids(*message_ids(cluster, source, events))
    return copy.rows(
        [
            ids,
            copy.constant(TELEMETRY_INGEST.encode(), n),
            copy.constant(b"machine", n),
            ids,
            copy.timestamps(events.times_ms),
            copy.timestamps(events.ingest_ms),
            copy.constant(source.topic.encode(), n),
            copy.constant(copy.int4(source.partition), n),
            copy.fixed(events.offsets, ">i8"),
            copy.fixed(events.indexes, ">i4"),
            copy.texts(events.machine_ids),
            copy.texts(events.factory_ids),
            copy.raw(events.bodies),
        ]
    )


class AnomalyRows:
    """The anomalies of one partition, and their rows in two tables.

    Parameters
    ----------
    anomalies
        At least one.
    """

    def __init__(self, subscriber: Subscriber, source: SourcePartition, anomalies: Sequence[Anomaly]) -> None:
        self._subscriber, self._source, self._anomalies = subscriber, source, anomalies
        self._offsets = np.array([a.offset for a in anomalies], np.int64)
        self._indexes = np.array([a.index for a in anomalies], np.int32)
        self._times_ms = np.array([a.time_ms for a in anomalies], np.int64)
        cluster = subscriber.cluster
        own = np.array([seed(cluster, source, a.identity) for a in anomalies], np.uint64)
        messages = np.array([seed(cluster, source)], np.uint64)
        message_ms = np.array([a.message_ms for a in anomalies], np.int64)
        self._ids = event_ids(own, self._times_ms, self._offsets, self._indexes)
        self._event_id = copy.uuids(*self._ids)
        self._message_ids = event_ids(messages, message_ms, self._offsets, self._indexes)
        self._message_id = copy.uuids(*self._message_ids)

    def events(self) -> bytes:
        """Return the derived events as rows of ``event``, with the measured values as their body."""
        anomalies, n = self._anomalies, len(self._anomalies)
        return copy.rows(
            [
                self._event_id,
                copy.texts([a.event_type for a in anomalies]),
                copy.constant(b"machine", n),
                self._message_id,
                copy.timestamps(self._times_ms),
                copy.timestamps(np.array([a.ingest_ms for a in anomalies], np.int64)),
                copy.constant(self._source.topic.encode(), n),
                copy.constant(copy.int4(self._source.partition), n),
                copy.fixed(self._offsets, ">i8"),
                copy.fixed(self._indexes, ">i4"),
                copy.texts([a.machine_id for a in anomalies]),
                copy.texts([a.factory_id for a in anomalies]),
                copy.raw([orjson.dumps(_measured(a)) for a in anomalies]),
            ]
        )

    def rows(self) -> bytes:
        """Return the anomalies as rows of ``anomaly``."""
        anomalies, n = self._anomalies, len(self._anomalies)
        return copy.rows(
            [
                copy.constant(self._subscriber.cluster.encode(), n),
                copy.constant(self._source.topic.encode(), n),
                copy.constant(copy.int4(self._source.partition), n),
                copy.fixed(self._offsets, ">i8"),
                copy.fixed(self._indexes, ">i4"),
                copy.texts([a.sensor for a in anomalies]),
                copy.texts([a.kind for a in anomalies]),
                copy.texts([a.machine_id for a in anomalies]),
                copy.texts([a.factory_id for a in anomalies]),
                copy.timestamps(self._times_ms),
                copy.fixed(np.array([a.value for a in anomalies]), ">f8"),
                copy.fixed(np.array([a.expected for a in anomalies]), ">f8"),
                copy.fixed(np.array([a.score for a in anomalies]), ">f8"),
                copy.texts([a.detector[0] for a in anomalies]),
                copy.fixed(np.array([a.detector[1] for a in anomalies]), ">i4"),
                copy.constant(self._subscriber.worker.encode(), n),
                self._event_id,
                self._message_id,
            ]
        )

    def alerts(self, rules: AlertRules) -> bytes:
        """Return the anomalies as rows of ``outbox``; see :func:`outbox_columns`."""
        anomalies, n = self._anomalies, len(self._anomalies)
        messages = zip(anomalies, _texts(self._ids), _texts(self._message_ids), strict=True)
        expiry = [copy.timestamps(self._times_ms + rules.expiry_ms)] if rules.expiry_ms else []
        return copy.rows(
            [
                copy.constant(self._subscriber.cluster.encode(), n),
                copy.constant(self._subscriber.group.encode(), n),
                copy.constant(self._source.topic.encode(), n),
                copy.constant(copy.int4(self._source.partition), n),
                copy.fixed(self._offsets, ">i8"),
                copy.fixed(self._indexes, ">i4"),
                copy.fixed(_ordinals(self._offsets, self._indexes), ">i4"),
                self._event_id,
                copy.constant(rules.topic.encode(), n),
                copy.timestamps(self._times_ms),
                copy.timestamps(np.array([a.ingest_ms for a in anomalies], np.int64)),
                copy.texts([a.machine_id for a in anomalies]),
                copy.raw([_alert_body(*message) for message in messages]),
                *expiry,
            ]
        )


def outbox_columns(rules: AlertRules) -> str:
    """Return the columns that are written; what never expires is stored without a time for it."""
    return f"{OUTBOX}, expires_at" if rules.expiry_ms else OUTBOX


def _ordinals(offsets: npt.NDArray[np.int64], indexes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the place of each row among those of the same message, which follow one another; shape (n,)."""
    first = np.flatnonzero(np.r_[True, (np.diff(offsets) != 0) | (np.diff(indexes) != 0)])
    return np.arange(len(offsets)) - np.repeat(first, np.diff(np.r_[first, len(offsets)]))


def _texts(ids: Uuids) -> list[str]:
    return [str(uuid.UUID(int=high << 64 | low)) for high, low in zip(ids.high.tolist(), ids.low.tolist(), strict=True)]


def _measured(anomaly: Anomaly) -> dict[str, Any]:
    return {
        "sensor": anomaly.sensor,
        "kind": anomaly.kind,
        "value": anomaly.value,
        "expected": anomaly.expected,
        "score": anomaly.score,
        "detector": anomaly.detector[0],
        "detector_version": anomaly.detector[1],
    }


def _alert_body(anomaly: Anomaly, event_id: str, message_id: str) -> bytes:
    whose = {
        "event_id": event_id,
        "event_type": anomaly.event_type,
        "message_id": message_id,
        "machine_id": anomaly.machine_id,
        "factory_id": anomaly.factory_id,
        "event_time": iso(anomaly.time_ms),
        "ingest_time": iso(anomaly.ingest_ms),
    }
    return orjson.dumps(whose | _measured(anomaly))


def windows(cluster: str, source: SourcePartition, merged: WindowRows) -> bytes:
    """Return window deltas as rows of ``reading_window``."""
    deltas, n = merged.deltas, len(merged.deltas)
    number = copy.int4(source_id(cluster, source))
    return copy.rows(
        [
            copy.timestamps(merged.starts_ms),
            copy.fixed(deltas["count"], ">i8"),
            copy.fixed(deltas["mean"], ">f8"),
            copy.fixed(deltas["m2"], ">f8"),
            copy.fixed(deltas["min"], ">f8"),
            copy.fixed(deltas["max"], ">f8"),
            copy.fixed(deltas["last"], ">f8"),
            copy.timestamps(deltas["last_time_ms"]),
            copy.constant(number, n),
            copy.fixed(deltas["last_offset"], ">i8"),
            copy.fixed(deltas["last_index"], ">i4"),
            copy.fixed(deltas["late"], ">i8"),
            copy.fixed(deltas["very_late"], ">i8"),
            copy.constant(copy.int2(BASE_MS // 1000), n),
            copy.constant(number, n),
            copy.texts(merged.machine_ids),
            copy.texts(merged.sensors),
            copy.texts(merged.factory_ids),
        ]
    )


def machines(cluster: str, source: SourcePartition, changed: Sequence[MachineRow]) -> bytes:
    """Return what changed about machines as rows of ``machine_state``."""
    n = len(changed)
    return copy.rows(
        [
            copy.texts([m.machine_id for m in changed]),
            copy.texts([m.factory_id for m in changed]),
            copy.texts([m.machine_type for m in changed]),
            copy.texts([m.line_id for m in changed]),
            copy.raw([_JSONB_VERSION + orjson.dumps(m.readings) for m in changed]),
            copy.timestamps(np.array([m.last_seen_ms for m in changed], np.int64)),
            copy.fixed(np.array([m.last_offset for m in changed], np.int64), ">i8"),
            copy.constant(copy.int4(source_id(cluster, source)), n),
            copy.fixed(np.array([m.messages for m in changed], np.int64), ">i8"),
            copy.fixed(np.array([m.duplicates for m in changed], np.int64), ">i8"),
            copy.fixed(np.array([m.late for m in changed], np.int64), ">i8"),
            copy.fixed(np.array([m.very_late for m in changed], np.int64), ">i8"),
            copy.fixed(np.array([m.unverified for m in changed], np.int64), ">i8"),
            copy.fixed(np.array([m.missing for m in changed], np.int64), ">i8"),
            copy.fixed(np.array([m.is_silent for m in changed], np.bool_), "i1"),
        ]
    )


def dead_letters(subscriber: Subscriber, source: SourcePartition, letters: Sequence[DeadLetter]) -> bytes:
    """Return dead letters as rows of ``dead_letter``; an absent key or body is stored empty."""
    n = len(letters)
    return copy.rows(
        [
            copy.constant(subscriber.cluster.encode(), n),
            copy.constant(subscriber.group.encode(), n),
            copy.constant(source.topic.encode(), n),
            copy.constant(copy.int4(source.partition), n),
            copy.fixed(np.array([letter.offset for letter in letters], np.int64), ">i8"),
            copy.fixed(np.array([letter.index for letter in letters], np.int32), ">i4"),
            copy.texts([str(letter.reason) for letter in letters]),
            copy.texts([_storable(letter.detail) for letter in letters]),
            copy.raw([letter.key or b"" for letter in letters]),
            copy.raw([letter.body or b"" for letter in letters]),
            copy.raw([_JSONB_VERSION + orjson.dumps(readable_headers(letter.headers)) for letter in letters]),
            copy.timestamps(np.array([letter.record_ms for letter in letters], np.int64)),
        ]
    )


def _storable(text: str) -> str:
    """Return text that PostgreSQL takes: without NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
