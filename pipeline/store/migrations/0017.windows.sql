-- Windows of half a minute, and what follows from them: a minute, five, an hour, a day, by machine and by factory. Operating
-- cycles: sessions of a machine.

-- Rows of before are whole minutes, and so are those of a worker that is not upgraded yet: they do not say how long they are
ALTER TABLE reading_window
    ADD COLUMN very_late_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN length_s smallint NOT NULL DEFAULT 60;
ALTER TABLE machine_state ADD COLUMN very_late bigint NOT NULL DEFAULT 0;
ALTER TABLE source_progress ADD COLUMN events_watermark timestamptz, ADD COLUMN cycles_to timestamptz;

-- A dashboard asks for the minutes of some time. `pipeline migrate` builds it beside its writers where rows are there already
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM reading_window) THEN
        CREATE INDEX IF NOT EXISTS reading_window_minute ON reading_window (
            machine_id, sensor, date_bin('1 minute', window_start, '2000-01-01 00:00:00+00'));
    END IF;
END $$;

-- Every source partition has rows of its own: workers never wait for each other here
CREATE TABLE factory_window (
    factory_id       text             NOT NULL,
    sensor           text             NOT NULL,
    window_start     timestamptz      NOT NULL,
    source_id        int              NOT NULL,
    count            bigint           NOT NULL,
    mean             double precision NOT NULL,
    m2               double precision NOT NULL,
    min              double precision NOT NULL,
    max              double precision NOT NULL,
    last             double precision NOT NULL,
    last_time        timestamptz      NOT NULL,
    last_source      int              NOT NULL,
    last_offset      bigint           NOT NULL,
    last_index       int              NOT NULL,
    late_count       bigint           NOT NULL,
    very_late_count  bigint           NOT NULL,
    updated_at       timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (factory_id, sensor, window_start, source_id)
) WITH (fillfactor = 70);

-- What one source partition has of a machine's cycles; no two rows of a machine and partition are connected
CREATE TABLE operating_cycle (
    machine_id  text        NOT NULL,
    started     timestamptz NOT NULL,
    source_id   int         NOT NULL,
    factory_id  text        NOT NULL,
    ended       timestamptz NOT NULL,
    messages    bigint      NOT NULL,
    gap_ms      bigint      NOT NULL,
    goes_on     boolean     NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (machine_id, started, source_id)
) WITH (fillfactor = 70);

CREATE TABLE cycle_reading (
    machine_id  text             NOT NULL,
    started     timestamptz      NOT NULL,
    source_id   int              NOT NULL,
    sensor      text             NOT NULL,
    count       bigint           NOT NULL,
    mean        double precision NOT NULL,
    m2          double precision NOT NULL,
    min         double precision NOT NULL,
    max         double precision NOT NULL,
    last_time   timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (machine_id, started, source_id, sensor)
) WITH (fillfactor = 70);

-- Cycles grow together when a late message comes between them: then rows go
GRANT SELECT, INSERT, UPDATE ON factory_window TO pipeline_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON operating_cycle, cycle_reading TO pipeline_worker;

-- How far every source partition has come
CREATE VIEW source_reached AS
SELECT source_id, min(watermark) AS watermark, min(cycles_to) AS cycles_to FROM source_progress GROUP BY source_id;

CREATE OR REPLACE VIEW dashboard.freshness AS
SELECT cluster, consumer_group, topic, partition,
       effects_next AS event_offset,
       effects_time AS event_time,
       windows_next AS window_offset,
       watermark AS windows_complete_to,
       updated_at,
       worker,
       events_watermark AS events_complete_to,
       cycles_to AS cycles_complete_to
FROM source_progress;

-- Windows of one length, made of the rows of a table. Means and squared deviations of several rows together are those of Chan,
-- Golub & LeVeque 1979. PostgreSQL raises an error where a result is too small for a float8, hence what looks at 1e-…
CREATE FUNCTION pg_temp.make_window_view(
    name text, source text, key text, factory text, size text, begins text, steps text) RETURNS void
