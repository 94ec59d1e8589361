-- Overall equipment effectiveness and yields out of quality reports, and the plant from factory to sensor with its state.
--
-- What reports say is shared out over calendar days and shifts and summed up by machine in oee_part; workers keep that up to
-- date by what changed since, which oee_stale says. It is a function of quality_report and metadata_entity alone: it does
-- not matter in which order they changed, nor when it was brought up to date.

-- One row for each thing that changed: reports of a machine and a stretch of time
CREATE TABLE oee_stale (
    id          bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    machine_id  text         NOT NULL,
    factory_id  text         NOT NULL,
    from_time   timestamptz  NOT NULL,
    to_time     timestamptz  NOT NULL,
    noted_at    timestamptz  NOT NULL DEFAULT now()
);
CREATE INDEX oee_stale_newest ON oee_stale (to_time DESC);

-- The time zone and the shifts by which a factory's reports are shared out; without a row it has UTC and no shifts
CREATE TABLE oee_calendar (
    factory_id  text   PRIMARY KEY,
    rules       jsonb  NOT NULL
);

-- shift_id is empty for the whole day. is_planned: of reports with planned time, which count for the effectiveness
CREATE TABLE oee_part (
    machine_id    text              NOT NULL,
    date          date              NOT NULL,
    shift_id      text              NOT NULL,
    factory_id    text              NOT NULL,
    line_id       text              NOT NULL,
    sku           text              NOT NULL,
    is_planned    boolean           NOT NULL,
    starts_at     timestamptz       NOT NULL,
    ends_at       timestamptz       NOT NULL,
    reports       bigint            NOT NULL,
    over_planned  bigint            NOT NULL,
    planned_s     double precision  NOT NULL,
    available_s   double precision  NOT NULL,
    run_s         double precision  NOT NULL,
    ideal_s       double precision  NOT NULL,
    good          double precision  NOT NULL,
    snag          double precision  NOT NULL,
    reject        double precision  NOT NULL,
    updated_at    timestamptz       NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (machine_id, date, shift_id, factory_id, line_id, sku, is_planned)
);
CREATE INDEX oee_part_factory_date ON oee_part (factory_id, date);

