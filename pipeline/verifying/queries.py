"""The statements of :mod:`pipeline.verifying.verify`: what it copies out of the database, all in one snapshot.

Times come as whole ms since the epoch, UTC. What lies beyond all of them, infinity too, comes as ±9e18.
"""

from __future__ import annotations

from typing import LiteralString

from pipeline.store.fact_rows import IS_INGESTED

COLUMNS = (
    "topic,partition,offset,index,kind,fault,machine_id,factory_id,seq,event_time_ms,sent_at_ms,anomalies,readings"
)
"""First line of a ledger."""

BEGIN: LiteralString = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL jit = off;
-- One process of the server reads for us; the workers keep the others
SET LOCAL max_parallel_workers_per_gather = 0;
-- Before the snapshot: a partition that is gone by then was marked as dropped before
LOCK TABLE event IN ACCESS SHARE MODE
"""

RETAINED: LiteralString = """
SELECT max(dropped_before) FILTER (WHERE table_name IN ('event', 'reading_window')),
       max(dropped_before) FILTER (WHERE table_name = 'dead_letter')
FROM retention_mark
"""

SIZE: LiteralString = """
SELECT coalesce(sum(pg_relation_size(relid)), 0)::bigint FROM pg_partition_tree('event')
"""

PROGRESS: LiteralString = """
SELECT topic, partition, count(*), max(source_id), min(effects_next), min(windows_next), max(duplicates),
       bool_or(log_since IS NOT NULL), bool_or(consumer_group = %(group)s),
       -- Of what is stored, a replay cannot count the duplicates: they were dropped
       bool_and(NOT EXISTS (
           SELECT FROM promotion AS o
           LEFT JOIN replay AS r ON r.name = o.replay AND r.created_at <= o.promoted_at
           LEFT JOIN replay_range AS x ON (x.replay, x.topic, x.partition) = (r.name, p.topic, p.partition)
           WHERE (o.cluster, o.consumer_group) = (p.cluster, p.consumer_group) AND o.undone_at IS NULL
             AND o.tables <> '{anomalies}' AND (x.stored_to = 0 AND x.counted_from = 0) IS NOT TRUE
       ))
FROM source_progress AS p GROUP BY topic, partition
"""

GAPS: LiteralString = """
SELECT topic, partition, from_offset, to_offset
FROM source_gap JOIN source_progress AS p USING (cluster, consumer_group, topic, partition)
WHERE reason = 'log_start_moved' AND found_at >= coalesce(log_since, '-infinity')
"""

LETTERS: LiteralString = """
COPY (
    SELECT source_topic, source_partition, source_offset, source_index,
           source_index = 0 AND substring(body FROM 1 FOR 1) = '[',
           stored_time >= coalesce(log_since, '-infinity')
    FROM dead_letter AS d LEFT JOIN source_progress AS p
        ON (p.cluster, p.consumer_group, p.topic, p.partition)
           = (d.cluster, d.consumer_group, d.source_topic, d.source_partition)
    WHERE (NOT %(by_ledger)s OR d.consumer_group = %(group)s)
) TO STDOUT (FORMAT csv)
"""

_BOUNDS: LiteralString = """
      AND (%(machines)s::text[] IS NULL OR machine_id = ANY(%(machines)s::text[]))
      AND (%(factory)s::text IS NULL OR factory_id = %(factory)s::text)
"""
_TIMES: LiteralString = """
      AND (%(since)s::timestamptz IS NULL OR event_time >= %(since)s::timestamptz)
      AND (%(until)s::timestamptz IS NULL OR event_time < %(until)s::timestamptz)
"""

_EVENTS: LiteralString = (
    """
