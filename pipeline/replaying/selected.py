"""Which rows of a compared table a replay has that keeps only a part of its results."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pipeline.core.selection import Selection
from pipeline.replaying.compared import EVERY_ROW, Compared

_OF_ROW: LiteralString = "r.{column} = ANY({names})"

# The readings of a cycle are of the factory that the cycle is of
_OF_CYCLE: LiteralString = (
    "EXISTS (SELECT FROM {schema}.operating_cycle AS o WHERE o.{column} = ANY({names})"
    " AND (o.machine_id, o.started, o.source_id) = (r.machine_id, r.started, r.source_id))"
)


def selected(table: Compared, schema: sql.Composable, selection: Selection) -> sql.Composable:
    """Return the condition on a row ``r`` of a schema that says which rows a replay with a selection has."""
    conditions: list[sql.Composable] = []
    columns = {*table.key, *table.exact}
    if (not table.is_timed and selection.is_timed) or (table.name == "dead_letter" and selection.is_owned):
        return sql.SQL("false")
    if selection.machines and "machine_id" not in columns:
        return sql.SQL("false")
    for column, names in (("machine_id", selection.machines), ("factory_id", selection.factories)):
        if names:
            condition = sql.SQL(_OF_ROW if column in columns else _OF_CYCLE)
            conditions.append(condition.format(schema=schema, column=sql.Identifier(column), names=sorted(names)))
    time = sql.SQL(table.time or "NULL")
    if selection.since_ms is not None:
        conditions.append(sql.SQL("{} >= to_timestamp({} / 1000.0)").format(time, selection.since_ms))
    if selection.until_ms is not None:
        length = sql.SQL(table.length)
        conditions.append(sql.SQL("{} + {} <= to_timestamp({} / 1000.0)").format(time, length, selection.until_ms))
    return sql.SQL(" AND ").join(conditions) if conditions else EVERY_ROW
