"""The tables that a replay and the live run both have: their keys, what must be equal in them, and what may be rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql


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
    """

    name: LiteralString
    key: tuple[LiteralString, ...]
    exact: tuple[LiteralString, ...]
    close: tuple[Close, ...]
    join: LiteralString
    scope: LiteralString


_SD: LiteralString = "CASE WHEN r.count > 1 AND r.m2 > 1e-300 THEN sqrt(r.m2 / (r.count - 1)) ELSE 0 END"
_BY_SOURCE: LiteralString = "r.source_topic = c.topic AND r.source_partition = c.partition"

TABLES = (
    Compared(
        "event",
        ("event_id", "event_time"),
        ("event_type", "entity_type", "entity_id", "machine_id", "factory_id", "ingest_time",
         "source_topic", "source_partition", "source_offset", "source_index", "body"),
        (),
        _BY_SOURCE,
        "r.source_offset >= c.from_offset AND r.source_offset < c.effects AND NOT EXISTS ("
        "SELECT FROM {schema}.superseded_event AS d WHERE d.event_id = r.event_id"
        " AND r.stored_time >= d.stored_from AND r.stored_time < d.stored_to)",
    ),
    Compared(
        "reading_window",
        ("machine_id", "sensor", "window_start"),
        ("factory_id", "count", "min", "max", "last", "last_time", "last_source", "last_offset", "last_index",
         "late_count"),
        (Close("mean", "r.mean", f"greatest(abs(r.mean), {_SD})"), Close("stddev", _SD, f"greatest(abs(r.mean), {_SD})")),
        "r.source_id = c.source_id",
        "c.is_even OR r.window_start + interval '1 minute' <= c.watermark",
    ),
    Compared(
        "anomaly",
        ("machine_id", "cluster", "source_topic", "source_partition", "source_offset", "source_index", "sensor", "kind"),
        ("factory_id", "event_time", "value", "detector", "detector_version", "event_id", "message_id"),
        (Close("expected", "r.expected", "abs(r.expected)"), Close("score", "r.score", "abs(r.score)")),
        _BY_SOURCE,
        "r.cluster = c.cluster AND r.source_offset >= c.from_offset AND r.source_offset < c.effects",
    ),
    Compared(
        "machine_state",
        ("machine_id",),
        ("factory_id", "machine_type", "readings", "last_seen", "last_offset", "messages", "duplicates", "late",
         "unverified"),
        (),
        "r.source_id = c.source_id",
        "c.is_even",
    ),
    Compared(
        "dead_letter",
        ("cluster", "consumer_group", "source_topic", "source_partition", "source_offset", "source_index"),
        ("reason", "detail", "key", "body", "headers", "record_time"),
        (),
        _BY_SOURCE,
        "r.cluster = c.cluster AND r.consumer_group = c.consumer_group AND r.source_offset >= c.from_offset"
        " AND r.source_offset < c.effects",
    ),
)  # fmt: skip


def side(
    table: Compared,
    rows: sql.Composable,
    schema: sql.Composable,
    progress: sql.Composable,
    scope: LiteralString | None = None,
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
    """
    columns = [
        # json has no equality of its own; the text is what was sent
        *(f"r.{each}::text AS {each}" if (table.name, each) == ("event", "body") else f"r.{each}"
          for each in (*table.key, *table.exact)),
        *(part for each in table.close
          for part in (f"{each.value} AS {each.name}", f"{each.scale} AS {each.name}_scale")),
    ]  # fmt: skip
    return sql.SQL("SELECT {columns} FROM {rows} AS r JOIN {progress} AS c ON {join} WHERE {scope}").format(
        columns=sql.SQL(", ").join(map(sql.SQL, columns)),
        rows=rows,
        progress=progress,
        join=sql.SQL(table.join),
        scope=sql.SQL(table.scope if scope is None else scope).format(schema=schema),
    )


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
        f"abs(l.{each.name} - s.{each.name}) > 1e-9 * greatest(l.{each.name}_scale, s.{each.name}_scale)"
        for each in table.close
    )
    return [sql.SQL(each) for each in (*(f"l.{each} IS DISTINCT FROM s.{each}" for each in table.exact), *numbers)]
