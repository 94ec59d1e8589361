"""The real sink behind the interface of :class:`tests.core.sinks.MemorySink`, one partition, one owner at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import closing

import psycopg
from psycopg.rows import dict_row

from pipeline.core.controls import PlacedControl
from pipeline.core.effects import Effects, Projections, UnitOfWork
from pipeline.core.facts import Fact, MaintenanceRecord, QualityReport
from pipeline.core.fold import FOLD_VERSION, FoldRules, Marks
from pipeline.core.records import SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store import controls
from pipeline.store import snapshots as store_snapshots
from pipeline.store.connect import SCHEMA, connect
from pipeline.store.fact_rows import IS_INGESTED
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import Acquired
from tables import snapshots
from tests.core.sinks import COUNTS, SOURCE, feed, records_of
from tests.store.leasing import acquire

END = 10**6


class DatabaseSink:
    """One partition's way into PostgreSQL."""

    def __init__(self, dsn: str, schema: str = SCHEMA) -> None:
        self.progress = Progress(Subscriber("local", "laws", "tester"), FOLD_VERSION)
        self.leasing = connect(dsn, autocommit=True, lock_timeout_s=1, schema=schema)
        self.sink = Sink(lambda: connect(dsn, schema=schema), self.progress)
        self.marks = Marks()
        self.owner = ""

    def empty(self) -> None:
        """Forget every row; the tables' owner does that, workers may not."""
        self.marks, self.owner = Marks(), ""

    def acquire(self) -> Acquired:
        taken = acquire(self.progress, self.leasing, SOURCE, end=END, backend=self.sink.backend)
        self.owner, self.marks = taken.owner, Marks(taken.effects, taken.windows)
        return taken

    def placed(self, source: SourcePartition, first: int) -> list[PlacedControl]:
        return controls.placed(self.leasing, self.progress, source, first)

    def store(self, effects: Effects) -> None:
        self._commit(UnitOfWork(SOURCE, self.owner, self.marks.effects, effects.next, [effects]))
        self.marks = Marks(effects.next, self.marks.windows)

    def merge(self, due: Projections) -> None:
        self._commit(UnitOfWork(SOURCE, self.owner, self.marks.effects, self.marks.effects, [], due))
        self.marks = Marks(self.marks.effects, due.next)

    def _commit(self, unit: UnitOfWork) -> None:
        assert self.sink.store([unit]) == {SOURCE}

    def save(self, state: PartitionState, offset: int) -> bool:
        encoded, size = snapshots.encode(state.to_arrays())
        snapshot = Snapshot(SOURCE, self.owner, offset, snapshots.FORMAT_VERSION, encoded, size)
        return store_snapshots.save(self.leasing, self.progress, snapshot)

    def close(self) -> None:
        self.sink.close()
        self.leasing.close()


def stored(
    dsn: str, messages: Sequence[dict], rules: FoldRules, cuts: Iterable[int] = (), merge_every: int = 1
) -> None:
    """Take the partition over, and fold and store messages; cuts and merges as of :func:`tests.core.sinks.feed`."""
    with closing(DatabaseSink(dsn)) as sink:
        sink.acquire()
        feed(sink, PartitionState(), records_of(messages), cuts, rules, merge_every=merge_every)


_FACT = (
    'SELECT source_offset AS "offset", source_index AS "index", machine_id, factory_id,'
    " (extract(epoch FROM event_time) * 1000)::bigint AS time_ms, (extract(epoch FROM ingest_time) * 1000)::bigint"
    " AS ingest_ms, convert_to(body::text, 'UTF8') AS body, {} FROM event JOIN {} USING (event_id, machine_id, factory_id,"
    " source_offset, source_index{}) WHERE event_type = '{}' AND {} ORDER BY 1, 2"
)
_QUALITY = (
    "line_id, sku, (extract(epoch FROM period_start) * 1000)::bigint AS start_ms, good, snag, reject, planned_s, run_s,"
    " ideal_cycle_s"
)


def facts(admin: psycopg.Connection) -> list[Fact]:
    """Return the facts that are stored as an event and in their own table, each with the same times in both."""
    cursor = admin.cursor(row_factory=dict_row)
    same = "(period_end, reported_at) = (event_time, ingest_time)"
    found: list[Fact] = [
        QualityReport(**row)
        for row in cursor.execute(_FACT.format(_QUALITY, "quality_report", "", QualityReport.event_type, same))
    ]
    of_maintenance = ("kind, component, note, class AS requirement", "maintenance_record", ", event_time, ingest_time")
    found += [
        MaintenanceRecord(**row)
        for row in cursor.execute(_FACT.format(*of_maintenance, MaintenanceRecord.event_type, "true"))
    ]
    for table in ("quality_report", "maintenance_record"):
        assert cursor.execute(f"SELECT count(*) FROM {table}").fetchone() == {
            "count": sum(isinstance(fact, QualityReport) == (table == "quality_report") for fact in found)
        }
    (count,) = admin.execute(f"SELECT count(*) FROM event WHERE {IS_INGESTED}").fetchone() or (0,)
    (telemetry,) = admin.execute("SELECT count(*) FROM event WHERE event_type = 'Telemetry Ingest'").fetchone() or (0,)
    assert count - telemetry == len(found)
    return found


