-- Control records for every partition of a group: topic, partition and offset are those of the one record to skip, or of the one
-- partition whose version changed, and are absent where all partitions are meant
ALTER TABLE control_record
    ALTER COLUMN topic DROP NOT NULL,
    ALTER COLUMN partition DROP NOT NULL,
    ALTER COLUMN "offset" DROP NOT NULL,
    ADD COLUMN body jsonb,
    -- Numbers come in another order than transactions end: who looks for what is new goes by the transaction
    ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX control_record_for_all ON control_record (cluster, consumer_group, xid) WHERE topic IS NULL;

-- How many control records a partition had applied before; absent for those that are about one record or one partition
ALTER TABLE control_effect ADD COLUMN ordinal int;
CREATE INDEX control_effect_source ON control_effect (topic, partition);
-- A log that was recreated has its offsets anew, and with them the places of control records
GRANT UPDATE (ordinal, noted_at) ON control_effect TO pipeline_worker;

ALTER TABLE source_progress ADD COLUMN controls_next int NOT NULL DEFAULT 0;
