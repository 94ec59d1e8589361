"""The sink tables as they should be after a ledger, written without the pipeline."""

from __future__ import annotations

import datetime as dt
import statistics
import uuid
from collections import defaultdict, deque
from pathlib import Path

import orjson

from pipeline.core.banks import MEMORY
from pipeline.core.windowing.windows import BASE_MS
from pipeline.store.connect import connect
from pipeline.verifying.verify import Verification, verify
from simulator import ledger as ledgers
from simulator.ledger import Ledger, LedgerRow
from simulator.messages import Message, Sent
from simulator.options import PlantOptions

TOPIC, GROUP = "telemetry.machine", "verified"
PLANT = PlantOptions(
    machines=12,
    messages=600,
    duplicate_share=0.05,
    late_share=0.05,
    garbage_share=0.05,
    array_share=0.1,
    lab_share=0.2,
    offline_share=0.005,
)


class Tables:
    """The sink tables of one database, written row by row as the pipeline should have."""

    def __init__(self, admin_dsn: str, dsn: str, folder: Path) -> None:
        self.dsn, self.ledger = dsn, folder / "ledger.csv"
        self.admin = connect(admin_dsn, autocommit=True)
        self.admin.execute(
            "TRUNCATE event, dead_letter, reading_window, factory_window, operating_cycle, cycle_reading, anomaly,"
            " maintenance_requirement, maintenance_aggregate,"
            " source_progress, machine_state"
        )

    def send(self, records: list[Sent], partitions: int = 2) -> list[LedgerRow]:
        """Note records in the ledger, a machine always in the same partition; return its rows."""
        ends: dict[int, int] = defaultdict(int)
        with Ledger(self.ledger) as ledger:
            for record in records:
                partition = sum(record.key) % partitions
                ledger.append(record, 0, TOPIC, partition, ends[partition])
                ends[partition] += 1
        return list(ledgers.read(self.ledger))

    def store(self, rows: list[LedgerRow]) -> None:
        """Store what a ledger says: sound messages once, garbage as dead letters, windows of what is stored."""
        with self.admin.pipeline():
            self._store(rows)

    def _store(self, rows: list[LedgerRow]) -> None:
        readings: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        # By time, as the last reading of a window is the latest
        for row in sorted(accepted(rows), key=lambda r: (r.event_time_ms, r.offset, r.index)):
            self.store_event(row)
            for sensor, value in orjson.loads(row.readings).items():
                readings[row.machine_id, sensor, row.event_time_ms // BASE_MS].append(value)
            for odd in orjson.loads(row.anomalies):
                self.store_anomaly(row, odd["sensor"], odd["kind"])
        for key, values in readings.items():
            self.store_window(*key, values)
        for row in rows:
            if row.kind == "garbage":
                self.store_letter(row)

    def store_event(self, row: LedgerRow, **other: object) -> None:
        at = dt.datetime.fromtimestamp(row.event_time_ms / 1000, dt.UTC)
        columns = {
            "event_id": uuid.uuid4(),
            "event_type": "Telemetry Ingest",
            "entity_type": "machine",
            "entity_id": uuid.uuid4(),
            "machine_id": row.machine_id,
            "factory_id": row.factory_id,
            "event_time": at,
            "ingest_time": at,
            "source_topic": row.topic,
            "source_partition": row.partition,
            "source_offset": row.offset,
            "source_index": row.index,
            "body": "{}",
        }
        self._insert("event", columns | other)

    def store_letter(self, row: LedgerRow, body: bytes = b"", **other: object) -> None:
        columns = {
            "cluster": "local",
            "consumer_group": GROUP,
            "source_topic": row.topic,
            "source_partition": row.partition,
            "source_offset": row.offset,
            "source_index": row.index,
            "reason": "not_json",
            "detail": "",
            "key": b"",
            "body": body,
            "headers": "[]",
            "record_time": dt.datetime.now(dt.UTC),
        }
        self._insert("dead_letter", columns | other)

    def store_anomaly(self, row: LedgerRow, sensor: str, kind: str) -> None:
        columns = {
            "cluster": "local",
            "source_topic": row.topic,
            "source_partition": row.partition,
            "source_offset": row.offset,
            "source_index": row.index,
            "sensor": sensor,
            "kind": kind,
            "machine_id": row.machine_id,
            "factory_id": row.factory_id,
            "event_time": dt.datetime.fromtimestamp(row.event_time_ms / 1000, dt.UTC),
            "detector": "ew-gaussian",
            "worker": "w",
            "event_id": uuid.uuid4(),
            "message_id": uuid.uuid4(),
        }
        self._insert("anomaly", columns | dict.fromkeys(("value", "expected", "score", "detector_version"), 1))

    def store_window(self, machine_id: str, sensor: str, window: int, values: list[float]) -> None:
        start = dt.datetime.fromtimestamp(window * BASE_MS / 1000, dt.UTC)
        columns = {
            "machine_id": machine_id,
            "sensor": sensor,
            "window_start": start,
            "factory_id": "aurora",
            "count": len(values),
            "mean": statistics.fmean(values),
            "m2": statistics.variance(values) * (len(values) - 1) if len(values) > 1 else 0.0,
            "min": min(values),
            "max": max(values),
            "last": values[-1],
            "last_time": start,
            "length_s": BASE_MS // 1000,
        }
        numbers = dict.fromkeys(("last_source", "last_offset", "last_index", "late_count", "source_id"), 0)
        self._insert("reading_window", columns | numbers)

    def move_marks(self, partition: int, effects: int, windows: int, topic: str = TOPIC) -> None:
        columns = {"cluster": "local", "consumer_group": GROUP, "topic": topic, "partition": partition, "source_id": 77}
        self._insert("source_progress", columns | {"effects_next": effects, "windows_next": windows})

    def _insert(self, table: str, columns: dict[str, object]) -> None:
        marks = ", ".join(["%s"] * len(columns))
        self.admin.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(columns.values()))

    def verify(self, **more: object) -> Verification:
        return verify(self.ledger, self.dsn, group=GROUP, **more)


