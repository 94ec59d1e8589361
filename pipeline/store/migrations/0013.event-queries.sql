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
CREATE OR REPLACE FUNCTION make_event_partitions(from_day date, to_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    begins timestamptz;
    made int := 0;
    day text;
    name text;
BEGIN
    IF to_day - from_day > 400 THEN
        RAISE EXCEPTION 'refusing to make the partitions of % days at once', to_day - from_day;
    END IF;
    FOR begins IN
        SELECT generate_series(from_day::timestamptz, to_day::timestamptz + interval '18 hours', interval '6 hours')
    LOOP
        day := 'event_' || to_char(begins, 'YYYYMMDD');
        name := day || '_' || to_char(begins, 'HH24');
        -- The version before made one partition of the whole day
        CONTINUE WHEN to_regclass(name) IS NOT NULL OR to_regclass(day) IS NOT NULL;
        BEGIN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)', name, begins, begins + interval '6 hours');
            made := made + 1;
        EXCEPTION
            -- Another worker was faster, perhaps one of the version before
            WHEN duplicate_table OR invalid_object_definition THEN NULL;
            -- The default partition has rows of that time already; they stay there
            WHEN check_violation THEN NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;

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
        SELECT c.oid::regclass, i.indexrelid::regclass
        FROM pg_inherits AS h
        JOIN pg_class AS c ON c.oid = h.inhrelid
        JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisvalid
        JOIN pg_class AS x ON x.oid = i.indexrelid
        JOIN pg_am AS a ON a.oid = x.relam AND a.amname = 'brin'
        WHERE h.inhparent = 'event'::regclass
          AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''(.+)''\) TO')::timestamptz
              BETWEEN since AND now()
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
