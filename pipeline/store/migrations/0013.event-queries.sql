-- Queries by machine, at little cost for who stores. A GIN index collects new rows in a list and sorts them in by the
-- hundred thousand: that took a third of the CPU of a B-tree over (machine_id, event_time), and a seventh of its space.
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- Only the partitions to come have it from their beginning. Those that are there get it from `pipeline migrate` after this,
-- one by one, while rows come in
CREATE INDEX event_machine ON ONLY event USING gin (machine_id);

-- A factory's anomalies of some time, without everybody else's
CREATE INDEX anomaly_factory_time ON anomaly (factory_id, event_time);

-- Four partitions a day. The index finds a machine's rows, and which of these are of the time that was asked for only the
-- rows themselves can tell: a partition must not hold many more than are wanted. Every partition that a query cannot rule
-- out costs planning time and locks: there must not be many more either
CREATE FUNCTION missing_event_partitions(from_day date, to_day date) RETURNS TABLE (name text, span tstzrange)
LANGUAGE plpgsql
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
-- One row would do, so the planner takes it for cheap to go through all of them until one is found. There is none
SET enable_seqscan = off
AS $$
DECLARE
    missing tstzrange[];
    is_empty boolean;
BEGIN
    IF to_day - from_day > 400 THEN
        RAISE EXCEPTION 'refusing to make the partitions of % days at once', to_day - from_day;
    END IF;
    -- The version before made one partition of the whole day
    SELECT array_agg(tstzrange(begins, begins + interval '6 hours') ORDER BY begins) INTO missing
    FROM generate_series(from_day::timestamptz, to_day::timestamptz + interval '18 hours', interval '6 hours') AS begins
    WHERE to_regclass('event_' || to_char(begins, 'YYYYMMDD_HH24')) IS NULL
      AND to_regclass('event_' || to_char(begins, 'YYYYMMDD')) IS NULL;
    IF missing IS NULL THEN
        RETURN;
    END IF;
    -- Rows of that time that the default partition has already stay there
    is_empty := NOT EXISTS (
        SELECT FROM event_default
        WHERE event_time >= lower(missing[1]) AND event_time < upper(missing[cardinality(missing)]));
    FOREACH span IN ARRAY missing LOOP
        name := 'event_' || to_char(lower(span), 'YYYYMMDD_HH24');
        IF is_empty OR NOT EXISTS (
            SELECT FROM event_default WHERE event_time >= lower(span) AND event_time < upper(span)) THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION event_time_outside(spans tstzmultirange) RETURNS text
LANGUAGE sql STABLE
SET timezone = 'UTC'
AS $$
    SELECT string_agg(format('(event_time < %L OR event_time >= %L)', lower(span), upper(span)), ' AND ')
    FROM unnest(spans) AS span
$$;

-- A partition is added without a look at every row of the default one if a constraint rules its rows out there. Rows are
-- checked while others read and write. To be called until it returns true, in a transaction each time; with no spans it takes
-- the constraint away. Until then a row of these spans that has no other partition is refused
CREATE FUNCTION exclude_from_event_default(spans tstzmultirange) RETURNS boolean
LANGUAGE plpgsql
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    excluded text;
    is_valid boolean;
BEGIN
    SELECT COALESCE(obj_description(oid, 'pg_constraint'), ''), convalidated INTO excluded, is_valid
    FROM pg_constraint WHERE conrelid = 'event_default'::regclass AND conname = 'event_default_without';
    IF excluded <> spans::text THEN
        -- Whoever wanted it was interrupted, or is done
        ALTER TABLE event_default DROP CONSTRAINT event_default_without;
        excluded := NULL;
    END IF;
    IF isempty(spans) OR is_valid AND excluded IS NOT NULL THEN
        RETURN true;
    ELSIF excluded IS NULL THEN
        EXECUTE format(
            'ALTER TABLE event_default ADD CONSTRAINT event_default_without CHECK (%s) NOT VALID', event_time_outside(spans));
        EXECUTE format('COMMENT ON CONSTRAINT event_default_without ON event_default IS %L', spans);
        RETURN false;
    END IF;
    BEGIN
        ALTER TABLE event_default VALIDATE CONSTRAINT event_default_without;
    EXCEPTION
        WHEN check_violation THEN ALTER TABLE event_default DROP CONSTRAINT event_default_without;
    END;
    RETURN true;
END
$$;

