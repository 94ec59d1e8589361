"""The statements of :mod:`tests.chaos.comparison`: what is taken from PostgreSQL, and what DuckDB makes of ledger and export.

``pos`` is the record's offset (a word of SQL); ``number`` stands for a machine, since numbers sort faster than texts.
"""

from __future__ import annotations

SENSORS = ("temperature", "pressure", "electricity", "ambient_temperature", "humidity")
MEMORY = 64
"""Accepted messages of a machine in which its duplicates are looked for."""

_KEY = {"partition": "INT", "pos": "BIGINT", "index": "INT"}
_TIME = "(extract(epoch FROM {}) * 1000)::bigint"
_OF_TOPIC = "source_topic = {topic}"
_OF_SOURCE = "source_id IN (SELECT source_id FROM source_progress WHERE topic = {topic} AND consumer_group = {group})"

EXPORTS: dict[str, tuple[str, dict[str, str]]] = {
    "event": (
        f"SELECT source_partition, source_offset, source_index, machine_id, factory_id, {_TIME.format('event_time')},"
        f" md5((body -> 'readings')::text) FROM event WHERE event_type = 'Telemetry Ingest' AND {_OF_TOPIC}",
        {**_KEY, "machine_id": "VARCHAR", "factory_id": "VARCHAR", "time_ms": "BIGINT", "hash": "VARCHAR"},
    ),
    "derived": (
        "SELECT source_partition, source_offset, source_index, machine_id, replace(lower(substring(event_type FROM"
        f" '(.*) Anomaly')), ' ', '_') FROM event WHERE event_type LIKE '% Anomaly' AND {_OF_TOPIC}",
        {**_KEY, "machine_id": "VARCHAR", "sensor": "VARCHAR"},
    ),
    "anomaly": (
        "SELECT source_partition, source_offset, source_index, machine_id, sensor, kind, value, expected, score"
        f" FROM anomaly WHERE kind <> 'device_silent' AND {_OF_TOPIC}",
        {**_KEY, "machine_id": "VARCHAR", "sensor": "VARCHAR", "kind": "VARCHAR"}
        | dict.fromkeys(("value", "expected", "score"), "DOUBLE"),
    ),
    "letter": (
        "SELECT source_partition, source_offset, source_index, reason FROM dead_letter"
        f" WHERE consumer_group = {{group}} AND {_OF_TOPIC}",
        {**_KEY, "reason": "VARCHAR"},
    ),
    "skip": (
        """SELECT partition, "offset", string_agg(DISTINCT reason, ' ') FROM control_record"""
        " WHERE kind = 'skip' AND consumer_group = {group} AND topic = {topic} GROUP BY 1, 2",
        {"partition": "INT", "pos": "BIGINT", "reason": "VARCHAR"},
    ),
    "window": (
        f"SELECT machine_id, sensor, {_TIME.format('window_start')}, factory_id, count, mean, m2, min, max, last, late_count"
        f" FROM reading_window WHERE {_OF_SOURCE}",
        {"machine_id": "VARCHAR", "sensor": "VARCHAR", "start_ms": "BIGINT", "factory_id": "VARCHAR", "count": "BIGINT"}
        | dict.fromkeys(("mean", "m2", "min", "max", "last"), "DOUBLE")
        | {"late": "BIGINT"},
    ),
    "machine": (
        f"SELECT machine_id, factory_id, {_TIME.format('last_seen')}, last_offset, messages, duplicates, late, unverified, "
        + ", ".join(f"(readings ->> '{sensor}')::float8" for sensor in SENSORS)
        + f" FROM machine_state WHERE {_OF_SOURCE}",
        {"machine_id": "VARCHAR", "factory_id": "VARCHAR"}
        | dict.fromkeys(("time_ms", "pos", "messages", "duplicates", "late", "unverified"), "BIGINT")
        | dict.fromkeys(SENSORS, "DOUBLE"),
    ),
}
"""By name: a query for PostgreSQL and the columns it gives, for DuckDB."""

CSV = """auto_detect = false, delim = ',', quote = '"', escape = '"'"""
_LEDGER = (
    "{'topic': 'VARCHAR', 'partition': 'INT', 'offset': 'BIGINT', 'index': 'INT', 'kind': 'VARCHAR', 'fault': 'VARCHAR',"
    " 'machine_id': 'VARCHAR', 'factory_id': 'VARCHAR', 'seq': 'BIGINT', 'event_time_ms': 'BIGINT',"
    " 'sent_at_ms': 'BIGINT', 'anomalies': 'VARCHAR', 'readings': 'VARCHAR'}"
)
_SHAPE = "{" + ", ".join(f'"{sensor}":"DOUBLE"' for sensor in SENSORS) + "}"

