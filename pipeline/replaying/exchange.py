"""Making the live rows of some partitions those of another relation, in a way that can be turned back.

What differs is *staged* beforehand, while workers go on: the keys of rows that one side lacks or has otherwise. Inside the
transaction the live rows of staged keys are moved aside, and the other side's are put in their place. Rows that are the same
but for rounding are never touched.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from pipeline.core.errors import SettingsError
from pipeline.replaying.compared import Compared, both_can_have, changes, same_key, side
from pipeline.store.connect import SCHEMA

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

# What a row that is exchanged does not take from the other side: when it changed, and what people did meanwhile
_ANEW = "updated_at"
_KEPT = {("machine_state", "first_seen"), ("dead_letter", "requeued_at")}


@dataclass(frozen=True, slots=True)
class Room:
    """A schema in which an exchange is prepared, and its tables.

    Parameters
    ----------
    schema
        The shadow.
    target
        Prefix of the relations whose rows are to become the live ones.
    staged
        Prefix of the tables with the keys of what differs.
    aside
        Prefix of the tables that take the live rows which are replaced.
    is_inexact
        Whether the target could not count what devices had sent twice.
    """

    schema: str
    target: LiteralString
    staged: LiteralString
    aside: LiteralString
    is_inexact: bool = False

    def names(self, table: Compared) -> dict[str, sql.Composable]:
        """Return the parts of a statement about one table."""
        within = sql.SQL("{}.").format(sql.Identifier(self.schema))
        return {
            "live": sql.Identifier(SCHEMA, table.name),
            "target": within + sql.Identifier(self.target + table.name),
            "staged": within + sql.Identifier(self.staged + table.name),
            "aside": within + sql.Identifier(self.aside + table.name),
            "cut": within + sql.Identifier("cut"),
            "key": sql.SQL(", ").join(map(sql.Identifier, table.key)),
        }


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What became of one table: live rows that were moved aside, and rows that came."""

    table: str
    removed: int
    added: int


def require_same_columns(connection: Connection, room: Room, table: Compared) -> None:
    """Check that both sides have the same columns; raises :class:`SettingsError`."""
    if _columns(connection, SCHEMA, table.name) != _columns(connection, room.schema, table.name):
        raise SettingsError(
            f"{room.schema}.{table.name} was made before a migration changed the live table: start another replay"
        )


def stage(connection: Connection, room: Room, table: Compared, scope: LiteralString | None = None) -> None:
    """Note the keys of the rows that differ between the live table and the target; anew, if it was done before.

    Parameters
    ----------
    scope
        Which rows of either side are meant, instead of the table's own; see :class:`Compared`.
    """
    names = room.names(table)
    keys = (sql.SQL("coalesce(l.{0}, s.{0}) AS {0}").format(sql.Identifier(each)) for each in table.key)
    cut = names["cut"]
    query = sql.SQL(
        "CREATE TABLE {staged} AS WITH live AS ({lives}), target AS ({targets})"
        " SELECT {keys}, l.{first} IS NOT NULL AS is_live, s.{first} IS NOT NULL AS is_wanted"
        " FROM live AS l FULL JOIN target AS s ON {same}"
        " WHERE {both_can_have} AND (l.{first} IS NULL OR s.{first} IS NULL OR {differ})"
    ).format(
        **names,
        lives=side(table, names["live"], sql.Identifier(SCHEMA), cut, scope),
        targets=side(table, names["target"], sql.Identifier(room.schema), cut, scope),
        keys=sql.SQL(", ").join(keys),
        first=sql.Identifier(table.key[0]),
        same=same_key(table),
        both_can_have=both_can_have(),
        differ=sql.SQL(" OR ").join(changes(table)),
    )
    with connection.transaction():
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {staged} CASCADE").format(**names))
        connection.execute(query)
        connection.execute(sql.SQL("ALTER TABLE {staged} ADD PRIMARY KEY ({key})").format(**names))
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {aside} CASCADE").format(**names))
        connection.execute(sql.SQL("CREATE TABLE {aside} (LIKE {live} INCLUDING DEFAULTS)").format(**names))
        connection.execute(sql.SQL("ALTER TABLE {aside} ADD PRIMARY KEY ({key})").format(**names))
    connection.execute(sql.SQL("ANALYZE {staged}").format(**names))


