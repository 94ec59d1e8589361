"""The tables that a replay and the live run both have: their keys, what must be equal in them, and what may be rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from pipeline.core.controls import FIRST_INDEX
from pipeline.store.connect import SCHEMA

EVERY_ROW = sql.SQL("true")

# Times are of ms: what is measured before an instant is measured a ms before it at the latest
_MOMENT: LiteralString = "interval '1 millisecond'"


@dataclass(frozen=True, slots=True)
class Close:
    """A number that may differ by rounding: it is the same within 1e-9 of a scale.

    Parameters
    ----------
    name
        What it is called in the result.
    value, scale
        Expressions over a row ``r``; the larger of both rows' scales counts.
    """

    name: LiteralString
    value: LiteralString
    scale: LiteralString


@dataclass(frozen=True, slots=True)
class Compared:
    """A table, its key, what must be equal, and which of its rows both sides can have.

    Parameters
    ----------
    scope
        Condition over a row ``r`` of the schema ``{schema}`` and its partition's common progress ``c``.
    join
        How a row finds that progress.
    time, length
        The row's event time, if it has one, and what has to pass until it is over.
    is_timed
        Whether a stretch of event time chooses some rows; else there are none where it is limited.
    """

    name: LiteralString
    key: tuple[LiteralString, ...]
    exact: tuple[LiteralString, ...]
    close: tuple[Close, ...]
    join: LiteralString
    scope: LiteralString
    time: LiteralString | None
    length: LiteralString = _MOMENT
    is_timed: bool = True


_SD: LiteralString = "CASE WHEN r.count > 1 AND r.m2 > 1e-300 THEN sqrt(r.m2 / (r.count - 1)) ELSE 0 END"
# What ticks brought to light is placed behind the record before them, by their number
_OF_RECORDS = (
    f"r.source_offset >= c.from_offset AND r.source_offset < c.effects AND r.source_index < {FIRST_INDEX} + c.controls"
)
_OF_CLUSTER: LiteralString = f"r.cluster = c.cluster AND {_OF_RECORDS}"
_MEAN = (
    Close("mean", "r.mean", f"greatest(abs(r.mean), {_SD})"),
    Close("stddev", _SD, f"greatest(abs(r.mean), {_SD})"),
)
_OF_WINDOW = ("count", "min", "max", "last", "last_time", "last_source", "last_offset", "last_index", "late_count",
              "very_late_count")  # fmt: skip
_BY_SOURCE: LiteralString = "r.source_topic = c.topic AND r.source_partition = c.partition"


def _told_by_message(name: LiteralString, exact: tuple[LiteralString, ...], time: LiteralString) -> Compared:
    """Return a table with a row for one message of a machine at most."""
    key: tuple[LiteralString, ...] = (
        "machine_id", "cluster", "source_topic", "source_partition", "source_offset", "source_index",
    )  # fmt: skip
    return Compared(name, key, exact, (), _BY_SOURCE, _OF_CLUSTER, time)


def _windows(
    name: LiteralString,
    key: tuple[LiteralString, ...],
    exact: tuple[LiteralString, ...],
    close: tuple[Close, ...],
    length: LiteralString,
) -> Compared:
    """Return a table of windows, which both sides have when they are over."""
    scope: LiteralString = f"c.is_counted AND (c.is_even OR r.window_start + {length} <= c.watermark)"
    return Compared(name, key, exact, close, "r.source_id = c.source_id", scope, "r.window_start", length)


TABLES = (
    Compared(
        "event",
        ("event_id", "event_time"),
        ("event_type", "entity_type", "entity_id", "machine_id", "factory_id", "ingest_time",
         "source_topic", "source_partition", "source_offset", "source_index", "body"),
        (),
        _BY_SOURCE,
        f"{_OF_RECORDS} AND NOT EXISTS ("
        "SELECT FROM {schema}.superseded_event AS d WHERE d.event_id = r.event_id"
        " AND r.stored_time >= d.stored_from AND r.stored_time < d.stored_to)",
        "r.event_time",
    ),
    _windows("reading_window", ("machine_id", "sensor", "window_start"), ("factory_id", *_OF_WINDOW), _MEAN,
             "interval '30 seconds'"),
    _windows("factory_window", ("factory_id", "sensor", "window_start", "source_id"), _OF_WINDOW, _MEAN, "interval '1 minute'"),
    Compared(
        "operating_cycle",
        ("machine_id", "started", "source_id"),
        ("factory_id", "ended", "messages", "gap_ms", "goes_on"),
        (),
        "r.source_id = c.source_id",
        "c.is_counted AND c.is_even",
        "r.ended",
        is_timed=False,
    ),
    Compared(
        "cycle_reading",
        ("machine_id", "started", "source_id", "sensor"),
        ("count", "min", "max", "last_time"),
        _MEAN,
        "r.source_id = c.source_id",
        "c.is_counted AND c.is_even",
        "r.last_time",
        is_timed=False,
    ),
    Compared(
        "anomaly",
        ("machine_id", "cluster", "source_topic", "source_partition", "source_offset", "source_index", "sensor", "kind"),
        ("factory_id", "event_time", "value", "detector", "detector_version", "event_id", "message_id"),
        (Close("expected", "r.expected", "abs(r.expected)"), Close("score", "r.score", "abs(r.score)")),
        _BY_SOURCE,
        _OF_CLUSTER,
        "r.event_time",
    ),
    _told_by_message(
        "maintenance_requirement",
        ("factory_id", "line_id", "class", "previous_class", "rule_id", "rule_version", "name", "event_time", "event_id",
         "message_id"),
        "r.event_time",
    ),
    Compared(
        "maintenance_prediction",
        ("machine_id", "cluster", "source_topic", "source_partition", "source_offset", "source_index", "kind", "model_id"),
        ("factory_id", "event_time", "stage", "model_version", "feature_version", "label", "by_rules", "event_id",
         "message_id"),
        tuple(Close(each, f"r.{each}", f"abs(r.{each})") for each in ("value", "lower", "upper", "hours_per_day")),
        _BY_SOURCE,
        _OF_CLUSTER,
        "r.event_time",
    ),
    _windows("maintenance_aggregate", ("machine_id", "window_start", "class", "factory_id", "source_id"),
             ("messages", "late_count", "first_time", "last_time"), (), "interval '1 hour'"),
    _told_by_message(
        "quality_report",
        ("factory_id", "line_id", "sku", "period_start", "period_end", "good", "snag", "reject", "planned_s", "run_s",
         "ideal_cycle_s", "reported_at", "event_id"),
        "r.period_end",
    ),
    _told_by_message(
        "maintenance_record",
        ("factory_id", "kind", "component", "note", "class", "event_time", "ingest_time", "event_id"),
        "r.event_time",
    ),
    Compared(
        "metadata_command",
        ("cluster", "consumer_group", "source_topic", "source_partition", "source_offset", "source_index"),
        ("command_id", "entity", "entity_id", "action", "expected_version", "status", "reason", "version", "is_change", "body",
         "machine_id", "factory_id", "event_time", "ingest_time", "event_id"),
        (),
        _BY_SOURCE,
        "r.cluster = c.cluster AND r.consumer_group = c.consumer_group AND r.source_offset >= c.from_offset"
        " AND r.source_offset < c.effects",
        "r.event_time",
    ),
    Compared(
        "machine_state",
        ("machine_id",),
        ("factory_id", "machine_type", "line_id", "readings", "last_seen", "last_offset", "messages", "duplicates", "late",
         "very_late", "unverified", "missing", "silent"),
        (),
        "r.source_id = c.source_id",
        "c.is_counted AND c.is_even",
        None,
        is_timed=False,
    ),
    Compared(
        "dead_letter",
        ("cluster", "consumer_group", "source_topic", "source_partition", "source_offset", "source_index"),
        ("reason", "detail", "key", "body", "headers", "record_time"),
        (),
        _BY_SOURCE,
        "r.cluster = c.cluster AND r.consumer_group = c.consumer_group AND r.source_offset >= c.from_offset"
        " AND r.source_offset < c.effects",
        "r.record_time",
    ),
)  # fmt: skip

_TOLD_BY_EVENTS = {"anomaly", "maintenance_requirement", "quality_report", "maintenance_record", "metadata_command"}

_EXPRESSIONS: Mapping[tuple[str, str], LiteralString] = {
    # json has no equality of its own; the text is what was sent
    ("event", "body"): "r.body::text",
    # What a device sent twice is not stored twice: who reads what is stored cannot count it
    ("machine_state", "duplicates"): "CASE WHEN c.is_stored THEN 0 ELSE r.duplicates END",
}


def side(
    table: Compared,
    rows: sql.Composable,
    schema: sql.Composable,
    progress: sql.Composable,
    scope: LiteralString | None = None,
    wanted: sql.Composable = EVERY_ROW,
) -> sql.Composed:
    """Return the query for one side's rows: keys, what must be equal, numbers and their scales.

    Parameters
    ----------
    rows
        The relation that has them.
    schema
        Where it belongs.
    progress
        The relation ``c`` that says how far each partition has come.
    scope
        Instead of the table's own.
    wanted
        Another condition on a row ``r``.
    """
    columns = [
        *(f"{_EXPRESSIONS.get((table.name, each), f'r.{each}')} AS {each}" for each in (*table.key, *table.exact)),
        *(part for each in table.close
          for part in (f"{each.value} AS {each.name}", f"{each.scale} AS {each.name}_scale")),
    ]  # fmt: skip
    return sql.SQL(
        "SELECT {columns}, {is_young} AS is_young FROM {rows} AS r JOIN {progress} AS c ON {join} WHERE ({scope}) AND {wanted}"
    ).format(
        columns=sql.SQL(", ").join(map(sql.SQL, columns)),
        rows=rows,
        progress=progress,
        join=sql.SQL(table.join),
        scope=sql.SQL(table.scope if scope is None else scope).format(schema=schema),
        # These are taken over together with the event that tells of them
        wanted=sql.SQL("{} AND {}").format(
            _since(table.time, "event") if table.time and table.name in _TOLD_BY_EVENTS else EVERY_ROW, wanted
        ),
        is_young=_since_mark(table),
    )


def _since_mark(table: Compared) -> sql.Composable:
    """Return whether a row ``r`` is of a time of which nobody has dropped rows because of their age."""
    return EVERY_ROW if table.time is None else _since(table.time, table.name)


def _since(time: LiteralString, name: str) -> sql.Composable:
    return sql.SQL(
        "{time} >= coalesce((SELECT dropped_before FROM {live}.retention_mark WHERE table_name = {name}), '-infinity')"
    ).format(time=sql.SQL(time), live=sql.Identifier(SCHEMA), name=name)


def both_can_have() -> sql.Composable:
    """Return the condition on two joined rows ``l`` and ``s`` that the live one is there, or cannot have been dropped."""
    return sql.SQL("(l.is_young IS NOT NULL OR s.is_young)")


def same_key(table: Compared, left: LiteralString = "l", right: LiteralString = "s") -> sql.Composed:
    """Return the condition that two rows, ``l`` and ``s`` unless said otherwise, have the same key."""
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{}").format(sql.SQL(left), sql.Identifier(each))
        + sql.SQL(" = {}.{}").format(sql.SQL(right), sql.Identifier(each))
        for each in table.key
    )


def changes(table: Compared) -> list[sql.SQL]:
    """Return per column the condition that two rows ``l`` and ``s`` of :func:`side` differ in it."""
    numbers = (
        f"abs(l.{each.name} - s.{each.name}) > 1e-9 * greatest(l.{each.name}_scale, s.{each.name}_scale, 1e-290)"
        for each in table.close
    )
    return [sql.SQL(each) for each in (*(f"l.{each} IS DISTINCT FROM s.{each}" for each in table.exact), *numbers)]