LANGUAGE plpgsql
AS $make$
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW dashboard.%1$I AS
        SELECT %3$s, window_start,
               window_start + interval %5$L AS window_end,
               count, mean,
               CASE WHEN count > 1 AND m2 > 1e-300 THEN sqrt(m2 / (count - 1)) ELSE 0 END AS stddev,
               min, max, last, last_time, late_count, complete, updated_at, very_late_count
        FROM (
            SELECT %4$s, window_start,
                   sum(count)::bigint AS count, max(mean_of_all) AS mean,
                   sum(m2 + CASE WHEN abs(mean - mean_of_all) < 1e-161 THEN 0
                                 ELSE count * ((mean - mean_of_all) * (mean - mean_of_all)) END) AS m2,
                   min(min) AS min, max(max) AS max,
                   (array_agg(last ORDER BY last_time DESC, last_source DESC, last_offset DESC, last_index DESC))[1] AS last,
                   max(last_time) AS last_time, sum(late_count)::bigint AS late_count,
                   bool_and(coalesce(window_start + interval %5$L <= watermark, false)) AS complete,
                   max(updated_at) AS updated_at, sum(very_late_count)::bigint AS very_late_count
            FROM (
                SELECT whole.*,
                       CASE WHEN abs(sum(mean * count) OVER of_window) < 1e-290 THEN 0
                            ELSE (sum(mean * count) OVER of_window) / (sum(count) OVER of_window)::float8
                       END AS mean_of_all
                FROM (
                    SELECT r.factory_id, %6$s AS window_start, r.count, r.mean, r.m2, r.min, r.max, r.last, r.last_time,
                           r.last_source, r.last_offset, r.last_index, r.late_count, r.very_late_count, r.updated_at,
                           %7$s p.watermark
                    FROM %2$I AS r LEFT JOIN source_reached AS p USING (source_id) %8$s
                ) AS whole
                WINDOW of_window AS (PARTITION BY %9$s, window_start)
            ) AS part
            GROUP BY %9$s, window_start
        ) AS made
        $view$,
        name, source,
        CASE WHEN factory = '' THEN 'factory_id, sensor' ELSE 'machine_id, factory_id, sensor' END,
        CASE WHEN factory = '' THEN key ELSE key || ', ' || factory END,
        size, begins,
        CASE WHEN factory = '' THEN 'r.sensor,' ELSE 'r.machine_id, r.sensor,' END,
        steps, key);
END
$make$;

DO $$
DECLARE
    -- Of the row that has the last reading
    factory CONSTANT text := '(array_agg(factory_id ORDER BY last_time DESC, last_source DESC, last_offset DESC,'
        || ' last_index DESC))[1] AS factory_id';
    bin CONSTANT text := 'date_bin(%L, r.window_start, ''2000-01-01 00:00:00+00'')';
BEGIN
    PERFORM pg_temp.make_window_view(
        name, source, key, CASE WHEN key LIKE 'machine_id%' THEN factory ELSE '' END, size, begins, steps)
    FROM (VALUES
        ('reading_window', 'reading_window', 'machine_id, sensor', '1 minute', format(bin, '1 minute'), ''),
        ('reading_window_5min', 'reading_window', 'machine_id, sensor', '5 minutes',
         format(bin, '1 minute') || ' - step * interval ''1 minute''', 'CROSS JOIN generate_series(0, 4) AS step'),
        ('reading_hour', 'reading_window', 'machine_id, sensor', '1 hour', format(bin, '1 hour'), ''),
        ('reading_day', 'reading_window', 'machine_id, sensor', '24 hours', format(bin, '24 hours'), ''),
        ('factory_window', 'factory_window', 'factory_id, sensor', '1 minute', 'r.window_start', ''),
        ('factory_hour', 'factory_window', 'factory_id, sensor', '1 hour', format(bin, '1 hour'), ''),
        ('factory_day', 'factory_window', 'factory_id, sensor', '24 hours', format(bin, '24 hours'), '')
    ) AS wanted (name, source, key, size, begins, steps);
END $$;

CREATE VIEW dashboard.reading_window_30s AS
SELECT w.machine_id, w.factory_id, w.sensor, w.window_start,
       w.window_start + interval '30 seconds' AS window_end,
       w.count, w.mean,
       CASE WHEN w.count > 1 AND w.m2 > 1e-300 THEN sqrt(w.m2 / (w.count - 1)) ELSE 0 END AS stddev,
       w.min, w.max, w.last, w.last_time, w.late_count,
       coalesce(w.window_start + interval '30 seconds' <= p.watermark, false) AS complete,
       w.updated_at, w.very_late_count
