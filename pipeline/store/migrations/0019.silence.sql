-- Messages that are missing between the sequence numbers of a device, and whether nothing came from it for long
ALTER TABLE machine_state ADD COLUMN missing bigint NOT NULL DEFAULT 0, ADD COLUMN silent boolean NOT NULL DEFAULT false;

CREATE OR REPLACE VIEW dashboard.machine_state AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.readings, s.last_seen, a.last_anomaly,
       s.messages, s.duplicates, s.late, s.unverified, s.first_seen, s.updated_at, s.line_id, s.very_late, s.missing, s.silent
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT event_time AS last_anomaly FROM anomaly WHERE anomaly.machine_id = s.machine_id
    ORDER BY event_time DESC LIMIT 1
) AS a ON true;

CREATE INDEX machine_state_silent ON machine_state (machine_id) WHERE silent;

CREATE VIEW dashboard.silent_device AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.line_id, s.last_seen, a.event_time AS silent_since
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT event_time FROM anomaly WHERE anomaly.machine_id = s.machine_id AND kind = 'device_silent'
    ORDER BY event_time DESC LIMIT 1
) AS a ON true
WHERE s.silent AND NOT EXISTS (
    SELECT FROM metadata_entity AS m
    WHERE m.kind = 'machine' AND m.id = s.machine_id AND (m.removed OR m.body ->> 'status' = 'disabled')
);

GRANT SELECT ON ALL TABLES IN SCHEMA dashboard TO pipeline_worker, pipeline_dashboard;
