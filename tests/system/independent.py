"""What the tables should hold, computed by PostgreSQL from the rows of ``event`` alone: nothing of the pipeline's code."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

# The definition of the spike detector once more, as an aggregate: (mean, variance, seen, streak, score, expected)
DETECTOR = """
CREATE FUNCTION pg_temp.spike_step(s float8[], x float8) RETURNS float8[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE score float8 := 0; rate float8; step float8; mean float8;
BEGIN
    IF s[3] >= 30 THEN
        score := (x - s[1]) / greatest(sqrt(s[2]), 1e-6 * abs(s[1]) + 1e-12);
    END IF;
    IF abs(score) > 4.5 THEN
        IF s[4] + 1 < 20 THEN
            RETURN ARRAY[s[1], s[2], s[3], s[4] + 1, score, s[1]];
        END IF;
        RETURN ARRAY[x, 0, 1, 0, score, s[1]];
    END IF;
    rate := greatest(0.03, 1 / (s[3] + 1));
    step := x - s[1];
    mean := s[1] + rate * step;
    RETURN ARRAY[mean, (1 - rate) * (s[2] + rate * step * step), s[3] + 1, 0, score, s[1]];
END $$;
CREATE AGGREGATE pg_temp.spike(float8) (SFUNC = pg_temp.spike_step, STYPE = float8[], INITCOND = '{0,0,0,0,0,0}');
"""

READINGS = """
CREATE TEMPORARY TABLE reading AS
SELECT machine_id, factory_id, source_topic, source_partition, source_offset, source_index, event_time, r.key AS sensor,
       r.value::text::float8 AS value, p.source_id
FROM event
LEFT JOIN (SELECT DISTINCT topic, partition, source_id FROM source_progress) AS p
  ON (p.topic, p.partition) = (source_topic, source_partition),
     LATERAL json_each(CASE WHEN body -> 'readings' IS NOT NULL THEN body -> 'readings' ELSE json_build_object(
        'temperature', body -> 'machine' -> 'temperature', 'pressure', body -> 'machine' -> 'pressure',
        'electricity', body -> 'machine' -> 'electricityUtilization',
        'ambient_temperature', body -> 'ambient' -> 'temperature', 'humidity', body -> 'ambient' -> 'humidity') END) AS r
WHERE event_type = 'Telemetry Ingest'
"""

WRONG_ANOMALIES = """
WITH scored AS (
    SELECT *, pg_temp.spike(value) OVER (
        PARTITION BY machine_id, sensor ORDER BY source_topic, source_partition, source_offset, source_index) AS s
    FROM reading
), wanted AS (
    SELECT machine_id, source_topic, source_partition, source_offset, source_index, sensor, value, s[6] AS expected,
           abs(s[5]) AS score, CASE WHEN s[5] > 0 THEN 'spike' ELSE 'dip' END AS kind
    FROM scored WHERE abs(s[5]) > 4.5
)
SELECT count(*) FILTER (
           WHERE w.score IS NULL OR a.score IS NULL OR a.value <> w.value
              OR abs(a.score - w.score) > 1e-9 * w.score OR abs(a.expected - w.expected) > 1e-9 * abs(w.expected)),
       count(*)
FROM wanted AS w
FULL JOIN (SELECT * FROM anomaly WHERE kind <> 'device_silent') AS a
    USING (machine_id, source_topic, source_partition, source_offset, source_index, sensor, kind)
"""

WRONG_WINDOWS = """
WITH wanted AS (
    SELECT {key}, sensor, date_bin('{length}', event_time, '2000-01-01Z') AS window_start, count(*), avg(value) AS mean,
           coalesce(stddev_samp(value), 0) AS sd, min(value), max(value),
           (array_agg(value ORDER BY event_time DESC, source_id DESC, source_offset DESC, source_index DESC))[1] AS last
    FROM reading GROUP BY 1, 2, 3
)
SELECT count(*) FILTER (
           WHERE t.count IS NULL OR w.count IS NULL OR (t.count, t.min, t.max, t.last) <> (w.count, w.min, w.max, w.last)
              OR abs(t.mean - w.mean) > 1e-9 * greatest(abs(w.mean), w.sd)
              OR abs(sqrt(t.m2 / greatest(t.count - 1, 1)) - w.sd) > 1e-9 * greatest(abs(w.mean), w.sd)),
       count(*)
FROM wanted AS w FULL JOIN {table} AS t USING ({key}, sensor, window_start)
"""
WRONG_READING_WINDOWS = WRONG_WINDOWS.format(key="machine_id", length="30 s", table="reading_window")
# Of several source partitions
WRONG_FACTORY_WINDOWS = WRONG_WINDOWS.format(
    key="factory_id",
    length="1 min",
    table="(SELECT *, stddev * stddev * (count - 1) AS m2 FROM {factories})",
)


def compare(connection: psycopg.Connection, factories: str = "dashboard.factory_window") -> dict[str, tuple[int, int]]:
    """Return (rows that differ, rows) of the windows, of machines and of factories, and the anomalies.

    Parameters
    ----------
    factories
        The relation that has the windows of factories.
    """
    connection.execute("SET max_parallel_workers_per_gather = 0")
    connection.execute(READINGS)
    connection.execute(DETECTOR)
    return {
        "windows": _both(
            connection.execute(query).fetchone()
            for query in (WRONG_READING_WINDOWS, WRONG_FACTORY_WINDOWS.format(factories=factories))
        ),
        "anomalies": connection.execute(WRONG_ANOMALIES).fetchone(),
    }


def _both(found: Iterable[tuple[int, int]]) -> tuple[int, int]:
    wrong, rows = zip(*found, strict=True)
    return sum(wrong), sum(rows)
