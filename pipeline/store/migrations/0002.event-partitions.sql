-- Daily partitions of event, made ahead. Runs with the owner's rights, so that workers can call it and own no table.

CREATE FUNCTION make_event_partitions(from_day date, to_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    day date;
    made int := 0;
    name text;
BEGIN
    IF to_day - from_day > 400 THEN
        RAISE EXCEPTION 'refusing to make % partitions at once', to_day - from_day;
    END IF;
    FOR day IN SELECT generate_series(from_day, to_day, interval '1 day')::date LOOP
        name := 'event_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        BEGIN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)',
                name, day::timestamptz, (day + 1)::timestamptz);
            made := made + 1;
        EXCEPTION
            -- Another worker was faster
            WHEN duplicate_table THEN NULL;
            -- The default partition has rows of that day already; they stay there
            WHEN check_violation THEN NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;

REVOKE ALL ON FUNCTION make_event_partitions FROM PUBLIC;

DO $$ BEGIN
    PERFORM make_event_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7);
END $$;
