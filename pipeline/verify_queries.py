"""The statements of :mod:`pipeline.verify`, in the order in which they run, inside one transaction.

All messages are judged at once, as sets: the ledger comes into a temporary table by COPY, and what the tables hold of its
topics is compared with it by source key (topic, partition, offset, index), machine and event time.
"""

from __future__ import annotations

from typing import LiteralString

COLUMNS = (
    "topic,partition,offset,index,kind,fault,machine_id,factory_id,seq,event_time_ms,sent_at_ms,anomalies,readings"
)
"""First line of a ledger."""

BEGIN: LiteralString = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SET LOCAL work_mem = '96MB';
SET LOCAL jit = off;
-- Everything here joins whole sets; a table that was never analyzed looks small and invites row by row
SET LOCAL enable_nestloop = off;
CREATE TEMPORARY TABLE ledger (
    line          bigint GENERATED ALWAYS AS IDENTITY,
    topic         text   NOT NULL,
    partition     int    NOT NULL,
    "offset"      bigint NOT NULL,
    index         int    NOT NULL,
    kind          text   NOT NULL,
    fault         text,
    machine_id    text   NOT NULL,
    factory_id    text   NOT NULL,
    seq           bigint,
    event_time_ms bigint NOT NULL,
    sent_at_ms    bigint NOT NULL,
    anomalies     json   NOT NULL,
    readings      json   NOT NULL,
    event_time    timestamptz GENERATED ALWAYS AS (to_timestamp(event_time_ms / 1000.0::float8)) STORED
) ON COMMIT DROP
"""

COPY: LiteralString = """
COPY ledger (topic, partition, "offset", index, kind, fault, machine_id, factory_id, seq, event_time_ms, sent_at_ms,
             anomalies, readings) FROM STDIN (FORMAT csv)
"""

SETTLE: LiteralString = """
CREATE UNIQUE INDEX ON ledger ("offset", partition, index, topic);
ANALYZE ledger
"""

_STORED: LiteralString = """
CREATE TEMPORARY TABLE stored ON COMMIT DROP AS
SELECT line, source_topic AS topic, source_partition AS partition, source_offset AS "offset", source_index AS index,
       found.machine_id, stored_at - ingest_time AS latency
FROM (SELECT *, {stored_at} AS stored_at FROM event WHERE event_type = 'Telemetry Ingest') AS found
LEFT JOIN ledger
ON (ledger."offset", ledger.partition, ledger.index, ledger.topic)
   = (source_offset, source_partition, source_index, source_topic)
   AND (ledger.machine_id, ledger.event_time) = (found.machine_id, found.event_time) AND kind <> 'garbage'
WHERE source_topic = ANY (SELECT DISTINCT topic FROM ledger);
ANALYZE stored
"""
_COMMITTED: LiteralString = "coalesce(pg_xact_commit_timestamp(xmin), stored_time)"

STORED_COMMITTED: LiteralString = _STORED.replace("{stored_at}", _COMMITTED)
"""When a row was stored is when its transaction committed: needs ``track_commit_timestamp``."""

STORED_BEGUN: LiteralString = _STORED.replace("{stored_at}", "stored_time")
"""When a row was stored is when its transaction began."""

LETTERS: LiteralString = """
CREATE TEMPORARY TABLE letter ON COMMIT DROP AS
WITH mine AS (
    SELECT source_topic AS topic, source_partition AS partition, source_offset AS "offset", source_index AS index,
           source_index = 0 AND substring(body FROM 1 FOR 1) = '[' AS whole
    FROM dead_letter
    WHERE consumer_group = %(group)s AND source_topic = ANY (SELECT DISTINCT topic FROM ledger)
)
SELECT line FROM ledger JOIN mine USING (topic, partition, "offset", index)
UNION  -- an array record that was refused as a whole has one dead letter for all its messages
SELECT line FROM ledger JOIN mine USING (topic, partition, "offset")
WHERE whole AND NOT EXISTS (
    SELECT FROM stored
    WHERE (stored.topic, stored.partition, stored."offset") = (mine.topic, mine.partition, mine."offset"))
