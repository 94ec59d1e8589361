-- Since when a partition's log is the present one; NULL: since ever. What was stored or decided before is about another log.
ALTER TABLE source_progress ADD COLUMN log_since timestamptz;

-- What can no longer be read
CREATE VIEW dashboard.source_gap AS
SELECT id AS gap_id, cluster, consumer_group, topic, partition, from_offset, to_offset, reason, found_at
FROM source_gap;

GRANT SELECT ON dashboard.source_gap TO pipeline_worker, pipeline_dashboard;
