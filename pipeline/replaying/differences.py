"""What a replay's shadow has otherwise than the live tables, table by table and column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipeline.core.errors import SettingsError
from pipeline.core.selection import Selection
from pipeline.replaying.compared import TABLES, Compared, both_can_have, changes, same_key, side
from pipeline.replaying.replays import Replay
from pipeline.replaying.selected import selected
from pipeline.store.connect import SCHEMA

Connection = psycopg.Connection[Any]


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


# Up to where both sides have come in each partition of the replay; even where both marks of both are the same
_COMMON = """
CREATE TEMPORARY TABLE common ON COMMIT DROP AS
SELECT r.topic, r.partition, r.from_offset, s.cluster, s.consumer_group, s.source_id,
       least(s.effects_next, l.effects_next) AS effects,
       CASE WHEN s.watermark IS NOT NULL AND l.watermark IS NOT NULL THEN least(s.watermark, l.watermark) END AS watermark,
       (s.effects_next, s.windows_next, s.controls_next, s.windows_controls)
           = (l.effects_next, l.windows_next, l.controls_next, l.windows_controls) AS is_even,
       least(s.controls_next, l.controls_next) AS controls,
       r.counted_from = 0 OR %(is_timed)s AS is_counted, r.stored_to > 0 AS is_stored
FROM {live}.replay_range AS r
JOIN {shadow}.source_progress AS s USING (topic, partition)
JOIN {live}.source_progress AS l USING (cluster, consumer_group, topic, partition)
WHERE r.replay = %(replay)s
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

    Raises
    ------
    SettingsError
        If the shadow is older than one of the tables.
    """
    names = {"live": sql.Identifier(SCHEMA), "shadow": sql.Identifier(replay.schema)}
    selection = Selection.from_options(replay.options)
    found = []
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _require_tables(connection, replay)
        is_timed = selection.is_timed and replay.options.get("from_offset") is None
        about = {"replay": replay.name, "is_timed": is_timed}
        connection.execute(sql.SQL(_COMMON).format(**names), about)
        for table in TABLES:
            found += _rows(table, _one(connection, _query(table, names, selection)))
        (uneven,) = _one(connection, sql.SQL("SELECT count(*) FILTER (WHERE NOT is_even) FROM common"))
    return found, uneven


def _require_tables(connection: Connection, replay: Replay) -> None:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
    there = {name for (name,) in connection.execute(query, [replay.schema])}
    for table in TABLES:
        if table.name not in there:
            raise SettingsError(f"{replay.schema} was made before there was a table {table.name}: start another replay")


def _one(connection: Connection, query: sql.SQL | sql.Composed) -> Sequence[Any]:
    row: Sequence[Any] | None = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  # aggregates always give a row
    return row


def _query(table: Compared, names: dict[str, sql.Identifier], selection: Selection) -> sql.Composed:
    """Return the query that compares one table: rows, then per column how many changed and by how much."""
    sides = {
        name: side(
            table,
            sql.SQL("{}.{}").format(schema, sql.Identifier(table.name)),
            schema,
            sql.Identifier("common"),
            wanted=selected(table, schema, selection),
        )
        for name, schema in names.items()
    }
    changed = changes(table)
    both = sql.SQL("l.{0} IS NOT NULL AND s.{0} IS NOT NULL").format(sql.Identifier(table.key[0]))
    counts = [
        sql.SQL("count(*) FILTER (WHERE {} AND ({}))").format(both, change)
        for change in (sql.SQL(" OR ").join(changed), *changed)
    ]
    largest = [sql.SQL("max(abs(l.{0} - s.{0}))").format(sql.Identifier(each.name)) for each in table.close]
    return sql.SQL(
        "WITH live AS ({live}), shadow AS ({shadow})"
        " SELECT count(l.{key}), count(s.{key}), count(*) FILTER (WHERE s.{key} IS NULL),"
        " count(*) FILTER (WHERE l.{key} IS NULL), {figures}"
        " FROM live AS l FULL JOIN shadow AS s ON {on} WHERE {both_can_have}"
    ).format(
        **sides,
        key=sql.Identifier(table.key[0]),
        on=same_key(table),
        both_can_have=both_can_have(),
        figures=sql.SQL(", ").join([*counts, *largest]),
    )


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