"""

VERDICTS: LiteralString = """
CREATE TEMPORARY TABLE verdict ON COMMIT DROP AS
WITH kept AS (
    SELECT line, count(*) AS copies, min(latency) AS latency FROM stored WHERE line IS NOT NULL GROUP BY line
),
-- A machine's memory holds its last messages that have a sequence number and were accepted: count them up to each one
remembered AS (
    SELECT line, topic, partition, "offset", index, machine_id, hash, seq, event_time_ms, copies, latency, refused,
           count(copies) FILTER (WHERE seq IS NOT NULL) OVER (
               PARTITION BY hash, machine_id, partition, topic ORDER BY "offset", index) AS messages
    FROM (SELECT *, hashtext(machine_id) AS hash, letter.line IS NOT NULL AS refused  -- numbers sort faster than texts
          FROM ledger LEFT JOIN kept USING (line) LEFT JOIN letter USING (line)
          WHERE kind <> 'garbage') AS sound
),
repeated AS (
    SELECT *, seq IS NOT NULL AND count(*) OVER earlier > 0 AS duplicate,
           NOT bool_and(refused) OVER earlier AS accounted,
           messages - (copies IS NOT NULL)::int - max(messages) FILTER (WHERE copies IS NOT NULL) OVER earlier AS since
    FROM remembered
    WINDOW earlier AS (PARTITION BY hash, machine_id, partition, topic, event_time_ms, seq ORDER BY "offset", index
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT line, copies, latency, duplicate,
       CASE WHEN copies IS NOT NULL THEN CASE WHEN NOT duplicate OR since IS NULL THEN 'stored'
                                              WHEN since < %(memory)s THEN 'again' ELSE 'unverified' END
            WHEN refused THEN 'refused'
            -- Of a message that is missing altogether, only the first is lost
            WHEN duplicate AND coalesce(since < %(memory)s, accounted) THEN 'dropped'
            ELSE 'lost' END AS state
FROM repeated
UNION ALL
SELECT line, NULL, NULL, false, CASE WHEN letter.line IS NULL THEN 'lost' ELSE 'dead letter' END
FROM ledger LEFT JOIN letter USING (line)
WHERE kind = 'garbage';
ANALYZE verdict
"""
"""``stored``, ``again`` (a device's duplicate that should have been dropped), ``unverified`` (one that was out of memory),
``dropped`` (one that was dropped), ``refused``, ``dead letter`` (garbage) or ``lost``; one row per row of the ledger."""

MESSAGES: LiteralString = """
SELECT count(*) AS sent,
       count(copies) AS stored,
       count(*) FILTER (WHERE state = 'lost') AS lost,
       (coalesce(sum(copies - 1), 0) + count(*) FILTER (WHERE state = 'again'))::bigint AS doubled,
       count(*) FILTER (WHERE duplicate) AS device_duplicates,
       count(*) FILTER (WHERE state = 'unverified') AS unverified,
       count(*) FILTER (WHERE state = 'dead letter') AS dead_letters,
       count(*) FILTER (WHERE state = 'refused') AS refused
FROM verdict
"""

LATENCY: LiteralString = """
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM latency)::float8 * 1000)
FROM verdict WHERE latency IS NOT NULL
"""

ANOMALIES: LiteralString = """
WITH truth AS (
    SELECT topic, partition, "offset", index, said ->> 'sensor' AS sensor, said ->> 'kind' AS kind
    FROM (SELECT * FROM ledger WHERE kind <> 'garbage' AND anomalies::text <> '[]') AS spoilt
    JOIN verdict USING (line)
    CROSS JOIN LATERAL json_array_elements(anomalies) AS said
    WHERE copies IS NOT NULL
),
flagged AS (
    SELECT DISTINCT source_topic AS topic, source_partition AS partition, source_offset AS "offset",
           source_index AS index, sensor, anomaly.kind
    FROM anomaly WHERE source_topic = ANY (SELECT DISTINCT topic FROM ledger)
)
SELECT (SELECT count(*) FROM flagged) AS anomalies,
       (SELECT count(*) FROM truth) AS anomalies_true,
       (SELECT count(*) FROM truth JOIN flagged USING (topic, partition, "offset", index, sensor, kind)) AS anomalies_found
"""

WINDOWS: LiteralString = """
CREATE TEMPORARY TABLE compared ON COMMIT DROP AS
WITH expected AS (
    SELECT machine_id, sensor, event_time_ms / %(window_ms)s AS number, count(*) AS count, avg(value) AS mean,
           coalesce(stddev_samp(value), 0) AS sd, min(value) AS min, max(value) AS max
    FROM (SELECT machine_id, event_time_ms, reading.key AS sensor, reading.value::float8 AS value
          FROM ledger JOIN verdict USING (line) CROSS JOIN LATERAL json_each_text(readings) AS reading
          WHERE copies IS NOT NULL) AS readings
    GROUP BY machine_id, sensor, number
),
actual AS (
    SELECT machine_id, sensor, window_start, count, mean,
           CASE WHEN count > 1 THEN sqrt(greatest(m2, 0) / (count - 1)) ELSE 0 END AS sd, min, max
    FROM reading_window
    WHERE machine_id IN (SELECT machine_id FROM ledger WHERE kind <> 'garbage')
       OR source_id IN (SELECT source_id FROM source_progress
                        WHERE consumer_group = %(group)s AND topic IN (SELECT topic FROM ledger))
)
SELECT machine_id, sensor, window_start, a.machine_id IS NOT NULL AS present,
       (a.count, a.min, a.max) IS DISTINCT FROM (e.count, e.min, e.max)
       OR abs(a.mean - e.mean) > 1e-9 * greatest(abs(e.mean), e.sd)
       OR abs(a.sd - e.sd) > 1e-9 * greatest(abs(e.mean), e.sd) AS wrong
FROM (SELECT *, to_timestamp(number * %(window_ms)s / 1000.0::float8) AS window_start FROM expected) AS e
FULL JOIN actual AS a USING (machine_id, sensor, window_start)
"""

COMPARED: LiteralString = """
SELECT count(*) FILTER (WHERE present) AS windows, count(*) FILTER (WHERE wrong) AS windows_wrong FROM compared
"""

EXAMPLES: LiteralString = """
(SELECT 'lost ' || concat(topic, ':', partition, ':', "offset", ':', index, ' ', machine_id)
 FROM verdict JOIN ledger USING (line) WHERE state = 'lost' ORDER BY line LIMIT %(most)s)
UNION ALL
(SELECT 'doubled ' || concat(topic, ':', partition, ':', "offset", ':', index, ' ', machine_id)
 FROM verdict JOIN ledger USING (line) WHERE state = 'again' OR copies > 1 ORDER BY line LIMIT %(most)s)
UNION ALL
(SELECT 'unexpected ' || concat(topic, ':', partition, ':', "offset", ':', index, ' ', machine_id)
 FROM stored WHERE line IS NULL ORDER BY topic, partition, "offset", index LIMIT %(most)s)
UNION ALL
(SELECT 'wrong window ' || concat(machine_id, ' ', sensor, ' ', to_char(window_start, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
 FROM compared WHERE wrong ORDER BY machine_id, sensor, window_start LIMIT %(most)s)
"""

BEHIND: LiteralString = """
SELECT topic, partition, min(least(effects_next, windows_next)) FROM source_progress
WHERE consumer_group = %(group)s GROUP BY topic, partition
"""
