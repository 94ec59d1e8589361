-- Anomalies beside the machine, its line and its pump: what whoever gets an alarm asks first

CREATE VIEW dashboard.anomaly_context AS
SELECT a.event_id, a.message_id, a.machine_id, a.factory_id, a.event_time, a.sensor, a.kind,
       a.value AS observed, a.expected, a.score, a.detector, a.detector_version,
       coalesce(m.body ->> 'machine_type', s.machine_type) AS machine_type,
       coalesce(m.body ->> 'line_id', s.line_id, '') AS line_id, l.body ->> 'name' AS line_name,
       s.readings, s.last_seen,
       m.body ->> 'pump_id' AS pump_id, p.anomalies AS pump_anomalies, p.latest AS pump_anomaly_time, p.kinds AS pump_kinds,
       u.readings AS pump_readings
FROM anomaly AS a
LEFT JOIN machine_state AS s ON s.machine_id = a.machine_id
LEFT JOIN metadata_entity AS m ON m.kind = 'machine' AND m.id = a.machine_id AND NOT m.removed
LEFT JOIN metadata_entity AS l
    ON l.kind = 'line' AND l.id = coalesce(m.body ->> 'line_id', s.line_id, '') AND NOT l.removed
LEFT JOIN machine_state AS u ON u.machine_id = m.body ->> 'pump_id'
LEFT JOIN LATERAL (
    SELECT count(*) AS anomalies, max(event_time) AS latest, array_agg(DISTINCT kind ORDER BY kind) AS kinds FROM anomaly
    WHERE machine_id = m.body ->> 'pump_id' AND event_time <= a.event_time AND event_time > a.event_time - interval '10 minutes'
) AS p ON m.body ->> 'pump_id' <> '';

GRANT SELECT ON dashboard.anomaly_context TO pipeline_worker, pipeline_dashboard;
