-- What models say of machines: one row for each model and closed operating cycle, or message whose class changed

CREATE TABLE maintenance_prediction (
    machine_id        text             NOT NULL,
    cluster           text             NOT NULL,
    source_topic      text             NOT NULL,
    source_partition  int              NOT NULL,
    source_offset     bigint           NOT NULL,
    source_index      int              NOT NULL,
    kind              text             NOT NULL,
    model_id          bigint           NOT NULL,
    factory_id        text             NOT NULL,
    event_time        timestamptz      NOT NULL,
    stage             text             NOT NULL,
    model_version     int              NOT NULL,
    feature_version   int              NOT NULL,
    label             text             NOT NULL,
    value             double precision NOT NULL,
    lower             double precision NOT NULL,
    upper             double precision NOT NULL,
    hours_per_day     double precision NOT NULL,
    by_rules          text             NOT NULL,
    inputs            double precision[] NOT NULL,
    worker            text             NOT NULL,
    event_id          uuid             NOT NULL,
    message_id        uuid             NOT NULL,
    stored_time       timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (machine_id, cluster, source_topic, source_partition, source_offset, source_index, kind, model_id)
);
CREATE INDEX maintenance_prediction_machine_time ON maintenance_prediction (machine_id, kind, event_time);
CREATE INDEX maintenance_prediction_live ON maintenance_prediction (machine_id, kind, event_time DESC, source_offset DESC)
    WHERE stage = 'live';
CREATE INDEX maintenance_prediction_time ON maintenance_prediction USING brin (event_time);
GRANT SELECT, INSERT, UPDATE ON maintenance_prediction TO pipeline_worker;

-- Days are of the calendar: a machine that works half the day lasts twice as many
CREATE VIEW dashboard.maintenance_prediction AS
SELECT event_id, message_id, machine_id, factory_id, event_time, kind, model_id, model_version, feature_version, stage,
       nullif(label, '') AS label, nullif(by_rules, '') AS by_rules, value, lower, upper,
       CASE WHEN kind = 'remaining_life' AND hours_per_day > 0 THEN value / hours_per_day END AS days,
       CASE WHEN kind = 'remaining_life' AND hours_per_day > 0 THEN lower / hours_per_day END AS days_lower,
       CASE WHEN kind = 'remaining_life' AND hours_per_day > 0 THEN upper / hours_per_day END AS days_upper,
       worker, source_topic, source_partition, source_offset, source_index, stored_time
FROM maintenance_prediction;

-- The newest word of the live model of each kind on each machine
CREATE VIEW dashboard.machine_outlook AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.line_id, k.kind, p.event_time, p.label, p.by_rules, p.value, p.lower,
       p.upper, p.days, p.days_lower, p.days_upper, p.model_id, p.model_version, p.event_id
FROM machine_state AS s
CROSS JOIN (VALUES ('remaining_life'), ('failure_type'), ('maintenance_class')) AS k (kind)
CROSS JOIN LATERAL (
    SELECT * FROM dashboard.maintenance_prediction AS p
    WHERE p.machine_id = s.machine_id AND p.kind = k.kind AND p.stage = 'live'
    ORDER BY p.event_time DESC, p.source_offset DESC LIMIT 1
) AS p;

-- Machines of which the learned model and the rules say something else
CREATE VIEW dashboard.maintenance_disagreement AS
SELECT machine_id, factory_id, machine_type, line_id, event_time, label::int AS class_by_model, by_rules::int AS class_by_rules,
       value AS probability, model_id, model_version, event_id
FROM dashboard.machine_outlook WHERE kind = 'maintenance_class' AND label <> by_rules;

GRANT SELECT ON dashboard.maintenance_prediction, dashboard.machine_outlook, dashboard.maintenance_disagreement
TO pipeline_worker, pipeline_dashboard;
