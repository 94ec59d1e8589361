-- What was decided beside what is done: the version with which a partition last said something, since a partition that refuses a
-- model goes on with the one before

CREATE OR REPLACE VIEW dashboard.model_in_force AS
SELECT cluster, consumer_group, topic, partition, kind, machine_type, version, model_id, stage, from_offset, control_id, noted_at,
       said_version, said_offset
FROM (
    SELECT DISTINCT ON (c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'model_id')
           c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'kind' AS kind,
           c.body ->> 'machine_type' AS machine_type, (c.body ->> 'version')::int AS version,
           (c.body ->> 'model_id')::bigint AS model_id, c.body ->> 'action' AS stage, e."offset" AS from_offset,
           c.id AS control_id, e.noted_at, e.ordinal, p.source_id, p.log_since,
           max(e.ordinal) FILTER (WHERE c.body ->> 'action' = 'live') OVER (
               PARTITION BY c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'kind', c.body ->> 'machine_type'
           ) AS newest_live
    FROM control_record AS c
    JOIN control_effect AS e ON e.control_id = c.id
    JOIN source_progress AS p
      ON (p.cluster, p.consumer_group, p.topic, p.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
    WHERE c.kind = 'model' AND c.topic IS NULL AND (p.log_since IS NULL OR e.noted_at >= p.log_since)
    ORDER BY c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'model_id', e.ordinal DESC
) AS said
-- The newest word of the type's models on each machine that is in this partition, by the index of live ones
LEFT JOIN LATERAL (
    SELECT word.model_version AS said_version, word.source_offset AS said_offset
    FROM machine_state AS s
    CROSS JOIN LATERAL (
        SELECT w.model_version, w.source_offset FROM maintenance_prediction AS w
        WHERE w.machine_id = s.machine_id AND w.kind = said.kind AND w.stage = 'live'
          AND (w.cluster, w.source_topic, w.source_partition) = (said.cluster, said.topic, said.partition)
          AND (said.log_since IS NULL OR w.stored_time >= said.log_since)
          -- A machine keeps the type by which its partition met it, whatever it calls itself by now
          AND EXISTS (
              SELECT FROM model_version AS v
              WHERE v.model_id = w.model_id AND v.machine_type = said.machine_type
          )
        ORDER BY w.event_time DESC, w.source_offset DESC LIMIT 1
    ) AS word
    WHERE said.stage = 'live' AND s.source_id = said.source_id
    ORDER BY word.source_offset DESC LIMIT 1
) AS newest ON true
WHERE stage = 'shadow' OR stage = 'live' AND ordinal = newest_live;
