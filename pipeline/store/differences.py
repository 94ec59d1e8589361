"""What a replay's shadow has otherwise than the live tables, table by table and column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from pipeline.store.connect import SCHEMA
from pipeline.store.replays import Replay

Connection = psycopg.Connection[Any]


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
        Condition over a row ``r`` and its partition's common progress ``c``.
    join
        How a row finds that progress.
    """

    name: LiteralString
    key: tuple[LiteralString, ...]
    exact: tuple[LiteralString, ...]
    close: tuple[Close, ...]
    join: LiteralString
    scope: LiteralString


@dataclass(frozen=True, slots=True)
class Difference:
    """How one column of one table differs.

    Parameters
    ----------
    column
        Empty for the rows as such.
    live, shadow
        Rows that were compared.
    missing, extra
        Rows that only the live table has, and that only the shadow has.
    changed
        Rows that both have, with another value in this column; for the rows as such, in any.
    largest
        Largest absolute difference of a number; ``None`` for what is no number.
    """

    table: str
    column: str
    live: int
    shadow: int
    missing: int
    extra: int
    changed: int
    largest: float | None

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return self.missing == self.extra == self.changed == 0


_SD: LiteralString = "CASE WHEN r.count > 1 AND r.m2 > 1e-300 THEN sqrt(r.m2 / (r.count - 1)) ELSE 0 END"
_BY_SOURCE: LiteralString = "r.source_topic = c.topic AND r.source_partition = c.partition"

TABLES = (
    Compared(
        "event",
        ("event_id",),
        ("event_type", "entity_type", "entity_id", "machine_id", "factory_id", "event_time", "ingest_time",
         "source_topic", "source_partition", "source_offset", "source_index", "body"),
        (),
        _BY_SOURCE,
        "r.source_offset >= c.from_offset AND r.source_offset < c.effects",
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
        "r.consumer_group = c.consumer_group AND r.source_offset >= c.from_offset AND r.source_offset < c.effects",
    ),
)  # fmt: skip

# Up to where both sides have come in each partition of the replay; even where both marks of both are the same
_COMMON = """
CREATE TEMPORARY TABLE common ON COMMIT DROP AS
SELECT r.topic, r.partition, r.from_offset, s.cluster, s.consumer_group, s.source_id,
       least(s.effects_next, l.effects_next) AS effects,
       CASE WHEN s.watermark IS NOT NULL AND l.watermark IS NOT NULL THEN least(s.watermark, l.watermark) END AS watermark,
       (s.effects_next, s.windows_next) = (l.effects_next, l.windows_next) AND r.from_offset = 0 AS is_even
FROM {live}.replay_range AS r
JOIN {shadow}.source_progress AS s USING (topic, partition)
JOIN {live}.source_progress AS l USING (cluster, consumer_group, topic, partition)
WHERE r.replay = %s
"""


def differences(connection: Connection, replay: Replay) -> tuple[list[Difference], int]:
    """Compare a shadow with the live tables as far as both have come, in one snapshot of the database.

    Where one side is further, windows that were still open there, and machine states, are left out: they cannot be equal.

    Parameters
    ----------
    connection
        Outside a transaction.

    Returns
    -------
    What was compared, and in how many partitions the two have not come equally far.
    """
    names = {"live": sql.Identifier(SCHEMA), "shadow": sql.Identifier(replay.schema)}
    found = []
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(sql.SQL(_COMMON).format(**names), [replay.name])
        for table in TABLES:
            found += _rows(table, _one(connection, _query(table, names)))
        (uneven,) = _one(connection, sql.SQL("SELECT count(*) FILTER (WHERE NOT is_even) FROM common"))
    return found, uneven


def _one(connection: Connection, query: sql.SQL | sql.Composed) -> Sequence[Any]:
    row: Sequence[Any] | None = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  # aggregates always give a row
    return row


def _query(table: Compared, names: dict[str, sql.Identifier]) -> sql.Composed:
    """Return the query that compares one table: rows, then per column how many changed and by how much."""
    side = sql.SQL("SELECT {columns} FROM {schema}.{table} AS r JOIN common AS c ON {join} WHERE {scope}")
    columns = [sql.SQL(each) for each in (*_plain(table), *_calculated(table))]
    sides = {
        name: side.format(
            columns=sql.SQL(", ").join(columns),
            schema=schema,
            table=sql.Identifier(table.name),
            join=sql.SQL(table.join),
            scope=sql.SQL(table.scope),
        )
        for name, schema in names.items()
    }
    changes = [sql.SQL(each) for each in _changes(table)]
    largest = [sql.SQL("max(abs(l.{0} - s.{0}))").format(sql.Identifier(each.name)) for each in table.close]
    both = sql.SQL("l.{0} IS NOT NULL AND s.{0} IS NOT NULL").format(sql.Identifier(table.key[0]))
    return sql.SQL(
        "WITH live AS ({live}), shadow AS ({shadow})"
        " SELECT count(l.{key}), count(s.{key}), count(*) FILTER (WHERE s.{key} IS NULL),"
        " count(*) FILTER (WHERE l.{key} IS NULL), {figures}"
        " FROM live AS l FULL JOIN shadow AS s ON {on}"
    ).format(
        **sides,
        key=sql.Identifier(table.key[0]),
        on=sql.SQL(" AND ").join(sql.SQL("l.{0} = s.{0}").format(sql.Identifier(each)) for each in table.key),
        figures=sql.SQL(", ").join(
            [
                *(
                    sql.SQL("count(*) FILTER (WHERE {} AND ({}))").format(both, change)
                    for change in (sql.SQL(" OR ").join(changes), *changes)
                ),
                *largest,
            ]
        ),
    )


def _plain(table: Compared) -> list[LiteralString]:
    # json has no equality of its own; the text is what was sent
    return [f"r.{each}::text AS {each}" if each == "body" and table.name == "event" else f"r.{each}"
            for each in (*table.key, *table.exact)]  # fmt: skip


def _calculated(table: Compared) -> list[LiteralString]:
    return [
        part for each in table.close for part in (f"{each.value} AS {each.name}", f"{each.scale} AS {each.name}_scale")
    ]


def _changes(table: Compared) -> list[LiteralString]:
    return [
        *(f"l.{each} IS DISTINCT FROM s.{each}" for each in table.exact),
        *(
            f"abs(l.{each.name} - s.{each.name}) > 1e-9 * greatest(l.{each.name}_scale, s.{each.name}_scale)"
            for each in table.close
        ),
    ]


def _rows(table: Compared, row: Sequence[Any]) -> list[Difference]:
    live, shadow, missing, extra, changed, *figures = row
    columns = [*table.exact, *(each.name for each in table.close)]
    largest = dict(zip((each.name for each in table.close), figures[len(columns) :], strict=True))
    return [
        Difference(table.name, "", live, shadow, missing, extra, changed, None),
        *(
            Difference(table.name, column, live, shadow, missing, extra, count, largest.get(column))
            for column, count in zip(columns, figures[: len(columns)], strict=True)
        ),
    ]
