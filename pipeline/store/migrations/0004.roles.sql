-- Two roles without login; grant them to the users that workers and dashboards log in as.
-- Workers cannot change or delete an event; dashboards see nothing but the schema dashboard.

DO $$
BEGIN
    IF to_regrole('pipeline_worker') IS NULL THEN
        CREATE ROLE pipeline_worker NOLOGIN;
    END IF;
    IF to_regrole('pipeline_dashboard') IS NULL THEN
        CREATE ROLE pipeline_dashboard NOLOGIN;
    END IF;
EXCEPTION
    -- Roles belong to the whole server: another database of it was migrated at the same moment
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO pipeline_worker', current_schema());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO pipeline_worker', current_database());
END
$$;

GRANT SELECT, INSERT ON event, source_gap, control_record, control_effect TO pipeline_worker;
GRANT SELECT, INSERT, UPDATE ON reading_window, machine_state, anomaly, dead_letter, source_progress, partition_snapshot
    TO pipeline_worker;
GRANT EXECUTE ON FUNCTION make_event_partitions TO pipeline_worker;
GRANT SELECT ON _yoyo_migration TO pipeline_worker;
GRANT USAGE ON SCHEMA dashboard TO pipeline_worker, pipeline_dashboard;
GRANT SELECT ON ALL TABLES IN SCHEMA dashboard TO pipeline_worker, pipeline_dashboard;
