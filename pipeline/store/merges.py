"""Merging rows into tables that already may have them: COPY into a temporary table, then one INSERT … ON CONFLICT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

import psycopg

from pipeline.core.effects import Effects
from pipeline.core.facts import Fact, MaintenanceRecord, QualityReport
from pipeline.crash_points import CrashPoint, reached
from pipeline.store import aggregate_rows, copy_binary, fact_rows, prediction_rows, requirement_rows, rows

Cursor = psycopg.Cursor[Any]


class Merge(NamedTuple):
    """How rows get into one table.

    Parameters
    ----------
    columns
        Of the incoming rows, in order.
    key
        Columns of the conflict.
    update
        What becomes of a row that is there (``old``) when another comes (``excluded``).
    """

    table: str
    columns: str
    key: str
    update: str

    @property
    def incoming(self) -> str:
        """Name of the temporary table."""
        return f"incoming_{self.table}"

    @property
    def statement(self) -> str:
        """The merge itself."""
        return (
            f"INSERT INTO {self.table} AS old ({self.columns}) SELECT {self.columns} FROM {self.incoming}"
            f" ON CONFLICT ({self.key}) DO UPDATE SET {self.update}"
        )


def _replace_by(newer: str, columns: str) -> str:
    names = [name.strip() for name in columns.split(",")]
    return ", ".join(f"{name} = CASE WHEN {newer} THEN excluded.{name} ELSE old.{name} END" for name in names)


MOMENTS: LiteralString = (
    # Chan, Golub & LeVeque 1979 for mean and m2: pairwise, so deltas may come in any order. PostgreSQL raises an error where
    # a product is too small for a float8, instead of giving 0 as IEEE 754 does: hence the two CASEs
    """count = old.count + excluded.count,
    mean = old.mean + CASE WHEN abs(excluded.mean - old.mean) < 1e-290 THEN 0
         ELSE (excluded.mean - old.mean) * (excluded.count::float8 / (old.count + excluded.count)) END,
    m2 = old.m2 + excluded.m2 + CASE WHEN abs(excluded.mean - old.mean) < 1e-161 THEN 0
         ELSE (excluded.mean - old.mean) * (excluded.mean - old.mean)
              * (old.count::float8 * excluded.count / (old.count + excluded.count)) END,
    min = least(old.min, excluded.min), max = greatest(old.max, excluded.max)"""
)
"""What becomes of an aggregate of readings when another comes."""

_IS_LAST = (
    "(excluded.last_time, excluded.last_source, excluded.last_offset, excluded.last_index)"
    " >= (old.last_time, old.last_source, old.last_offset, old.last_index)"
)
_WINDOW = (
    MOMENTS
    + """, late_count = old.late_count + excluded.late_count,
    very_late_count = old.very_late_count + excluded.very_late_count, updated_at = clock_timestamp(), """
    + _replace_by(
        _IS_LAST,
        "last, last_time, last_source, last_offset, last_index",
    )
)

READING_WINDOW = Merge(
    "reading_window",
    rows.READING_WINDOW,
    "machine_id, sensor, window_start",
    f"{_WINDOW}, {_replace_by(_IS_LAST, 'factory_id')}, source_id = excluded.source_id",
)

FACTORY_WINDOW = Merge(
    "factory_window", aggregate_rows.FACTORY_WINDOW, "factory_id, sensor, window_start, source_id", _WINDOW
)

MACHINE_STATE = Merge(
    "machine_state",
    rows.MACHINE_STATE,
    "machine_id",
    """messages = old.messages + excluded.messages, duplicates = old.duplicates + excluded.duplicates,
    late = old.late + excluded.late, very_late = old.very_late + excluded.very_late,
    unverified = old.unverified + excluded.unverified, missing = old.missing + excluded.missing,
    readings = CASE WHEN excluded.last_seen >= old.last_seen THEN old.readings || excluded.readings
                    ELSE excluded.readings || old.readings END,
    updated_at = clock_timestamp(), """
    + _replace_by(
        "excluded.last_seen >= old.last_seen",
        "factory_id, machine_type, line_id, last_seen, last_offset, source_id, silent",
    ),
)

# These keys say where in the log a row came from: they are there already only when a topic was recreated and its offsets
# began anew, and then the newer row is the one that is asked for
ANOMALY = Merge(
    "anomaly",
    rows.ANOMALY,
    "machine_id, cluster, source_topic, source_partition, source_offset, source_index, sensor, kind",
    _replace_by(
        "true",
        "factory_id, event_time, value, expected, score, detector, detector_version, worker, event_id, message_id",
    ),
)

DEAD_LETTER = Merge(
    "dead_letter",
    rows.DEAD_LETTER,
    "cluster, consumer_group, source_topic, source_partition, source_offset, source_index",
    _replace_by("true", "reason, detail, key, body, headers, record_time") + ", requeued_at = NULL",
)

_BY_SOURCE = "machine_id, cluster, source_topic, source_partition, source_offset, source_index"

FACTS: Mapping[type[Fact], Merge] = {
    QualityReport: Merge(
        "quality_report",
        fact_rows.QUALITY_REPORT,
        _BY_SOURCE,
        _replace_by(
            "true",
            "factory_id, line_id, sku, period_start, period_end, good, snag, reject, planned_s, run_s, ideal_cycle_s,"
            " reported_at, event_id",
        ),
    ),
    MaintenanceRecord: Merge(
        "maintenance_record",
        fact_rows.MAINTENANCE_RECORD,
        _BY_SOURCE,
        _replace_by("true", "factory_id, kind, component, note, class, event_time, ingest_time, event_id"),
    ),
}
"""By the kind of facts."""

MAINTENANCE_REQUIREMENT = Merge(
    "maintenance_requirement",
    requirement_rows.REQUIREMENT,
    _BY_SOURCE,
    _replace_by(
        "true",
        "factory_id, line_id, class, previous_class, rule_id, rule_version, name, event_time, event_id, message_id",
    ),
)

MAINTENANCE_PREDICTION = Merge(
    "maintenance_prediction",
    prediction_rows.MAINTENANCE_PREDICTION,
    f"{_BY_SOURCE}, kind, model_id",
    _replace_by(
        "true",
        "factory_id, event_time, stage, model_version, feature_version, label, value, lower, upper, hours_per_day,"
        " by_rules, inputs, worker, event_id, message_id",
    ),
)

MAINTENANCE_AGGREGATE = Merge(
    "maintenance_aggregate",
    requirement_rows.AGGREGATE,
    "machine_id, window_start, class, factory_id, source_id",
    """messages = old.messages + excluded.messages, late_count = old.late_count + excluded.late_count,
    first_time = least(old.first_time, excluded.first_time), last_time = greatest(old.last_time, excluded.last_time),
    updated_at = clock_timestamp()""",
)

_WINDOWS = (READING_WINDOW, FACTORY_WINDOW, MAINTENANCE_AGGREGATE)
_DERIVED = (ANOMALY, MAINTENANCE_REQUIREMENT, MAINTENANCE_PREDICTION)
_ALL = (*_WINDOWS, MACHINE_STATE, *_DERIVED, DEAD_LETTER, *FACTS.values())


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Create the temporary tables of a new connection."""
    for merge_ in _ALL:
        connection.execute(
            f"CREATE TEMPORARY TABLE {merge_.incoming} ON COMMIT DELETE ROWS"  # names are constants above
            f" AS SELECT {merge_.columns} FROM {merge_.table} WITH NO DATA"
        )


