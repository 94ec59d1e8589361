"""Tables that keep their rows for a time: what is older is deleted, in short transactions over a stretch of the table."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]


class Age(NamedTuple):
    """The column that says how old a row of a table is, and the setting of the group ``retention`` for how long it is kept."""

    column: str
    setting: str


AGES = {
    "dead_letter": Age("stored_time", "dead_letter_days"),
    "anomaly": Age("event_time", "anomaly_days"),
    "reading_window": Age("window_start", "reading_window_days"),
    "factory_window": Age("window_start", "factory_window_days"),
    "operating_cycle": Age("ended", "operating_cycle_days"),
    "cycle_reading": Age("last_time", "cycle_reading_days"),
    "maintenance_requirement": Age("event_time", "maintenance_requirement_days"),
    "maintenance_prediction": Age("event_time", "maintenance_prediction_days"),
    "maintenance_aggregate": Age("window_start", "maintenance_aggregate_days"),
    "quality_report": Age("period_end", "quality_days"),
    "maintenance_record": Age("event_time", "maintenance_days"),
    "snapshot_history": Age("taken_at", "snapshot_history_days"),
}
"""By table."""

_PAGES_AT_ONCE = 500

_COUNT = sql.SQL("SELECT count(*) FROM {} WHERE {} < {}")
_PAGES = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int"
_DELETE = sql.SQL("DELETE FROM {} WHERE ctid >= '({},0)' AND ctid < '({},0)' AND {} < {}")


_MARK = """
INSERT INTO retention_mark AS old (table_name, dropped_before, not_archived_before)
VALUES (%(table)s, %(before)s, CASE WHEN %(for_good)s THEN %(before)s::timestamptz END)
ON CONFLICT (table_name) DO UPDATE SET
    dropped_before = greatest(old.dropped_before, excluded.dropped_before),
    not_archived_before = greatest(old.not_archived_before, excluded.not_archived_before)
"""


def mark(connection: Connection, table: str, before: dt.datetime, *, for_good: bool) -> None:
    """Note that rows from before an instant are about to be dropped.

    Parameters
    ----------
    connection
        In autocommit mode.
    for_good
        Whether nobody has archived them.
    """
    connection.execute(_MARK, {"table": table, "before": before, "for_good": for_good})


def has_older(connection: Connection, table: str, column: str, before: dt.datetime) -> bool:
    """Return whether there is a row from before an instant."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} < {})")
    row = connection.execute(
        query.format(sql.Identifier(table), sql.Identifier(column), sql.Literal(before))
    ).fetchone()
    return row == (True,)


def count_older(connection: Connection, table: str, column: str, before: dt.datetime) -> int:
    """Return how many rows are from before an instant."""
    row = connection.execute(
        _COUNT.format(sql.Identifier(table), sql.Identifier(column), sql.Literal(before))
    ).fetchone()
    return int(row[0]) if row else 0


def delete_older(connection: Connection, table: str, column: str, before: dt.datetime) -> int:
    """Delete the rows from before an instant; return how many it was.

    The table is gone through once, by its pages: it needs no index, and a transaction is over in well under a second.

    Parameters
    ----------
    connection
        In autocommit mode.
    """
    by = (sql.Identifier(column), sql.Literal(before))
    row = connection.execute(_PAGES, [table]).fetchone()
    pages, deleted = int(row[0]) if row else 0, 0
    for begin in range(0, pages, _PAGES_AT_ONCE):
        end = begin + _PAGES_AT_ONCE
        statement = _DELETE.format(sql.Identifier(table), sql.Literal(begin), sql.Literal(end), *by)
        deleted += connection.execute(statement).rowcount
    return deleted