-- A time of any size goes through sums, products and quotients without an underflow or an overflow, which would be errors
CREATE FUNCTION seconds_within_reason(s double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE
AS $$ SELECT CASE WHEN s >= 1e-6 THEN least(s, 1e12) ELSE 0 END $$;

-- A wrong year in one report must not make rows for every day between
CREATE VIEW judged_report AS
SELECT machine_id, factory_id, line_id, sku, period_start, period_end, good, snag, reject, reported_at, event_id,
       seconds_within_reason(planned_s) AS planned_s,
       seconds_within_reason(run_s) AS run_s,
       seconds_within_reason(ideal_cycle_s) AS ideal_cycle_s,
       period_end - period_start > interval '31 days' AS too_long,
       counts AND period_end > period_start AND period_end - period_start <= interval '31 days' AS counts
FROM dashboard.quality_report;

CREATE FUNCTION known_time_zone(name text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    PERFORM now() AT TIME ZONE name;
    RETURN coalesce(name, 'UTC');
EXCEPTION
    WHEN invalid_parameter_value THEN RETURN 'UTC';
END
$$;

CREATE VIEW factory_shift AS
SELECT shift_id, factory_id, starts, ends, weekdays
FROM (
    SELECT id AS shift_id, body ->> 'factory_id' AS factory_id,
           CASE WHEN body ->> 'start' ~ '^([01]\d|2[0-3]):[0-5]\d$' THEN (body ->> 'start')::time END AS starts,
           CASE WHEN body ->> 'end' ~ '^(([01]\d|2[0-3]):[0-5]\d|24:00)$' THEN (body ->> 'end')::time END AS ends,
           CASE WHEN jsonb_typeof(body -> 'weekdays') = 'array' THEN body -> 'weekdays' ELSE '[1, 2, 3, 4, 5, 6, 7]' END AS weekdays
    FROM metadata_entity WHERE kind = 'shift' AND NOT removed AND id <> ''
) AS shift
WHERE starts IS NOT NULL AND ends IS NOT NULL;

CREATE VIEW calendar_rules AS
SELECT factory_id, jsonb_build_object(
    'time_zone', known_time_zone(factory.body ->> 'time_zone'), 'shifts', coalesce(of.shifts, '[]')) AS rules
FROM (
    SELECT id AS factory_id FROM metadata_entity WHERE kind = 'factory' AND NOT removed UNION SELECT factory_id FROM factory_shift
) AS known
LEFT JOIN metadata_entity AS factory ON factory.kind = 'factory' AND factory.id = factory_id AND NOT factory.removed
LEFT JOIN (
    SELECT factory_id, jsonb_agg(jsonb_build_object('id', shift_id, 'starts', starts, 'ends', ends, 'weekdays', weekdays)
        ORDER BY shift_id) AS shifts
    FROM factory_shift GROUP BY factory_id
) AS of USING (factory_id);

-- The days and shifts that some time of a factory has a part of. A shift is of the day on which it begins
CREATE FUNCTION factory_calendar(factory text, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (shift_id text, date date, starts_at timestamptz, ends_at timestamptz)
LANGUAGE sql STABLE
AS $$
    WITH calendar AS MATERIALIZED (
        SELECT coalesce(max(rules ->> 'time_zone'), 'UTC') AS zone, coalesce(max((rules -> 'shifts')::text), '[]')::jsonb AS shifts
        FROM oee_calendar WHERE factory_id = factory
    ), day AS (
        SELECT zone, shifts, (from_time AT TIME ZONE zone)::date + n AS date
        FROM calendar,
             generate_series(-1, (to_time AT TIME ZONE zone)::date - (from_time AT TIME ZONE zone)::date) AS n
    ), span AS (
        SELECT '' AS shift_id, date, date::timestamp AT TIME ZONE zone AS starts_at,
               (date + 1)::timestamp AT TIME ZONE zone AS ends_at
        FROM day
        UNION ALL
        SELECT shift.id, day.date, (day.date + shift.starts) AT TIME ZONE zone,
               (day.date + (shift.ends <= shift.starts)::int + shift.ends) AT TIME ZONE zone
        FROM day CROSS JOIN LATERAL jsonb_to_recordset(shifts) AS shift (id text, starts time, ends time, weekdays jsonb)
        WHERE shift.weekdays @> to_jsonb(extract(isodow FROM day.date)::int)
    )
    SELECT span.shift_id, span.date, span.starts_at, span.ends_at FROM span
    WHERE span.starts_at < to_time AND span.ends_at > from_time AND span.ends_at > span.starts_at
$$;

CREATE FUNCTION note_stale_reports() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM oee_part;
        DELETE FROM oee_stale;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO oee_stale (machine_id, factory_id, from_time, to_time)
        SELECT machine_id, factory_id, min(period_start), max(period_end) FROM added
        GROUP BY machine_id, factory_id, date_trunc('day', period_start), period_end - period_start > interval '31 days';
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO oee_stale (machine_id, factory_id, from_time, to_time)
        SELECT machine_id, factory_id, min(period_start), max(period_end) FROM gone
        GROUP BY machine_id, factory_id, date_trunc('day', period_start), period_end - period_start > interval '31 days';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER oee_added AFTER INSERT ON quality_report REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION note_stale_reports();
CREATE TRIGGER oee_changed AFTER UPDATE ON quality_report REFERENCING OLD TABLE AS gone NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION note_stale_reports();
CREATE TRIGGER oee_emptied AFTER TRUNCATE ON quality_report FOR EACH STATEMENT EXECUTE FUNCTION note_stale_reports();
CREATE TRIGGER oee_gone AFTER DELETE ON quality_report REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_stale_reports();

CREATE TYPE oee_span AS (
    machine_id text, factory_id text, shift_id text, date date, starts_at timestamptz, ends_at timestamptz
);

-- Sums up anew what changed, the newest first, and as much of it as wanted; returns how many rows of oee_stale it dealt with.
-- Call it until it returns 0. One does it at a time, and nobody who stores or asks is held up
CREATE FUNCTION refresh_oee(most int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    dealt_with int;
    due oee_span[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('pipeline oee ' || current_schema(), 0)) THEN
        RETURN 0;
    END IF;
    -- Another calendar: all that there is of the factory, day by day. What is not summed up yet is in the list itself
    WITH changed AS (
        SELECT factory_id, present.rules
        FROM calendar_rules AS present FULL JOIN oee_calendar AS past USING (factory_id)
        WHERE present.rules IS DISTINCT FROM past.rules
    ), gone AS (
        DELETE FROM oee_calendar AS past USING changed WHERE past.factory_id = changed.factory_id AND changed.rules IS NULL
    ), noted AS (
        INSERT INTO oee_calendar (factory_id, rules) SELECT factory_id, rules FROM changed WHERE rules IS NOT NULL
        ON CONFLICT (factory_id) DO UPDATE SET rules = excluded.rules
    )
    INSERT INTO oee_stale (machine_id, factory_id, from_time, to_time)
    SELECT DISTINCT machine_id, factory_id, starts_at, ends_at FROM oee_part JOIN changed USING (factory_id) WHERE shift_id = '';

    WITH taken AS (
        DELETE FROM oee_stale WHERE id IN (SELECT id FROM oee_stale ORDER BY to_time DESC LIMIT most)
        RETURNING machine_id, factory_id, from_time, to_time
    ), touched AS MATERIALIZED (
        -- One period of up to 31 days, or several that begin on one day. Of a longer one nothing is summed up
        SELECT machine_id, factory_id, from_time, to_time FROM taken WHERE to_time - from_time <= interval '32 days'
        UNION
        -- Reports that reach over its ends, in all of their time: they are replaced, or count again without it
        SELECT taken.machine_id, r.factory_id, r.period_start, r.period_end
        FROM taken CROSS JOIN LATERAL (
            SELECT factory_id, period_start, period_end FROM quality_report
            WHERE machine_id = taken.machine_id AND tstzrange(period_start, period_end) @> taken.from_time
              AND period_start <= taken.from_time AND period_start >= taken.from_time - interval '32 days'
              AND period_end - period_start <= interval '31 days'
            UNION ALL
            SELECT factory_id, period_start, period_end FROM quality_report
            WHERE machine_id = taken.machine_id AND tstzrange(period_start, period_end) @> taken.to_time
              AND period_start <= taken.to_time AND period_start >= taken.to_time - interval '32 days'
              AND period_end - period_start <= interval '31 days'
        ) AS r
        -- Those within, if they are of another factory; and of a period that is too long, which has no time of its own here
        UNION
        SELECT taken.machine_id, r.factory_id, r.period_start, r.period_end
        FROM taken CROSS JOIN LATERAL (
            SELECT factory_id, period_start, period_end FROM quality_report
            WHERE machine_id = taken.machine_id
              AND tstzrange(period_start, period_end) && tstzrange(taken.from_time, taken.to_time)
              AND period_start < taken.to_time AND period_start >= taken.from_time - interval '32 days'
              AND period_end - period_start <= interval '31 days'
            OFFSET 0
        ) AS r
        WHERE r.factory_id <> taken.factory_id OR taken.to_time - taken.from_time > interval '32 days'
    ), calendar AS MATERIALIZED (
        SELECT t.factory_id, t.from_time, t.to_time, c.shift_id, c.date, c.starts_at, c.ends_at
        FROM (SELECT DISTINCT factory_id, from_time, to_time FROM touched) AS t
        CROSS JOIN LATERAL factory_calendar(t.factory_id, t.from_time, t.to_time) AS c
    ), span AS (
        SELECT t.machine_id, t.factory_id, c.shift_id, c.date, c.starts_at, c.ends_at
        FROM touched AS t JOIN calendar AS c USING (factory_id, from_time, to_time)
        UNION
        -- What was summed up of that time by another calendar goes, or is summed up anew
        SELECT t.machine_id, t.factory_id, p.shift_id, p.date, NULL, NULL
        FROM touched AS t JOIN oee_part AS p
          ON p.machine_id = t.machine_id AND p.factory_id = t.factory_id AND p.starts_at < t.to_time AND p.ends_at > t.from_time
         AND p.date BETWEEN t.from_time::date - 3 AND t.to_time::date + 2
    )
    SELECT (SELECT count(*) FROM taken), (
        SELECT array_agg(ROW(machine_id, factory_id, shift_id, date, starts_at, ends_at)::oee_span) FROM span
    ) INTO dealt_with, due;

    DELETE FROM oee_part AS p USING (SELECT DISTINCT machine_id, factory_id, shift_id, date FROM unnest(due)) AS d
    WHERE p.machine_id = d.machine_id AND p.date = d.date AND p.shift_id = d.shift_id AND p.factory_id = d.factory_id;

    WITH span AS MATERIALIZED (
        SELECT * FROM unnest(due) WHERE starts_at IS NOT NULL
    ), reach AS (
        SELECT machine_id, near, lag(upper(near), 1, '-infinity') OVER (PARTITION BY machine_id ORDER BY near) AS looked_at
        FROM (SELECT machine_id, unnest(range_agg(tstzrange(starts_at, ends_at))) AS near FROM span GROUP BY machine_id) AS s
    ), report AS MATERIALIZED (
        SELECT r.* FROM reach CROSS JOIN LATERAL (
            SELECT * FROM judged_report
            WHERE machine_id = reach.machine_id AND tstzrange(period_start, period_end) && near
              -- What counts is up to 31 days long; one more for a zone whose clocks are changed
              AND period_start < upper(near) AND period_start >= lower(near) - interval '32 days'
              -- One that reaches over a gap is found from both sides
              AND period_start >= looked_at
            OFFSET 0
        ) AS r WHERE r.counts
    ), piece AS (
        -- Seconds and pieces in proportion to the time
        SELECT s.shift_id, s.date, s.starts_at, s.ends_at, r.*,
               extract(epoch FROM least(r.period_end, s.ends_at) - greatest(r.period_start, s.starts_at))::float8
                   / extract(epoch FROM r.period_end - r.period_start)::float8 AS share,
               r.good::float8 + r.snag + r.reject AS total
        FROM span AS s JOIN report AS r
          ON r.machine_id = s.machine_id AND r.factory_id = s.factory_id
         AND r.period_start < s.ends_at AND r.period_end > s.starts_at
    )
    INSERT INTO oee_part (
        machine_id, date, shift_id, factory_id, line_id, sku, is_planned, starts_at, ends_at, reports, over_planned,
        planned_s, available_s, run_s, ideal_s, good, snag, reject)
    SELECT machine_id, date, shift_id, factory_id, line_id, sku, planned_s > 0, starts_at, ends_at, count(*),
           count(*) FILTER (WHERE planned_s > 0 AND run_s > planned_s), sum(share * planned_s),
           sum(share * least(run_s, planned_s)), sum(share * run_s), sum(share * ideal_cycle_s * total), sum(share * good),
           sum(share * snag), sum(share * reject)
    FROM piece
    GROUP BY machine_id, date, shift_id, factory_id, line_id, sku, planned_s > 0, starts_at, ends_at;
    RETURN dealt_with;
END
$$;

REVOKE ALL ON FUNCTION note_stale_reports, refresh_oee FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_oee TO pipeline_worker;

-- Reports that are there already
INSERT INTO oee_stale (machine_id, factory_id, from_time, to_time)
SELECT machine_id, factory_id, min(period_start), max(period_end) FROM quality_report
GROUP BY machine_id, factory_id, date_trunc('day', period_start), period_end - period_start > interval '31 days';

-- Availability × performance × quality out of seconds and pieces. available_s: the seconds run, of each report at most those planned
CREATE FUNCTION effectiveness(
    planned_s float8, available_s float8, run_s float8, ideal_s float8, good float8, total float8)
RETURNS TABLE (availability float8, performance float8, quality float8, oee float8)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT a, p, q, CASE WHEN a IS NOT NULL THEN coalesce(a * p * q, 0) END
    FROM (SELECT CASE WHEN planned_s > 0 THEN available_s / planned_s END AS a,
                 CASE WHEN run_s > 0 THEN ideal_s / run_s END AS p,
                 CASE WHEN total > 0 THEN good / total END AS q) AS factor
$$;

CREATE VIEW dashboard.oee_report AS
SELECT r.machine_id, r.factory_id, coalesce(nullif(r.line_id, ''), m.body ->> 'line_id', '') AS line_id, r.sku,
       r.period_start, r.period_end, r.planned_s, r.run_s, r.ideal_s, r.good, r.snag, r.reject, r.total,
       e.availability, e.performance, e.quality, e.oee, r.counts,
       r.planned_s = 0 AS unplanned,
       r.planned_s > 0 AND r.run_s > r.planned_s AS over_planned,
       coalesce(e.performance > 1, false) AS performance_over,
       s.id IS NULL AS unknown_sku,
       r.too_long, r.reported_at, r.event_id
FROM (
    SELECT *, good::float8 + snag + reject AS total, (good::float8 + snag + reject) * ideal_cycle_s AS ideal_s FROM judged_report
) AS r
CROSS JOIN LATERAL effectiveness(
    r.planned_s, least(r.run_s, r.planned_s), r.run_s, r.ideal_s, r.good::float8, r.total) AS e
LEFT JOIN metadata_entity AS m ON m.kind = 'machine' AND m.id = r.machine_id
LEFT JOIN metadata_entity AS s ON s.kind = 'sku' AND s.id = r.sku AND NOT s.removed;

CREATE VIEW dashboard.oee_freshness AS
SELECT count(*) AS waiting, min(noted_at) AS waiting_since FROM oee_stale;

-- Every machine that is registered or was seen, pumps too: where it is, and how it is doing
CREATE VIEW plant_machine AS
SELECT k.machine_id,
       coalesce(nullif(m.body ->> 'factory_id', ''), s.factory_id, '') AS factory_id,
       coalesce(m.body ->> 'line_id', '') AS line_id,
       coalesce(nullif(m.body ->> 'machine_type', ''), s.machine_type, '') AS machine_type,
       m.id IS NOT NULL AS registered,
       nullif(m.body ->> 'pump_id', '') AS pump_id,
       s.readings, s.last_seen, a.anomalies AS anomalies_last_hour,
       CASE WHEN m.body ->> 'status' = 'disabled' THEN 'disabled'
            WHEN s.last_seen IS NULL THEN 'unseen'
            WHEN s.last_seen < now() - interval '1 minute' THEN 'silent'
            WHEN a.anomalies > 0 THEN 'warning'
            ELSE 'normal' END AS condition
FROM (
    SELECT machine_id FROM machine_state UNION SELECT id FROM metadata_entity WHERE kind = 'machine' AND NOT removed
) AS k
LEFT JOIN metadata_entity AS m ON m.kind = 'machine' AND m.id = k.machine_id AND NOT m.removed
LEFT JOIN machine_state AS s ON s.machine_id = k.machine_id
CROSS JOIN LATERAL (
    SELECT count(*) AS anomalies FROM anomaly
    WHERE anomaly.machine_id = k.machine_id AND event_time > now() - interval '1 hour'
) AS a;

CREATE VIEW plant_line AS
SELECT k.factory_id, k.line_id, l.body ->> 'name' AS line_name
FROM (
    SELECT coalesce(body ->> 'factory_id', '') AS factory_id, id AS line_id FROM metadata_entity WHERE kind = 'line' AND NOT removed
    UNION SELECT factory_id, line_id FROM plant_machine
) AS k
LEFT JOIN metadata_entity AS l ON l.kind = 'line' AND l.id = k.line_id AND NOT l.removed;

CREATE VIEW plant_factory AS
SELECT k.factory_id, f.body ->> 'name' AS factory_name, known_time_zone(f.body ->> 'time_zone') AS time_zone
FROM (SELECT id AS factory_id FROM metadata_entity WHERE kind = 'factory' AND NOT removed UNION SELECT factory_id FROM plant_line) AS k
LEFT JOIN metadata_entity AS f ON f.kind = 'factory' AND f.id = k.factory_id AND NOT f.removed;

-- Those that reports are expected of
CREATE VIEW registered_machines AS
SELECT body ->> 'factory_id' AS factory_id, coalesce(body ->> 'line_id', '') AS line_id, count(*) AS machines
FROM metadata_entity
WHERE kind = 'machine' AND NOT removed
  AND body ->> 'status' IS DISTINCT FROM 'disabled' AND body ->> 'machine_type' IS DISTINCT FROM 'hvac_pump'
GROUP BY 1, 2;

-- Parts with the line as it is known now where a report names none, and whether the SKU is known
CREATE VIEW placed_part AS
SELECT p.machine_id, p.factory_id, coalesce(nullif(p.line_id, ''), m.body ->> 'line_id', '') AS line_id, p.sku,
       s.body ->> 'name' AS sku_name, s.id IS NULL AS unknown_sku, p.date, p.shift_id, p.starts_at, p.ends_at, p.is_planned,
       p.reports, p.over_planned, p.planned_s, p.available_s, p.run_s, p.ideal_s, p.good, p.snag, p.reject, p.updated_at
FROM oee_part AS p
LEFT JOIN metadata_entity AS m ON m.kind = 'machine' AND m.id = p.machine_id
LEFT JOIN metadata_entity AS s ON s.kind = 'sku' AND s.id = p.sku AND NOT s.removed;

-- Every view of sums has the same columns behind its key. Sums are made of parts, and ratios of sums: a mean of ratios would let a
-- machine that ran for a minute weigh as much as one that ran all day
DO $$
DECLARE
    level record;
    span record;
BEGIN
    FOR level IN VALUES
        ('machine', 'machine_id, factory_id', 'max(line_id) AS line_id', 'line_id', NULL),
        ('line', 'factory_id, line_id', NULL, NULL, 'factory_id, line_id'),
        ('factory', 'factory_id', NULL, NULL, 'factory_id')
    LOOP
        FOR span IN VALUES ('shift', 'shift_id, ', 'n.body ->> ''name'' AS shift_name, ', '<>'), ('day', '', '', '=') LOOP
            EXECUTE format($view$
                CREATE VIEW dashboard.oee_%1$s_%2$s AS
                SELECT %3$s, %4$s %5$s %6$s date, starts_at, ends_at,
                       availability, performance, quality, oee,
                       planned_s / (extract(epoch FROM ends_at - starts_at)::float8 * machines) AS coverage,
                       machines, %7$s reports, planned_s, available_s, run_s, ideal_s, s.good, snag, reject, s.total,
                       unplanned_run_s, unplanned_total, unplanned_reports, over_planned_reports, unknown_sku_reports,
                       coalesce(performance > 1, false) AS performance_over, updated_at
                FROM (
                    SELECT %3$s, %8$s %5$s date, starts_at, ends_at,
                           count(DISTINCT machine_id) AS machines,
                           sum(reports)::bigint AS reports,
                           sum(planned_s) AS planned_s,
                           sum(available_s) AS available_s,
                           coalesce(sum(run_s) FILTER (WHERE is_planned), 0) AS run_s,
                           coalesce(sum(ideal_s) FILTER (WHERE is_planned), 0) AS ideal_s,
                           coalesce(sum(good) FILTER (WHERE is_planned), 0) AS good,
                           coalesce(sum(snag) FILTER (WHERE is_planned), 0) AS snag,
                           coalesce(sum(reject) FILTER (WHERE is_planned), 0) AS reject,
                           coalesce(sum(good + snag + reject) FILTER (WHERE is_planned), 0) AS total,
                           coalesce(sum(run_s) FILTER (WHERE NOT is_planned), 0) AS unplanned_run_s,
                           coalesce(sum(good + snag + reject) FILTER (WHERE NOT is_planned), 0) AS unplanned_total,
                           coalesce(sum(reports) FILTER (WHERE NOT is_planned), 0)::bigint AS unplanned_reports,
                           sum(over_planned)::bigint AS over_planned_reports,
                           coalesce(sum(reports) FILTER (WHERE unknown_sku), 0)::bigint AS unknown_sku_reports,
                           max(updated_at) AS updated_at
                    FROM placed_part WHERE shift_id %9$s ''
                    GROUP BY %3$s, %5$s date, starts_at, ends_at
                ) AS s
                CROSS JOIN LATERAL effectiveness(s.planned_s, s.available_s, s.run_s, s.ideal_s, s.good, s.total) AS e
                %10$s %11$s
            $view$, level.column1, span.column1, level.column2, level.column4 || ',', span.column2, span.column3,
                CASE WHEN level.column5 IS NOT NULL THEN 'coalesce(machines_registered, 0) AS machines_registered,' END,
                level.column3 || ',', span.column4,
                'LEFT JOIN (SELECT ' || level.column5 || ', sum(machines)::bigint AS machines_registered FROM registered_machines'
                    ' GROUP BY ' || level.column5 || ') AS known USING (' || level.column5 || ')',
                CASE WHEN span.column1 = 'shift' THEN 'LEFT JOIN metadata_entity AS n ON n.kind = ''shift'' AND n.id = shift_id' END);
        END LOOP;
    END LOOP;
    FOR span IN VALUES ('shift', 'shift_id, ', '<>'), ('day', '', '=') LOOP
        EXECUTE format($view$
            CREATE VIEW dashboard.yield_sku_%1$s AS
            SELECT factory_id, sku, sku_name, %2$s date, starts_at, ends_at,
                   CASE WHEN total > 0 THEN good / total END AS yield,
                   CASE WHEN total > 0 THEN snag / total END AS snag_rate,
                   CASE WHEN total > 0 THEN reject / total END AS reject_rate,
                   good, snag, reject, total, machines, reports, unknown_sku, updated_at
            FROM (
                SELECT factory_id, sku, sku_name, unknown_sku, %2$s date, starts_at, ends_at,
                       sum(good) AS good, sum(snag) AS snag, sum(reject) AS reject, sum(good + snag + reject) AS total,
                       count(DISTINCT machine_id) AS machines, sum(reports)::bigint AS reports, max(updated_at) AS updated_at
                FROM placed_part WHERE shift_id %3$s ''
                GROUP BY factory_id, sku, sku_name, unknown_sku, %2$s date, starts_at, ends_at
            ) AS s
        $view$, span.column1, span.column2, span.column3);
    END LOOP;
END
$$;

CREATE VIEW dashboard.hierarchy AS
SELECT f.factory_id, f.factory_name, l.line_id, l.line_name, m.machine_id, m.machine_type, m.registered, m.condition, m.last_seen,
       r.key AS sensor, r.value::float8 AS last_value
FROM plant_factory AS f
LEFT JOIN plant_line AS l ON l.factory_id = f.factory_id
LEFT JOIN plant_machine AS m ON m.factory_id = l.factory_id AND m.line_id = l.line_id
LEFT JOIN LATERAL jsonb_each(m.readings) AS r ON true;

-- Of lines and factories alike
DO $$
DECLARE
    level record;
BEGIN
    FOR level IN VALUES
        ('line', 'plant_line', 'factory_id, line_id, line_name AS name', 'factory_id, line_id'),
        ('factory', 'plant_factory', 'factory_id, factory_name AS name, time_zone', 'factory_id')
    LOOP
        EXECUTE format($view$
            CREATE VIEW dashboard.%1$s_state AS
            SELECT %3$s,
                   CASE WHEN coalesce(machines_seen, 0) = 0 THEN 'unseen'
                        WHEN machines_normal + machines_warning = 0 THEN
                            CASE WHEN machines_silent > 0 THEN 'silent' ELSE 'disabled' END
                        WHEN machines_warning + machines_silent > 0 THEN 'warning'
                        ELSE 'normal' END AS condition,
                   coalesce(machines, 0) AS machines, coalesce(machines_seen, 0) AS machines_seen,
                   coalesce(machines_normal, 0) AS machines_normal, coalesce(machines_warning, 0) AS machines_warning,
                   coalesce(machines_silent, 0) AS machines_silent, coalesce(machines_disabled, 0) AS machines_disabled,
                   last_seen, coalesce(anomalies_last_hour, 0)::bigint AS anomalies_last_hour
            FROM %2$s AS place
            LEFT JOIN (
                SELECT %4$s, count(*) AS machines, count(last_seen) AS machines_seen,
                       count(*) FILTER (WHERE condition = 'normal') AS machines_normal,
                       count(*) FILTER (WHERE condition = 'warning') AS machines_warning,
                       count(*) FILTER (WHERE condition = 'silent') AS machines_silent,
                       count(*) FILTER (WHERE condition = 'disabled') AS machines_disabled,
                       max(last_seen) AS last_seen, sum(anomalies_last_hour) AS anomalies_last_hour
                FROM plant_machine GROUP BY %4$s
            ) AS m USING (%4$s)
        $view$, level.column1, level.column2, level.column3, level.column4);
    END LOOP;
END
$$;

CREATE VIEW dashboard.machine_pump AS
SELECT m.machine_id, m.factory_id, m.line_id,
       (m.readings ->> 'temperature')::float8 AS temperature, m.last_seen, m.condition, m.anomalies_last_hour,
       m.pump_id,
       coalesce(p.condition, 'unseen') AS pump_condition, p.last_seen AS pump_last_seen,
       coalesce(p.anomalies_last_hour, 0) AS pump_anomalies_last_hour,
       (p.readings ->> 'power')::float8 AS pump_power,
       (p.readings ->> 'temperature')::float8 AS pump_temperature,
       (p.readings ->> 'suction_pressure')::float8 AS pump_suction_pressure,
       (p.readings ->> 'discharge_pressure')::float8 AS pump_discharge_pressure,
       (p.readings ->> 'vibration')::float8 AS pump_vibration
FROM plant_machine AS m LEFT JOIN plant_machine AS p ON p.machine_id = m.pump_id
WHERE m.pump_id IS NOT NULL;

CREATE VIEW dashboard.anomaly_pump AS
SELECT a.event_id, a.machine_id, a.factory_id, a.event_time, a.sensor, a.kind, m.pump_id,
       p.anomalies AS pump_anomalies, p.latest AS pump_anomaly_time, p.sensors AS pump_sensors
FROM anomaly AS a
JOIN (
    SELECT id, body ->> 'pump_id' AS pump_id FROM metadata_entity WHERE kind = 'machine' AND NOT removed AND body ->> 'pump_id' <> ''
) AS m ON m.id = a.machine_id
CROSS JOIN LATERAL (
    SELECT count(*) AS anomalies, max(event_time) AS latest, array_agg(DISTINCT sensor ORDER BY sensor) AS sensors FROM anomaly
    WHERE machine_id = m.pump_id AND event_time <= a.event_time AND event_time > a.event_time - interval '10 minutes'
) AS p;

GRANT SELECT ON ALL TABLES IN SCHEMA dashboard TO pipeline_worker, pipeline_dashboard;