def merge(cursor: Cursor, how: Merge, incoming: Sequence[bytes]) -> None:
    """Merge parts of rows in binary COPY form into a table, one after the other.

    No two rows of one part may have the same key; rows of different parts may.
    """
    parts = [part for part in incoming if part]
    for at, part in enumerate(parts):
        if at > 0:
            cursor.execute(f"DELETE FROM {how.incoming}")
        copy_in(cursor, how.incoming, how.columns, [part])
        cursor.execute(how.statement)


def copy_in(cursor: Cursor, table: str, columns: str, blocks: Sequence[bytes]) -> None:
    """Append rows in binary COPY form to a table."""
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)") as copy:
        parts = [copy_binary.HEADER, *blocks, copy_binary.TRAILER]
        middle = (len(parts) + 1) // 2
        for part in parts[:middle]:
            copy.write(memoryview(part))
        reached(CrashPoint.AMID_COPY)
        for part in parts[middle:]:
            copy.write(memoryview(part))


_NOTE_SKIPS = """
INSERT INTO control_effect (control_id, topic, partition, "offset")
SELECT id, topic, partition, "offset" FROM control_record
WHERE kind = 'skip' AND cluster = %(cluster)s AND consumer_group = %(group)s AND topic = %(topic)s
  AND partition = %(partition)s AND "offset" = ANY(%(offsets)s)
ON CONFLICT DO NOTHING
"""


def note_skips(cursor: Cursor, key: dict[str, Any], effects: Effects) -> None:
    """Note from where control records took effect, in the transaction of the effect itself."""
    offsets = sorted({letter.offset for letter in effects.dead_letters})
    cursor.execute(_NOTE_SKIPS, key | {"offsets": offsets})