-- Call it until it returns true before partitions are made, and once more afterwards. For so few rows that a look at all of them
-- takes a moment it does nothing, nor for the next two days: rows of these may come while it is at work
CREATE FUNCTION prepare_event_partitions(from_day date, to_day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    spans tstzmultirange := '{}';
BEGIN
    IF pg_relation_size('event_default') > 8 * 1024 * 1024 THEN
        SELECT COALESCE(range_agg(span), '{}') INTO spans
        FROM missing_event_partitions(from_day, to_day) WHERE lower(span) > now() + interval '2 days';
    END IF;
    RETURN exclude_from_event_default(spans);
END
$$;

CREATE OR REPLACE FUNCTION make_event_partitions(from_day date, to_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    names text[];
    spans tstzrange[];
    unknown tstzmultirange;
    made int := 0;
BEGIN
    -- While others store: what comes after this look is seen below
    SELECT array_agg(name), array_agg(span) INTO names, spans FROM missing_event_partitions(from_day, to_day);
    IF names IS NULL THEN
        RETURN 0;
    END IF;
    -- In the order of who takes a partition out. Who stores into other partitions than the default one is not held up
    LOCK TABLE ONLY event IN SHARE UPDATE EXCLUSIVE MODE;
    LOCK TABLE event_default IN ACCESS EXCLUSIVE MODE;
    -- Another worker may have been faster
    SELECT array_agg(name), array_agg(span), range_agg(span) INTO names, spans, unknown
    FROM unnest(names, spans) AS missing (name, span) WHERE to_regclass(name) IS NULL;
    SELECT COALESCE(unknown, '{}') - COALESCE(max(obj_description(oid, 'pg_constraint')), '{}')::tstzmultirange INTO unknown
    FROM pg_constraint WHERE conrelid = 'event_default'::regclass AND conname = 'event_default_without' AND convalidated;
    IF NOT isempty(unknown) THEN
        -- One look at the rows of the default partition for all of them, and not one for each
        EXECUTE format(
            'ALTER TABLE event_default ADD CONSTRAINT event_default_without_more CHECK (%s)', event_time_outside(unknown));
    END IF;
    FOR i IN 1 .. COALESCE(cardinality(names), 0) LOOP
        BEGIN
            EXECUTE format(
                'CREATE TABLE %I (LIKE event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
                names[i]);
            EXECUTE format(
                'ALTER TABLE event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                names[i], lower(spans[i]), upper(spans[i]));
            made := made + 1;
        EXCEPTION
            -- Somebody has made one of that time by another name
            WHEN invalid_object_definition THEN NULL;
        END;
    END LOOP;
    ALTER TABLE event_default DROP CONSTRAINT IF EXISTS event_default_without_more;
    RETURN made;
EXCEPTION
    -- Rows of that time have come into the default partition since the look: the next call leaves it out
    WHEN check_violation THEN RETURN 0;
END
$$;

REVOKE ALL ON FUNCTION missing_event_partitions, exclude_from_event_default, prepare_event_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prepare_event_partitions TO pipeline_worker;

-- Pages that a BRIN index was not told of it counts as found, and it is told by a vacuum, or page by page in a queue that is too
-- short for a fast plant. Whoever runs this does it for the partitions that begin after a time; one does it at a time, and
-- a partition that is vacuumed, which does the same, is left out. Nobody who stores is held up
CREATE FUNCTION summarize_event_partitions(since timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    part regclass;
    index regclass;
    made int := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('pipeline summarize ' || current_schema(), 0)) THEN
        RETURN 0;
    END IF;
    FOR part, index IN
        -- First the partitions of event: other tables have bounds that are no times
        WITH child AS MATERIALIZED (
            SELECT c.oid, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''(.+)''\) TO') AS begins
            FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid
            WHERE h.inhparent = 'event'::regclass
        )
        SELECT c.oid::regclass, i.indexrelid::regclass
        FROM child AS c
        JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisvalid
        JOIN pg_class AS x ON x.oid = i.indexrelid
        JOIN pg_am AS a ON a.oid = x.relam AND a.amname = 'brin'
        WHERE c.begins::timestamptz BETWEEN since AND now()
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', part);
            made := made + brin_summarize_new_values(index);
        EXCEPTION
            WHEN lock_not_available OR undefined_table THEN NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;

REVOKE ALL ON FUNCTION summarize_event_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION summarize_event_partitions TO pipeline_worker;