COPY (
    SELECT source_topic, source_partition, source_offset, source_index, machine_id,
           greatest(least(date_part('epoch', event_time) * 1000, 9e18), -9e18)::bigint,
           greatest(least(date_part('epoch', ingest_time) * 1000, 9e18), -9e18)::bigint,
           CASE WHEN stored_time IN (SELECT promoted_at FROM promotion) THEN NULL ELSE greatest(least(
               (date_part('epoch', {stored_at}) - date_part('epoch', ingest_time)) * 1e6, 9e18), -9e18)::bigint END,
           stored_time >= coalesce(log_since, '-infinity'),
           CASE WHEN NOT %(by_ledger)s THEN body END,
           event_type
    FROM event AS e
    LEFT JOIN (SELECT topic, partition, max(log_since) AS log_since FROM source_progress GROUP BY topic, partition) AS p
        ON (p.topic, p.partition) = (e.source_topic, e.source_partition)
    WHERE """
    + IS_INGESTED
    + """
      AND (%(topics)s::text[] IS NULL OR source_topic = ANY(%(topics)s::text[]))
      AND NOT EXISTS (
          SELECT FROM superseded_event AS s
          WHERE s.event_id = e.event_id AND e.stored_time >= s.stored_from AND e.stored_time < s.stored_to
      )
"""
    + _BOUNDS
    + _TIMES
    + ") TO STDOUT (FORMAT csv)"
)
_COMMITTED: LiteralString = "coalesce(pg_xact_commit_timestamp(e.xmin), stored_time)"

EVENTS_COMMITTED: LiteralString = _EVENTS.replace("{stored_at}", _COMMITTED)
"""When a row was stored is when its transaction committed: needs ``track_commit_timestamp``."""

EVENTS_BEGUN: LiteralString = _EVENTS.replace("{stored_at}", "stored_time")
"""When a row was stored is when its transaction began."""

WINDOWS: LiteralString = (
    """
COPY (
    SELECT machine_id, sensor, greatest(least(date_part('epoch', window_start) * 1000, 9e18), -9e18)::bigint,
           count, mean, m2, min, max, last, length_s * 1000, source_id
    FROM reading_window
    WHERE (%(since)s::timestamptz IS NULL OR window_start >= %(since)s::timestamptz)
      AND (%(until)s::timestamptz IS NULL
           OR window_start <= %(until)s::timestamptz - make_interval(secs => length_s))
"""
    + _BOUNDS
    + ") TO STDOUT (FORMAT csv)"
)

ANOMALIES: LiteralString = (
    """
COPY (
    SELECT source_topic, source_partition, source_offset, source_index, machine_id, sensor, kind
    FROM anomaly WHERE kind <> 'device_silent' AND (%(topics)s::text[] IS NULL OR source_topic = ANY(%(topics)s::text[]))
"""
    + _BOUNDS
    + _TIMES
    + ") TO STDOUT (FORMAT csv)"
)

_PREDICTIONS: LiteralString = (
    """
    WHERE (%(topics)s::text[] IS NULL OR source_topic = ANY(%(topics)s::text[]))
"""
    + _BOUNDS
    + _TIMES
)

PREDICTIONS: LiteralString = "SELECT count(*) FROM maintenance_prediction" + _PREDICTIONS

MISPLACED: LiteralString = (
    """
SELECT concat_ws(':', source_topic, source_partition, source_offset, source_index), machine_id, kind, count(*) OVER ()
FROM dashboard.prediction_misplaced"""
    + _PREDICTIONS
    + "ORDER BY source_topic, source_partition, source_offset, source_index, machine_id, kind, model_id LIMIT %(examples)s"
)
"""Those of a model that was not in force where they were found; the last column is how many there are."""

STATES: LiteralString = (
    """
COPY (
    SELECT machine_id, messages, greatest(least(date_part('epoch', last_seen) * 1000, 9e18), -9e18)::bigint
    FROM machine_state WHERE messages IS NOT NULL
"""
    + _BOUNDS
    + ") TO STDOUT (FORMAT csv)"
)

BEHIND: LiteralString = """
SELECT topic, partition, min(least(effects_next, windows_next)) FROM source_progress
WHERE consumer_group = %(group)s GROUP BY topic, partition
"""