def stage_changed(cursor: Cursor, room: Room, table: Compared, since: dt.datetime) -> None:
    """Note the keys of live rows that changed since the rest was staged, and differ now."""
    names = room.names(table)
    changed = sql.SQL("r.updated_at >= {}").format(since)
    cursor.execute(
        sql.SQL(
            "INSERT INTO {staged} ({key}, is_live) WITH live AS MATERIALIZED ({lives}) SELECT {keys}, true FROM live AS l"
            " LEFT JOIN ({targets}) AS s ON {same} WHERE s.{first} IS NULL OR {differ} ON CONFLICT DO NOTHING"
        ).format(
            **names,
            lives=side(table, names["live"], sql.Identifier(SCHEMA), names["cut"], "true", changed),
            targets=side(table, names["target"], sql.Identifier(room.schema), names["cut"], "true"),
            keys=sql.SQL(", ").join(sql.SQL("l.{}").format(sql.Identifier(each)) for each in table.key),
            first=sql.Identifier(table.key[0]),
            same=same_key(table),
            differ=sql.SQL(" OR ").join(changes(table)),
        )
    )


def exchange(cursor: Cursor, room: Room, table: Compared) -> Exchanged:
    """Move the live rows of the staged keys aside, and put the target's in their place; in the caller's transaction."""
    names = room.names(table) | {"on_live": same_key(table, "l", "k"), "on_target": same_key(table, "s", "k")}
    removed = cursor.execute(
        sql.SQL(
            "WITH gone AS (DELETE FROM {live} AS l USING {staged} AS k WHERE {on_live} RETURNING l.*)"
            " INSERT INTO {aside} SELECT * FROM gone"
        ).format(**names)
    ).rowcount
    columns = _columns(cursor.connection, SCHEMA, table.name)
    added = cursor.execute(
        sql.SQL(
            "INSERT INTO {live} ({columns}) SELECT {values} FROM {target} AS s JOIN {staged} AS k ON {on_target}"
            " LEFT JOIN {aside} AS l ON {same}"
        ).format(
            **names,
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=sql.SQL(", ").join(_value(room, table, each) for each in columns),
            same=same_key(table),
        )
    ).rowcount
    return Exchanged(table.name, removed, added)


def remember(cursor: Cursor, room: Room, table: Compared, before: LiteralString) -> None:
    """Make a view of what the live rows were before the exchange: the target's, but for those that were replaced."""
    query = sql.SQL(
        "CREATE OR REPLACE VIEW {before} AS SELECT {columns} FROM {target} AS s"
        " WHERE NOT EXISTS (SELECT FROM {staged} AS k WHERE {same}) UNION ALL SELECT {columns} FROM {aside}"
    ).format(
        **room.names(table),
        before=sql.Identifier(room.schema, before + table.name),
        columns=sql.SQL(", ").join(map(sql.Identifier, _columns(cursor.connection, SCHEMA, table.name))),
        same=same_key(table, "s", "k"),
    )
    cursor.execute(query)


def _value(room: Room, table: Compared, column: str) -> sql.Composable:
    if column == _ANEW:
        return sql.SQL("clock_timestamp()")
    name = sql.Identifier(column)
    if (table.name, column) in _KEPT:
        return sql.SQL("coalesce(l.{0}, s.{0})").format(name)
    if room.is_inexact and (table.name, column) == ("machine_state", "duplicates"):
        return sql.SQL("greatest(l.{0}, s.{0})").format(name)
    return sql.SQL("s.{}").format(name)


def _columns(connection: Connection, schema: str, table: str) -> list[str]:
    query = (
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position"
    )
    return [name for (name,) in connection.execute(query, [schema, table])]