def rows(admin: psycopg.Connection) -> dict[str, dict]:
    """Return the sink tables by key, as :class:`MemorySink` has them."""
    events = admin.execute(
        "SELECT source_offset, source_index, machine_id, body::text FROM event WHERE event_type = 'Telemetry Ingest'"
    ).fetchall()
    assert len({(o, i) for o, i, *_ in events}) == len(events), "stored twice"
    anomalies = admin.execute(
        "SELECT source_offset, source_index, coalesce(nullif(sensor, ''), machine_id), kind, value, expected, score"
        " FROM anomaly"
    ).fetchall()
    new = admin.execute("SELECT source_offset, source_index, machine_id FROM event WHERE event_type = 'New Machine'")
    new_machines = {(o, i): machine for o, i, machine in new.fetchall()}
    derived = admin.execute(f"SELECT count(*) FROM event WHERE NOT {IS_INGESTED}").fetchone()
    changed, again = requirements(admin), recalculations(admin)
    assert derived == (len(anomalies) + len(new_machines) + len(changed) + len(again),)
    windows, factories = (
        admin.execute(
            f"SELECT {key}, sensor, extract(epoch FROM window_start)::bigint / {length_s}, {_STATISTICS}, last, late_count,"
            f" very_late_count FROM {table}"
        ).fetchall()
        for table, key, length_s in (("reading_window", "machine_id", 30), ("factory_window", "factory_id", 60))
    )
    machines = admin.execute(f"SELECT machine_id, {', '.join(COUNTS)}, silent FROM machine_state").fetchall()
    return {
        "new_machines": new_machines,
        "requirements": changed,
        "recalculations": again,
        "aggregates": aggregates(admin),
        "events": {(o, i): (machine, body.encode()) for o, i, machine, body in events},
        "anomalies": {tuple(row[:4]): tuple(row[4:]) for row in anomalies},
        "dead_letters": {
            (o, i): reason
            for o, i, reason in admin.execute("SELECT source_offset, source_index, reason FROM dead_letter")
        },
        "facts": {(fact.offset, fact.index): fact for fact in facts(admin)},
        "windows": {(machine, sensor, int(window)): window_row(row) for machine, sensor, window, *row in windows},
        "factories": {(factory, sensor, int(window)): window_row(row) for factory, sensor, window, *row in factories},
        "cycles": cycles(admin),
        "machines": {machine: dict(zip((*COUNTS, "silent"), counts, strict=True)) for machine, *counts in machines},
    }


def requirements(admin: psycopg.Connection) -> dict[tuple[int, int], tuple]:
    """Return changes of class, each with what its event says, by place in the log."""
    found = admin.execute(
        "SELECT source_offset, source_index, machine_id, class, previous_class, rule_id, rule_version, e.body -> 'readings',"
        " e.body::jsonb - 'readings' = jsonb_build_object('class', class, 'previous_class', previous_class, 'name', name,"
        " 'rule_id', rule_id, 'rule_version', rule_version) AND e.entity_id = message_id"
        " FROM maintenance_requirement JOIN (SELECT event_id, event_time, entity_id, event_type, body FROM event"
        " WHERE event_type = 'Maintenance Prediction') AS e USING (event_id, event_time)"
    ).fetchall()
    assert all(agrees for *_, agrees in found)
    assert admin.execute("SELECT count(*) FROM maintenance_requirement").fetchone() == (len(found),)
    return {(offset, index): tuple(row[:-1]) for offset, index, *row in found}


def recalculations(admin: psycopg.Connection) -> dict[tuple[int, int], tuple]:
    """Return machine, class and window of corrections, by place in the log."""
    return {
        (offset, index): tuple(row)
        for offset, index, *row in admin.execute(
            "SELECT source_offset, source_index, machine_id, (body ->> 'class')::int,"
            " (extract(epoch FROM (body ->> 'window_start')::timestamptz) * 1000)::bigint"
            " FROM event WHERE event_type = 'Aggregate recalculation'"
        )
    }


def aggregates(admin: psycopg.Connection) -> dict[tuple, tuple]:
    """Return messages, late ones, first and last time by machine, factory, class and window start."""
    ms = "(extract(epoch FROM {}) * 1000)::bigint"
    return {
        tuple(row[:4]): tuple(row[4:])
        for row in admin.execute(
            f"SELECT machine_id, factory_id, class, {ms.format('window_start')}, messages, late_count,"
            f" {ms.format('first_time')}, {ms.format('last_time')} FROM maintenance_aggregate"
        )
    }


_STATISTICS = "count, mean, m2, min, max"


def window_row(row: list) -> dict:
    return statistics(row[:5]) | dict(zip(("last", "late", "very_late"), row[5:], strict=True))


def statistics(row: list) -> dict:
    count, mean, m2, low, high = row
    sd = math.sqrt(m2 / (count - 1)) if count > 1 else 0.0
    return {"count": count, "mean": mean, "sd": sd, "min": low, "max": high}


def cycles(admin: psycopg.Connection) -> dict[tuple[str, int], dict]:
    """Return the cycles by machine and start, ms since the epoch."""
    ms = "(extract(epoch FROM {}) * 1000)::bigint"
    found = {
        (machine, started): {"ended": ended, "messages": messages, "readings": {}}
        for machine, started, ended, messages in admin.execute(
            f"SELECT machine_id, {ms.format('started')}, {ms.format('ended')}, messages FROM operating_cycle"
        )
    }
    for machine, started, sensor, last_time, *row in admin.execute(
        f"SELECT machine_id, {ms.format('started')}, sensor, {ms.format('last_time')}, {_STATISTICS} FROM cycle_reading"
    ):
        found[machine, started]["readings"][sensor] = statistics(row) | {"last_time": last_time}
    return found