FROM reading_window AS w LEFT JOIN source_reached AS p USING (source_id)
WHERE w.length_s = 30;

CREATE OR REPLACE VIEW dashboard.machine_state AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.readings, s.last_seen, a.last_anomaly,
       s.messages, s.duplicates, s.late, s.unverified, s.first_seen, s.updated_at, s.line_id, s.very_late
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT event_time AS last_anomaly FROM anomaly WHERE anomaly.machine_id = s.machine_id
    ORDER BY event_time DESC LIMIT 1
) AS a ON true;

-- Pieces of a machine's cycles with the cycle they belong to: of a machine that moved, two partitions may have some of one cycle
CREATE VIEW cycle_piece AS
SELECT machine_id, started, source_id, factory_id, ended, messages, goes_on, updated_at,
       min(started) OVER of_cycle AS cycle_started, max(ended) OVER of_cycle AS cycle_ended
FROM (
    SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY machine_id ORDER BY started, source_id) AS number
    FROM (
        SELECT *, started > gap_ms * interval '1 millisecond' + max(ended) OVER (
                   PARTITION BY machine_id ORDER BY started, source_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ) IS NOT FALSE AS begins
        FROM operating_cycle
    ) AS told
) AS numbered
WINDOW of_cycle AS (PARTITION BY machine_id, number);

CREATE VIEW dashboard.operating_cycle AS
SELECT machine_id, (array_agg(factory_id ORDER BY ended DESC))[1] AS factory_id,
       cycle_started AS started, cycle_ended AS ended, cycle_ended - cycle_started AS duration,
       sum(messages)::bigint AS messages,
       bool_and(coalesce(cycle_ended < cycles_to, false) AND (NOT goes_on OR ended < cycle_ended)) AS complete,
       max(updated_at) AS updated_at
FROM cycle_piece LEFT JOIN source_reached USING (source_id)
GROUP BY machine_id, cycle_started, cycle_ended;

CREATE VIEW dashboard.cycle_rolling AS
SELECT machine_id, factory_id, sensor, started, ended, count, mean,
       CASE WHEN count > 1 AND m2 > 1e-300 THEN sqrt(m2 / (count - 1)) ELSE 0 END AS stddev,
       min, max, complete,
       count(*) OVER last_five AS cycles, avg(mean) OVER last_five AS rolling_mean, max(max) OVER last_five AS rolling_max
FROM (
    SELECT machine_id, (array_agg(factory_id ORDER BY last_time DESC))[1] AS factory_id, sensor, cycle_started AS started,
           cycle_ended AS ended, sum(count)::bigint AS count, max(mean_of_all) AS mean,
           sum(m2 + CASE WHEN abs(mean - mean_of_all) < 1e-161 THEN 0
                         ELSE count * ((mean - mean_of_all) * (mean - mean_of_all)) END) AS m2,
           min(min) AS min, max(max) AS max, bool_and(complete) AS complete
    FROM (
        SELECT r.*, p.factory_id, p.cycle_started, p.cycle_ended, o.complete,
               CASE WHEN abs(sum(r.mean * r.count) OVER of_cycle) < 1e-290 THEN 0
                    ELSE (sum(r.mean * r.count) OVER of_cycle) / (sum(r.count) OVER of_cycle)::float8 END AS mean_of_all
        FROM cycle_reading AS r
        JOIN cycle_piece AS p USING (machine_id, started, source_id)
        JOIN dashboard.operating_cycle AS o ON (o.machine_id, o.started) = (r.machine_id, p.cycle_started)
        WINDOW of_cycle AS (PARTITION BY r.machine_id, r.sensor, p.cycle_started)
    ) AS part
    GROUP BY machine_id, sensor, cycle_started, cycle_ended
) AS made
WINDOW last_five AS (PARTITION BY machine_id, sensor ORDER BY started ROWS 4 PRECEDING);

GRANT SELECT ON ALL TABLES IN SCHEMA dashboard TO pipeline_worker, pipeline_dashboard;
