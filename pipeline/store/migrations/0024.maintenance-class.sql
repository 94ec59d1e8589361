-- The class of maintenance that was done, where a record says it: what models of the class are taught by

ALTER TABLE maintenance_record ADD COLUMN class int NOT NULL DEFAULT -1 CHECK (class BETWEEN -1 AND 5);

CREATE OR REPLACE VIEW dashboard.maintenance_record AS
SELECT machine_id, factory_id, kind, component, note, event_time, ingest_time, event_id, stored_time, cluster,
       source_topic AS topic, source_partition AS partition, source_offset, source_index, nullif(class, -1) AS class
FROM maintenance_record;
