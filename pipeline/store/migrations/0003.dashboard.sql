-- What dashboards read: the contract. The tables behind these views may change, the columns here only grow.

CREATE SCHEMA IF NOT EXISTS dashboard;

CREATE VIEW dashboard.freshness AS
SELECT cluster, consumer_group, topic, partition,
       effects_next AS event_offset,
       effects_time AS event_time,
       windows_next AS window_offset,
       watermark AS windows_complete_to,
       updated_at,
       worker
FROM source_progress;

CREATE VIEW dashboard.reading_window AS
SELECT w.machine_id, w.factory_id, w.sensor, w.window_start,
       w.window_start + interval '1 minute' AS window_end,
       w.count, w.mean,
       -- Below that a division may underflow, which is an error here and would spoil every query over the row
       CASE WHEN w.count > 1 AND w.m2 > 1e-300 THEN sqrt(w.m2 / (w.count - 1)) ELSE 0 END AS stddev,
       w.min, w.max, w.last, w.last_time, w.late_count,
       coalesce(w.window_start + interval '1 minute' <= p.watermark, false) AS complete,
       w.updated_at
FROM reading_window AS w
LEFT JOIN (SELECT source_id, min(watermark) AS watermark FROM source_progress GROUP BY source_id) AS p USING (source_id);

CREATE VIEW dashboard.machine_state AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.readings, s.last_seen, a.last_anomaly,
       s.messages, s.duplicates, s.late, s.unverified, s.first_seen, s.updated_at
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT event_time AS last_anomaly FROM anomaly WHERE anomaly.machine_id = s.machine_id
    ORDER BY event_time DESC LIMIT 1
) AS a ON true;
CREATE INDEX anomaly_machine_time ON anomaly (machine_id, event_time);

CREATE VIEW dashboard.anomaly AS
SELECT event_id, message_id, machine_id, factory_id, event_time, sensor, kind,
       value AS observed, expected, score, detector, detector_version, worker, stored_time
FROM anomaly;

CREATE VIEW dashboard.dead_letter_summary AS
SELECT cluster, consumer_group, source_topic AS topic, reason,
       count(*) AS records,
       count(*) FILTER (WHERE requeued_at IS NULL) AS open,
       min(stored_time) AS first_stored, max(stored_time) AS last_stored
FROM dead_letter
GROUP BY cluster, consumer_group, source_topic, reason;

CREATE VIEW dashboard.event_rate AS
SELECT factory_id, date_trunc('minute', event_time) AS minute, event_type, count(*) AS events
FROM event
WHERE event_time > now() - interval '1 hour'
GROUP BY factory_id, date_trunc('minute', event_time), event_type;