LOAD_LEDGER = f"""
CREATE TABLE ledger AS
SELECT partition, "offset" AS pos, index, kind, machine_id, factory_id, seq, event_time_ms AS time_ms,
       md5(readings) AS hash, unnest(from_json(readings, '{_SHAPE}'))
FROM read_csv(?, {CSV}, header = true, columns = {_LEDGER})
"""

DECIDE = f"""
CREATE TABLE machine AS
SELECT machine_id, factory_id, row_number() OVER (ORDER BY machine_id) - 1 AS number
FROM (SELECT DISTINCT machine_id, factory_id FROM ledger WHERE kind <> 'garbage');
CREATE TABLE stored_telemetry AS
SELECT partition, pos, index, count(*) AS copies, any_value(machine_id) AS machine_id, any_value(factory_id) AS factory_id,
       any_value(time_ms) AS time_ms, any_value(hash) AS hash
FROM stored_event GROUP BY ALL;
DROP TABLE stored_event;
CREATE TABLE decided AS
WITH sound AS (
    SELECT ledger.*, number, stored_skip.pos IS NOT NULL AS skipped, kind = 'garbage' AS spoilt
    FROM ledger LEFT JOIN stored_skip USING (partition, pos) LEFT JOIN machine USING (machine_id, factory_id)
),
-- How many messages of the machine that could be remembered came up to this one
placed AS (
    SELECT *, count(seq) OVER (PARTITION BY number, partition ORDER BY pos, index) AS place
    FROM sound WHERE NOT skipped AND NOT spoilt
),
compared AS (
    SELECT *, place - first_value(place) OVER copies AS since, row_number() OVER copies > 1 AND seq IS NOT NULL AS again
    FROM placed WINDOW copies AS (PARTITION BY number, partition, seq, time_ms ORDER BY pos, index)
)
SELECT compared.* EXCLUDE (skipped, spoilt, place, since, again), again AND since > {MEMORY} AS undecided,
       CASE WHEN NOT again OR since > {MEMORY} AND stored.pos IS NOT NULL THEN 'accepted' ELSE 'duplicate' END AS fate
FROM compared LEFT JOIN stored_telemetry AS stored USING (partition, pos, index)
UNION ALL
SELECT * EXCLUDE (skipped, spoilt), false, CASE WHEN skipped THEN 'poisoned' ELSE 'garbage' END
FROM sound WHERE skipped OR spoilt;
CREATE TABLE accepted AS
SELECT * EXCLUDE (fate, undecided),
       coalesce((time_ms // 30000 + 1) * 30000 <= max(time_ms) OVER before - 10000, false) AS late,
       seq IS NOT NULL AND count(*) OVER memory = {MEMORY} AND time_ms <= min(time_ms) OVER memory AS unverified
FROM decided WHERE fate = 'accepted'
WINDOW before AS (PARTITION BY partition ORDER BY pos, index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
       memory AS (PARTITION BY number ORDER BY pos, index ROWS BETWEEN {MEMORY} PRECEDING AND 1 PRECEDING);
CREATE TABLE event_judged AS
SELECT concat_ws(':', partition, pos, index, coalesce(stored.machine_id, due.machine_id)) AS key,
       CASE WHEN stored.machine_id IS NULL THEN 'lost' WHEN due.machine_id IS NULL THEN 'unexpected'
            WHEN copies > 1 THEN 'doubled'
            WHEN (stored.machine_id, stored.factory_id, stored.time_ms) <> (due.machine_id, due.factory_id, due.time_ms)
                 OR stored.hash <> due.hash THEN 'changed' END AS wrong
FROM stored_telemetry AS stored FULL JOIN accepted AS due USING (partition, pos, index);
CREATE TABLE letter_judged AS
WITH due AS (
    SELECT partition, pos, index FROM decided WHERE fate = 'garbage'
    UNION  -- a record that is skipped is one dead letter, also if it is an array
    SELECT partition, pos, 0 FROM stored_skip
)
SELECT concat_ws(':', partition, pos, index, reason) AS key,
       CASE WHEN stored.reason IS NULL THEN 'lost' WHEN due.pos IS NULL THEN 'unexpected' END AS wrong
FROM stored_letter AS stored FULL JOIN due USING (partition, pos, index)
"""

NUMBERS = """
SELECT (SELECT count(*) FROM ledger),
       count(*) FILTER (WHERE fate = 'accepted'), count(*) FILTER (WHERE fate = 'garbage'),
       count(*) FILTER (WHERE fate = 'poisoned'), count(*) FILTER (WHERE fate = 'duplicate'),
       count(*) FILTER (WHERE undecided),
       (SELECT count(*) FROM event_judged WHERE wrong = 'lost')
       + (SELECT count(*) FROM letter_judged WHERE wrong = 'lost'),
       (SELECT coalesce(sum(copies - 1), 0) FROM stored_telemetry)
       + (SELECT count(*) FROM event_judged WHERE wrong = 'unexpected'),
       (SELECT count(*) FROM stored_skip), (SELECT count(*) FROM stored_skip WHERE reason <> 'fold_failed')
FROM decided
"""
EVENT = "SELECT * FROM event_judged"
DEAD_LETTER = "SELECT * FROM letter_judged"

