-- Messages that are missing between the sequence numbers of a device
ALTER TABLE machine_state ADD COLUMN missing bigint NOT NULL DEFAULT 0;

CREATE OR REPLACE VIEW dashboard.machine_state AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.readings, s.last_seen, a.last_anomaly,
       s.messages, s.duplicates, s.late, s.unverified, s.first_seen, s.updated_at, s.line_id, s.very_late, s.missing
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT event_time AS last_anomaly FROM anomaly WHERE anomaly.machine_id = s.machine_id
    ORDER BY event_time DESC LIMIT 1
) AS a ON true;
