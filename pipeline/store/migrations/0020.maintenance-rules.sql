-- What maintenance machines need, as rules say: when that changed, and how many messages of an hour said so

CREATE TABLE maintenance_requirement (
    machine_id        text        NOT NULL,
    cluster           text        NOT NULL,
    source_topic      text        NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    source_index      int         NOT NULL,
    factory_id        text        NOT NULL,
    line_id           text        NOT NULL,
    class             int         NOT NULL,
    previous_class    int         NOT NULL,
    rule_id           text        NOT NULL,
    rule_version      bigint      NOT NULL,
    name              text        NOT NULL,
    event_time        timestamptz NOT NULL,
    event_id          uuid        NOT NULL,
    message_id        uuid        NOT NULL,
    stored_time       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (machine_id, cluster, source_topic, source_partition, source_offset, source_index)
);
CREATE INDEX maintenance_requirement_machine ON maintenance_requirement (machine_id, event_time);

-- Every source partition has rows of its own: workers never wait for each other here
CREATE TABLE maintenance_aggregate (
    machine_id    text        NOT NULL,
    factory_id    text        NOT NULL,
    class         int         NOT NULL,
    window_start  timestamptz NOT NULL,
    source_id     int         NOT NULL,
    messages      bigint      NOT NULL,
    late_count    bigint      NOT NULL,
    first_time    timestamptz NOT NULL,
    last_time     timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (machine_id, window_start, class, factory_id, source_id)
) WITH (fillfactor = 70);

GRANT SELECT, INSERT, UPDATE ON maintenance_requirement, maintenance_aggregate TO pipeline_worker;

CREATE VIEW dashboard.maintenance_requirement AS
SELECT machine_id, factory_id, line_id, class, previous_class, name, rule_id, rule_version, event_time, stored_time, event_id,
       message_id, cluster, source_topic AS topic, source_partition AS partition, source_offset, source_index
FROM maintenance_requirement;

CREATE VIEW dashboard.maintenance_aggregate AS
SELECT a.class, a.factory_id, a.machine_id, a.window_start, a.window_start + interval '1 hour' AS window_end,
       sum(a.messages)::bigint AS messages, sum(a.late_count)::bigint AS late_count,
       min(a.first_time) AS first_time, max(a.last_time) AS last_time,
       bool_and(coalesce(a.window_start + interval '1 hour' <= p.watermark, false)) AS complete,
       max(a.updated_at) AS updated_at
FROM maintenance_aggregate AS a LEFT JOIN source_reached AS p USING (source_id)
GROUP BY a.class, a.factory_id, a.machine_id, a.window_start;

-- Machines without a row were never judged. In each partition that a machine comes to, its first judgement is a row
CREATE VIEW dashboard.maintenance_state AS
SELECT s.machine_id, coalesce(r.factory_id, s.factory_id) AS factory_id, coalesce(r.class, 0) AS class,
       coalesce(r.name, '') AS name, coalesce(r.rule_id, '') AS rule_id, coalesce(r.rule_version, 0) AS rule_version,
       r.event_time AS since, r.previous_class, r.event_id
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT * FROM maintenance_requirement AS m WHERE m.machine_id = s.machine_id
    ORDER BY m.event_time DESC, m.source_offset DESC, m.source_index DESC LIMIT 1
) AS r ON true;

GRANT SELECT ON dashboard.maintenance_requirement, dashboard.maintenance_aggregate, dashboard.maintenance_state
    TO pipeline_worker, pipeline_dashboard;