def accepted(rows: list[LedgerRow]) -> list[LedgerRow]:
    """Return what the fold accepts: no garbage, and no duplicate that it remembers."""
    remembered: dict[tuple[int, str], deque] = defaultdict(lambda: deque(maxlen=MEMORY))
    kept = []
    for row in sorted(rows, key=lambda r: (r.partition, r.offset, r.index)):
        sent, said = remembered[row.partition, row.machine_id], (row.seq, row.event_time_ms)
        if row.kind == "garbage" or (row.seq is not None and said in sent):
            continue
        if row.seq is not None:
            sent.append(said)
        kept.append(row)
    return kept


def message(seq: int, machine_id: str = "press-00001", value: float = 55.0, at_ms: int | None = None) -> Sent:
    time_ms = 1_800_000_000_000 + 1_000 * seq if at_ms is None else at_ms
    said = Message(machine_id, "aurora", seq, time_ms, (), f'{{"temperature":{value}}}')
    return Sent(machine_id.encode(), b"{}", (), "sent", "", time_ms, (said,))


def assert_only(found: Verification, **defects: int) -> None:
    names = ("lost", "doubled", "unexpected", "windows_wrong", "refused", "unverified")
    assert {name: getattr(found, name) for name in names} == dict.fromkeys(names, 0) | defects
    assert found.holds == (not any(defects.get(name) for name in names[:4]))


def sound(rows: list[LedgerRow]) -> LedgerRow:
    """Return a message that is alone in its place: no duplicate, no array."""
    times = [(row.machine_id, row.seq, row.event_time_ms) for row in rows]
    offsets = [(row.partition, row.offset) for row in rows]
    return next(
        row
        for row, said, place in zip(rows, times, offsets, strict=True)
        if row.kind == "sent" and row.seq and times.count(said) == 1 and offsets.count(place) == 1
    )


def identity(row: LedgerRow) -> tuple:
    return (row.machine_id, row.event_time_ms, row.seq)


def place(row: LedgerRow) -> str:
    return f"{row.topic}:{row.partition}:{row.offset}:{row.index}"


def at(row: LedgerRow) -> str:
    return (
        f"WHERE source_topic = '{row.topic}' AND source_partition = {row.partition}"
        f" AND source_offset = {row.offset} AND source_index = {row.index}"
    )
