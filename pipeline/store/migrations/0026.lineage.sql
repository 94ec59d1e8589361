-- Where predictions come from: which model said it, since when it was in force there, and what it was given by name

-- Names of the inputs in the artefact's order; none: it was kept before they were noted here
ALTER TABLE model_version ADD COLUMN features text[] NOT NULL DEFAULT '{}';

CREATE OR REPLACE VIEW dashboard.model_version AS
SELECT v.model_id, v.kind, v.machine_type, v.version, coalesce(s.stage, 'candidate') AS stage, v.parameters, v.training,
       v.metrics, v.feature_version, v.schema_version, v.sha256, octet_length(v.artefact) AS artefact_bytes, v.created_at,
       v.created_by, v.note, v.features
FROM model_version AS v
LEFT JOIN LATERAL (
    SELECT stage FROM model_stage WHERE model_id = v.model_id AND until IS NULL
    ORDER BY array_position(ARRAY['live', 'shadow', 'retired'], stage) LIMIT 1
) AS s ON true;

-- From which place to which each partition asked each model, and as what. Control records stand between messages: their offset
-- says before which one, their ordinal in which order. Places in a log that was lost are none in the present one
CREATE VIEW dashboard.model_period AS
SELECT cluster, consumer_group, topic, partition, kind, machine_type, version, model_id, sha256, stage, from_offset,
       least(offset_of_next, CASE WHEN stage = 'live' THEN offset_of_next_live END) AS until_offset,
       ordinal AS from_ordinal,
       least(ordinal_of_next, CASE WHEN stage = 'live' THEN ordinal_of_next_live END) AS until_ordinal,
       control_id, noted_at, log_since
FROM (
    SELECT said.*,
           lead(from_offset) OVER of_model AS offset_of_next, lead(ordinal) OVER of_model AS ordinal_of_next,
           min(from_offset) FILTER (WHERE stage = 'live') OVER later_of_type AS offset_of_next_live,
           min(ordinal) FILTER (WHERE stage = 'live') OVER later_of_type AS ordinal_of_next_live
    FROM (
        SELECT c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'kind' AS kind,
               c.body ->> 'machine_type' AS machine_type, (c.body ->> 'version')::int AS version,
               (c.body ->> 'model_id')::bigint AS model_id, c.body ->> 'sha256' AS sha256, c.body ->> 'action' AS stage,
               e."offset" AS from_offset, e.ordinal, c.id AS control_id, e.noted_at, p.log_since
        FROM control_record AS c
        JOIN control_effect AS e ON e.control_id = c.id
        JOIN source_progress AS p
          ON (p.cluster, p.consumer_group, p.topic, p.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
        WHERE c.kind = 'model' AND c.topic IS NULL AND e.ordinal IS NOT NULL
          AND (p.log_since IS NULL OR e.noted_at >= p.log_since)
    ) AS said
    WINDOW of_model AS (PARTITION BY cluster, consumer_group, topic, partition, model_id ORDER BY ordinal),
           later_of_type AS (
               PARTITION BY cluster, consumer_group, topic, partition, kind, machine_type ORDER BY ordinal
               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
           )
) AS each
WHERE stage IN ('live', 'shadow');

-- Whether a model was asked where something was found. What a control record itself brought to light has 2^30 and its ordinal as
-- its place in the message
CREATE FUNCTION is_in_period(
    source_offset bigint, source_index int, from_offset bigint, until_offset bigint, from_ordinal int, until_ordinal int
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN source_index < 1073741824 THEN from_offset <= source_offset AND (until_offset IS NULL OR source_offset < until_offset)
    ELSE from_ordinal <= source_index - 1073741824 AND (until_ordinal IS NULL OR source_index - 1073741824 < until_ordinal)
END;

-- Of several groups that have the same log, a period of any of them; none is known of a log that was lost
CREATE VIEW dashboard.prediction_lineage AS
SELECT p.event_id, p.message_id, p.machine_id, p.factory_id, p.event_time, p.kind, nullif(p.label, '') AS label,
       nullif(p.by_rules, '') AS by_rules, p.value, p.lower, p.upper, p.stage, p.model_id, p.model_version,
       p.hours_per_day, p.feature_version, v.sha256, v.training, v.created_at AS model_created_at, v.created_by AS model_created_by,
       (
           SELECT jsonb_object_agg(coalesce(v.features[n], n::text), CASE WHEN given <> 'NaN' THEN to_jsonb(given) END)
           FROM unnest(p.inputs) WITH ORDINALITY AS i (given, n)
       ) AS inputs,
       o.from_offset AS in_force_from, o.until_offset AS in_force_until, o.control_id, o.consumer_group,
       p.cluster, p.source_topic, p.source_partition, p.source_offset, p.source_index, p.worker, p.stored_time
FROM maintenance_prediction AS p
LEFT JOIN model_version AS v USING (model_id)
LEFT JOIN LATERAL (
    SELECT * FROM dashboard.model_period AS m
    WHERE (m.cluster, m.topic, m.partition, m.model_id, m.stage)
        = (p.cluster, p.source_topic, p.source_partition, p.model_id, p.stage)
      AND (m.log_since IS NULL OR p.stored_time >= m.log_since)
      AND is_in_period(p.source_offset, p.source_index, m.from_offset, m.until_offset, m.from_ordinal, m.until_ordinal)
    ORDER BY m.consumer_group LIMIT 1
) AS o ON true;

-- Predictions of a model that was not in force, as what they say it was, where they were found. There must be none
CREATE VIEW dashboard.prediction_misplaced AS
WITH period AS MATERIALIZED (SELECT * FROM dashboard.model_period)
SELECT p.event_id, p.machine_id, p.factory_id, p.event_time, p.kind, p.model_id, p.model_version, p.stage, p.cluster,
       p.source_topic, p.source_partition, p.source_offset, p.source_index, p.stored_time
FROM maintenance_prediction AS p
WHERE NOT EXISTS (
    SELECT FROM period AS m
    WHERE (m.cluster, m.topic, m.partition, m.model_id, m.version, m.kind, m.stage)
        = (p.cluster, p.source_topic, p.source_partition, p.model_id, p.model_version, p.kind, p.stage)
      AND (m.log_since IS NULL OR p.stored_time >= m.log_since)
      AND is_in_period(p.source_offset, p.source_index, m.from_offset, m.until_offset, m.from_ordinal, m.until_ordinal)
)
  -- Of a log that was lost, or one that nobody reads, nothing is known
  AND EXISTS (
    SELECT FROM source_progress AS s
    WHERE (s.cluster, s.topic, s.partition) = (p.cluster, p.source_topic, p.source_partition)
      AND (s.log_since IS NULL OR p.stored_time >= s.log_since)
);

GRANT SELECT ON dashboard.model_period, dashboard.prediction_lineage, dashboard.prediction_misplaced
    TO pipeline_worker, pipeline_dashboard, pipeline_engineer;
