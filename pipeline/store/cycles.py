"""Joining closed fragments of operating cycles with the cycles that are stored.

A source partition's cycles of a machine lie further apart than the gap. A fragment may lie close to several: then these and
the fragment become one, which has the earliest one's place, and the rows of the others go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg

from pipeline.core.records import SourcePartition
from pipeline.core.windowing.aggregates import CycleRows
from pipeline.store import aggregate_rows as rows
from pipeline.store.merges import MOMENTS, copy_in

Cursor = psycopg.Cursor[Any]

# A joined fragment without a number is a stored cycle
_PREPARE: tuple[LiteralString, ...] = (
    "CREATE TEMPORARY TABLE incoming_fragment ON COMMIT DELETE ROWS AS"
    " SELECT 0 AS fragment, started, ended, messages, gap_ms, goes_on, source_id, machine_id, factory_id FROM operating_cycle"
    " WITH NO DATA",
    "CREATE TEMPORARY TABLE incoming_fragment_reading ON COMMIT DELETE ROWS AS"
    " SELECT 0 AS fragment, count, mean, m2, min, max, last_time, sensor FROM cycle_reading WITH NO DATA",
    "CREATE TEMPORARY TABLE joined_fragment ON COMMIT DELETE ROWS AS"
    " SELECT 0 AS fragment, started, ended, started AS cycle_started, ended AS cycle_ended, messages, gap_ms, goes_on,"
    " source_id, machine_id, factory_id FROM operating_cycle WITH NO DATA",
)

# Of the stored cycles that began before a fragment only the last one can reach it, since they lie apart
_JOIN: LiteralString = """
INSERT INTO joined_fragment
    (fragment, started, ended, cycle_started, cycle_ended, messages, gap_ms, goes_on, source_id, machine_id, factory_id)
WITH piece AS (
    SELECT fragment, started, ended, messages, gap_ms, goes_on, source_id, machine_id, factory_id FROM incoming_fragment
    UNION ALL
    SELECT DISTINCT NULL::int, o.started, o.ended, o.messages, i.gap_ms, o.goes_on, o.source_id, o.machine_id, o.factory_id
    FROM incoming_fragment AS i CROSS JOIN LATERAL (
        (SELECT * FROM operating_cycle AS c
         WHERE c.machine_id = i.machine_id AND c.source_id = i.source_id AND c.started < i.started
         ORDER BY c.started DESC LIMIT 1)
        UNION ALL
        SELECT * FROM operating_cycle AS c
        WHERE c.machine_id = i.machine_id AND c.source_id = i.source_id AND c.started >= i.started
          AND c.started <= i.ended + i.gap_ms * interval '1 millisecond'
    ) AS o
    WHERE i.started <= o.ended + i.gap_ms * interval '1 millisecond'
)
SELECT fragment, started, ended, min(started) OVER of_cycle, max(ended) OVER of_cycle, messages, gap_ms, goes_on, source_id,
       machine_id, factory_id
FROM (
    SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY machine_id ORDER BY started, fragment) AS number
    FROM (
        SELECT *, started > gap_ms * interval '1 millisecond' + max(ended) OVER (
                   PARTITION BY machine_id ORDER BY started, fragment ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ) IS NOT FALSE AS begins
        FROM piece
    ) AS told
) AS numbered
WINDOW of_cycle AS (PARTITION BY machine_id, number)
"""
_FORGET: LiteralString = """
DELETE FROM operating_cycle AS o USING joined_fragment AS j
WHERE j.fragment IS NULL AND j.started <> j.cycle_started
  AND (o.machine_id, o.started, o.source_id) = (j.machine_id, j.started, j.source_id)
"""
_KEEP: LiteralString = """
INSERT INTO operating_cycle (machine_id, started, source_id, factory_id, ended, messages, gap_ms, goes_on)
SELECT machine_id, cycle_started, source_id, (array_agg(factory_id ORDER BY fragment DESC NULLS LAST))[1], cycle_ended,
       sum(messages), max(gap_ms), (array_agg(goes_on ORDER BY ended DESC, goes_on))[1]
FROM joined_fragment GROUP BY machine_id, cycle_started, source_id, cycle_ended
ON CONFLICT (machine_id, started, source_id) DO UPDATE SET
    factory_id = excluded.factory_id, ended = excluded.ended, messages = excluded.messages, gap_ms = excluded.gap_ms,
    goes_on = excluded.goes_on, updated_at = clock_timestamp()
"""
# Readings of the earliest cycle stay where they are; those of the others and of the fragments are added
_READINGS: LiteralString = (
    """
WITH gone AS (
    DELETE FROM cycle_reading AS r USING joined_fragment AS j
    WHERE j.fragment IS NULL AND j.started <> j.cycle_started
      AND (r.machine_id, r.started, r.source_id) = (j.machine_id, j.started, j.source_id)
    RETURNING j.machine_id, j.cycle_started, j.source_id, r.sensor, r.count, r.mean, r.m2, r.min, r.max, r.last_time
), added AS (
    SELECT * FROM gone
    UNION ALL
    SELECT j.machine_id, j.cycle_started, j.source_id, i.sensor, i.count, i.mean, i.m2, i.min, i.max, i.last_time
    FROM incoming_fragment_reading AS i JOIN joined_fragment AS j USING (fragment)
), whole AS (
    SELECT *, CASE WHEN abs(sum(mean * count) OVER of_cycle) < 1e-290 THEN 0
                   ELSE (sum(mean * count) OVER of_cycle) / (sum(count) OVER of_cycle)::float8 END AS mean_of_all
    FROM added WINDOW of_cycle AS (PARTITION BY machine_id, cycle_started, source_id, sensor)
)
INSERT INTO cycle_reading AS old (machine_id, started, source_id, sensor, count, mean, m2, min, max, last_time)
SELECT machine_id, cycle_started, source_id, sensor, sum(count), max(mean_of_all),
       sum(m2 + CASE WHEN abs(mean - mean_of_all) < 1e-161 THEN 0
                     ELSE count * ((mean - mean_of_all) * (mean - mean_of_all)) END),
       min(min), max(max), max(last_time)
FROM whole GROUP BY machine_id, cycle_started, source_id, sensor
ON CONFLICT (machine_id, started, source_id, sensor) DO UPDATE SET
    last_time = greatest(old.last_time, excluded.last_time), updated_at = clock_timestamp(), """
    + MOMENTS
)
_TABLES: tuple[LiteralString, ...] = ("incoming_fragment", "incoming_fragment_reading", "joined_fragment")


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Create the temporary tables of a new connection."""
    for statement in _PREPARE:
        connection.execute(statement)


def join(cursor: Cursor, cluster: str, closed: Sequence[tuple[SourcePartition, CycleRows]]) -> None:
    """Join closed fragments of source partitions with what is stored of these, one after the other."""
    for at, (source, part) in enumerate((source, part) for source, part in closed if part.machine_ids):
        if at > 0:
            for table in _TABLES:
                cursor.execute(f"DELETE FROM {table}")
        copy_in(cursor, "incoming_fragment", rows.FRAGMENT, [rows.fragments(cluster, source, part)])
        copy_in(cursor, "incoming_fragment_reading", rows.FRAGMENT_READING, [rows.fragment_readings(part)])
        for statement in (_JOIN, _FORGET, _KEEP, _READINGS):
            cursor.execute(statement)
