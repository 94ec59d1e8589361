-- Rows that a GIN index has not sorted in yet, up to 4 MB of them, are read one by one by every query: half as long again as all
-- the rest, and for ever where nothing more is stored, as in the partition before the present one. They are sorted in
-- together with what BRIN indexes are told. Returns of how many ranges and pages that was
CREATE OR REPLACE FUNCTION summarize_event_partitions(since timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = telemetry, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    part regclass;
    index regclass;
    method name;
    made int := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('pipeline summarize ' || current_schema(), 0)) THEN
        RETURN 0;
    END IF;
    FOR part, index, method IN
        -- First the partitions of event: other tables have bounds that are no times
        WITH child AS MATERIALIZED (
            SELECT c.oid, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''(.+)''\) TO') AS begins
            FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid
            WHERE h.inhparent = 'event'::regclass
        )
        SELECT c.oid::regclass, i.indexrelid::regclass, a.amname
        FROM child AS c
        JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisvalid
        JOIN pg_class AS x ON x.oid = i.indexrelid
        JOIN pg_am AS a ON a.oid = x.relam AND a.amname IN ('brin', 'gin')
        WHERE c.begins::timestamptz BETWEEN since AND now()
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', part);
            made := made + CASE method WHEN 'brin' THEN brin_summarize_new_values(index) ELSE gin_clean_pending_list(index) END;
        EXCEPTION
            WHEN lock_not_available OR undefined_table THEN NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;