_WINDOWS_OF = """
SELECT number, '{sensor}' AS sensor, time_ms // 30000 * 30000 AS start_ms, count(*) AS count, avg({sensor}) AS mean,
       coalesce(stddev_samp({sensor}), 0) AS sd, min({sensor}) AS min, max({sensor}) AS max,
       arg_max({sensor}, (time_ms, pos, index)) AS last, count(*) FILTER (WHERE late) AS late
FROM accepted GROUP BY number, start_ms
"""
READING_WINDOW = f"""
WITH due AS (
    SELECT * FROM ({" UNION ALL ".join(_WINDOWS_OF.format(sensor=sensor) for sensor in SENSORS)}) JOIN machine USING (number)
)
SELECT concat_ws(':', machine_id, sensor, start_ms) AS key,
       CASE WHEN stored.count IS NULL THEN 'lost' WHEN due.count IS NULL THEN 'unexpected'
            WHEN (stored.factory_id, stored.count, stored.min, stored.max, stored.last, stored.late)
                 <> (due.factory_id, due.count, due.min, due.max, due.last, due.late)
                 OR abs(stored.mean - due.mean) > 1e-9 * greatest(abs(due.mean), due.sd)
                 OR abs(sqrt(stored.m2 / greatest(stored.count - 1, 1)) - due.sd) > 1e-9 * greatest(abs(due.mean), due.sd)
            THEN 'changed' END AS wrong
FROM stored_window AS stored FULL JOIN due USING (machine_id, sensor, start_ms)
"""

_ANOMALIES = f"""
SELECT partition, pos, index, machine_id, {list(SENSORS)!r}[sensor + 1] AS sensor,
       CASE WHEN score > 0 THEN 'spike' ELSE 'dip' END AS kind, value, expected, abs(score) AS score
FROM expected_anomaly JOIN machine USING (number)
"""
ANOMALY = f"""
WITH due AS ({_ANOMALIES})
SELECT concat_ws(':', partition, pos, index, machine_id, sensor, kind) AS key,
       CASE WHEN stored.score IS NULL THEN 'lost' WHEN due.score IS NULL THEN 'unexpected'
            WHEN stored.value <> due.value OR abs(stored.score - due.score) > 1e-9 * due.score
                 OR abs(stored.expected - due.expected) > 1e-9 * abs(due.expected) THEN 'changed' END AS wrong
FROM stored_anomaly AS stored FULL JOIN due USING (partition, pos, index, machine_id, sensor, kind)
"""
DERIVED_EVENT = f"""
WITH due AS ({_ANOMALIES}),
stored AS (SELECT partition, pos, index, machine_id, sensor, count(*) AS copies FROM stored_derived GROUP BY ALL)
SELECT concat_ws(':', partition, pos, index, machine_id, sensor) AS key,
       CASE WHEN copies IS NULL THEN 'lost' WHEN kind IS NULL THEN 'unexpected' WHEN copies > 1 THEN 'doubled' END AS wrong
FROM stored FULL JOIN due USING (partition, pos, index, machine_id, sensor)
"""

_LAST = ", ".join(f"arg_max({sensor}, (time_ms, pos, index)) AS {sensor}" for sensor in SENSORS)
_COLUMNS = ("factory_id", "time_ms", "pos", "messages", "duplicates", "late", "unverified", *SENSORS)
MACHINE_STATE = f"""
WITH counted AS (
    SELECT number, count(*) AS messages, count(*) FILTER (WHERE late) AS late,
           count(*) FILTER (WHERE unverified) AS unverified, max(time_ms) AS time_ms,
           arg_max(pos, (time_ms, pos, index)) AS pos, {_LAST}
    FROM accepted GROUP BY number
),
dropped AS (SELECT number, count(*) AS duplicates FROM decided WHERE fate = 'duplicate' GROUP BY number),
due AS (
    SELECT * REPLACE (coalesce(duplicates, 0) AS duplicates)
    FROM counted JOIN machine USING (number) LEFT JOIN dropped USING (number)
)
SELECT machine_id AS key,
       CASE WHEN stored.messages IS NULL THEN 'lost' WHEN due.messages IS NULL THEN 'unexpected'
            WHEN ({", ".join(f"stored.{name}" for name in _COLUMNS)}) <> ({", ".join(f"due.{name}" for name in _COLUMNS)})
            THEN 'changed' END AS wrong
FROM stored_machine AS stored FULL JOIN due USING (machine_id)
"""
