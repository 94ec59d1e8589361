"""Shadow schemas: tables like the live ones, into which a replay writes without touching these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from pipeline.core.controls import TICK
from pipeline.core.records import SourcePartition
from pipeline.store import event_partitions, window_index
from pipeline.store.connect import SCHEMA
from pipeline.store.identity import source_id
from pipeline.store.progress import KEY, Progress

Connection = psycopg.Connection[Any]

TABLES = (
    "event",
    "reading_window",
    "factory_window",
    "operating_cycle",
    "cycle_reading",
    "anomaly",
    "quality_report",
    "maintenance_record",
    "metadata_command",
    "maintenance_requirement",
    "maintenance_prediction",
    "maintenance_aggregate",
    "machine_state",
    "dead_letter",
    "source_progress",
    "source_gap",
    "partition_snapshot",
    "control_record",
    "control_effect",
    "superseded_event",
)
"""What a shadow has of the live schema."""

FOR_DASHBOARDS = (event_partitions.INDEX, window_index.INDEX)
"""Indexes that a shadow does without: dashboards do not look there, and they cost who stores."""

FIRST_CONTROL_ID = 2**40
"""Control records that a replay adds itself are numbered from here on, so that they never meet live ones."""

_LIKE = """
CREATE TABLE {shadow}.{table} (
    LIKE {live}.{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY INCLUDING STORAGE
)
"""

# Keys and indexes with the names they have, and room for updates, none of which LIKE would bring
_REST = """
SELECT format('ALTER TABLE %%I.%%I ADD CONSTRAINT %%I %%s', %(shadow)s::text, relname, conname,
              pg_get_constraintdef(pg_constraint.oid))
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u')
UNION ALL
SELECT regexp_replace(pg_get_indexdef(indexrelid), ' ON (ONLY )?\\S+', format(' ON %%I.%%I', %(shadow)s::text, relname))
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE indrelid = %(table)s::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
  AND indexrelid::regclass::text <> ALL(%(dashboards)s)
UNION ALL
SELECT format('ALTER TABLE %%I.%%I SET (%%s)', %(shadow)s::text, relname, array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = %(table)s::regclass AND reloptions IS NOT NULL
"""

# The partition's owner is nobody that is alive: whoever works on the replay takes it over
_BEGIN = """
INSERT INTO {shadow}.source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next)
VALUES (%(cluster)s, %(group)s, %(topic)s, %(partition)s, %(source_id)s, %(first)s, %(counted_from)s)
"""
_STATE = f"""
INSERT INTO {{shadow}}.partition_snapshot
SELECT * FROM {{live}}.snapshot_history WHERE {KEY} AND snapshot_offset = %(state_at)s ORDER BY taken_at DESC LIMIT 1
"""

# A record to skip is meant in the log that it was found in
_CONTROLS = """
INSERT INTO {shadow}.control_record OVERRIDING SYSTEM VALUE
SELECT c.* FROM {live}.control_record AS c
JOIN {live}.source_progress AS p USING (cluster, consumer_group, topic, partition)
WHERE c.cluster = %(cluster)s AND c.consumer_group = %(group)s AND c.kind = 'skip'
  AND (p.log_since IS NULL OR c.created_at >= p.log_since)
"""

# Control records take effect where they did in the live run, and nowhere else: a place in a log that was lost is none in the
# present one. Before a partition was begun with, those before its first record count as done
_PLACED = """
INSERT INTO {shadow}.control_record OVERRIDING SYSTEM VALUE
SELECT c.* FROM {live}.control_record AS c
WHERE c.cluster = %(cluster)s AND c.consumer_group = %(group)s AND (c.topic IS NULL OR c.kind = {tick})
  AND c.id NOT IN (SELECT id FROM {shadow}.control_record);
INSERT INTO {shadow}.control_effect
SELECT e.* FROM {live}.control_effect AS e
JOIN {live}.control_record AS c ON c.id = e.control_id AND (c.topic IS NULL OR c.kind = {tick})
JOIN {live}.source_progress AS p
  ON (p.cluster, p.consumer_group, p.topic, p.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
JOIN {shadow}.source_progress AS s ON (s.topic, s.partition) = (e.topic, e.partition)
WHERE c.cluster = %(cluster)s AND c.consumer_group = %(group)s AND (p.log_since IS NULL OR e.noted_at >= p.log_since)
ON CONFLICT DO NOTHING;
UPDATE {shadow}.source_progress AS s SET (controls_next, windows_controls) = (
    SELECT count(*) FILTER (WHERE e."offset" <= s.effects_next), count(*) FILTER (WHERE e."offset" <= s.windows_next)
    FROM {shadow}.control_effect AS e
    WHERE (e.topic, e.partition) = (s.topic, s.partition) AND e.ordinal IS NOT NULL
)
WHERE s.owner IS NULL
"""


def create(connection: Connection, schema: str, progress: Progress) -> None:
    """Make a shadow with the live control records, in the caller's transaction.

    Parameters
    ----------
    connection
        Of a user who may create schemas.
    """
    names = {"shadow": sql.Identifier(schema), "live": sql.Identifier(SCHEMA)}
    connection.execute(sql.SQL("CREATE SCHEMA {shadow}").format(**names))
    for table in TABLES:
        connection.execute(sql.SQL(_LIKE).format(table=sql.Identifier(table), **names))
        about = {
            "shadow": schema,
            "table": f"{SCHEMA}.{table}",
            "dashboards": [f"{SCHEMA}.{each}" for each in FOR_DASHBOARDS],
        }
        rest = connection.execute(_REST, about).fetchall()
        for (statement,) in rest:
            connection.execute(statement)
    restart = "ALTER TABLE {shadow}.control_record ALTER COLUMN id RESTART WITH {first}"
    connection.execute(sql.SQL(restart).format(first=sql.Literal(FIRST_CONTROL_ID), **names))
    connection.execute(sql.SQL(_CONTROLS).format(**names), progress.of_all())
    _grant(connection, names)


def begin(
    cursor: psycopg.Cursor[Any], schema: str, progress: Progress, source: SourcePartition, at: Mapping[str, int]
) -> None:
    """Put a partition's marks where it begins, with the state that was kept there; in the caller's transaction.

    Parameters
    ----------
    at
        ``first`` and ``counted_from``: the marks of effects and of windows; ``state_at``: where the state is from, 0: none.
    """
    names = {"shadow": sql.Identifier(schema), "live": sql.Identifier(SCHEMA)}
    begins = {"source_id": source_id(progress.subscriber.cluster, source), **at}
    cursor.execute(sql.SQL(_BEGIN).format(**names), progress.key(source) | begins)
    if at["state_at"]:
        cursor.execute(sql.SQL(_STATE).format(**names), progress.key(source) | begins)


def place_controls(connection: Connection, schema: str, progress: Progress) -> None:
    """Let a shadow know the control records for every partition, and where the live run has applied them by now.

    Parameters
    ----------
    connection
        In a transaction, after the shadow's partitions were begun, and while nobody works on it.
    """
    names = {"shadow": sql.Identifier(schema), "live": sql.Identifier(SCHEMA), "tick": sql.Literal(TICK)}
    for statement in _PLACED.split(";\n"):
        connection.execute(sql.SQL(statement).format(**names), progress.of_all() if "%(" in statement else None)


def drop(connection: Connection, schema: str) -> None:
    """Delete a shadow with all its rows."""
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def _grant(connection: Connection, names: Mapping[str, sql.Composable]) -> None:
    for statement in (
        "GRANT USAGE ON SCHEMA {shadow} TO pipeline_worker",
        "GRANT SELECT, INSERT ON {shadow}.event, {shadow}.source_gap, {shadow}.control_record, {shadow}.control_effect"
        " TO pipeline_worker",
        "GRANT SELECT, INSERT, UPDATE ON {shadow}.reading_window, {shadow}.factory_window, {shadow}.machine_state,"
        " {shadow}.anomaly, {shadow}.maintenance_requirement, {shadow}.maintenance_prediction,"
        " {shadow}.maintenance_aggregate,"
        " {shadow}.quality_report, {shadow}.maintenance_record, {shadow}.metadata_command, {shadow}.dead_letter,"
        " {shadow}.source_progress, {shadow}.partition_snapshot TO pipeline_worker",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {shadow}.operating_cycle, {shadow}.cycle_reading TO pipeline_worker",
        "GRANT UPDATE (ordinal, noted_at) ON {shadow}.control_effect TO pipeline_worker",
        "GRANT SELECT ON {shadow}.superseded_event TO pipeline_worker",
    ):
        connection.execute(sql.SQL(statement).format(**names))
