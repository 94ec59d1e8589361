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

-- How many of them it has applied, and how many of these its windows and machine states hold
ALTER TABLE source_progress
    ADD COLUMN controls_next int NOT NULL DEFAULT 0, ADD COLUMN windows_controls int NOT NULL DEFAULT 0;

-- The line that a machine belonged to when it sent its newest message
ALTER TABLE machine_state ADD COLUMN line_id text NOT NULL DEFAULT '';
CREATE OR REPLACE VIEW dashboard.machine_state AS
SELECT s.machine_id, s.factory_id, s.machine_type, s.readings, s.last_seen, a.last_anomaly,
       s.messages, s.duplicates, s.late, s.unverified, s.first_seen, s.updated_at, s.line_id
FROM machine_state AS s
LEFT JOIN LATERAL (
    SELECT event_time AS last_anomaly FROM anomaly WHERE anomaly.machine_id = s.machine_id
    ORDER BY event_time DESC LIMIT 1
) AS a ON true;

-- Commands on what the plant is like, each with what became of it; of one that changed something, what it is since then
CREATE TABLE metadata_command (
    cluster           text        NOT NULL,
    consumer_group    text        NOT NULL,
    source_topic      text        NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    source_index      int         NOT NULL,
    command_id        text        NOT NULL,
    entity            text        NOT NULL,
    entity_id         text        NOT NULL,
    action            text        NOT NULL,
    expected_version  bigint      NOT NULL,
    status            text        NOT NULL,
    reason            text        NOT NULL,
    version           bigint      NOT NULL,
    is_change         boolean     NOT NULL,
    body              jsonb       NOT NULL,
    machine_id        text        NOT NULL,
    factory_id        text        NOT NULL,
    event_time        timestamptz NOT NULL,
    ingest_time       timestamptz NOT NULL,
    event_id          uuid        NOT NULL,
    stored_time       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster, consumer_group, source_topic, source_partition, source_offset, source_index)
);
CREATE INDEX metadata_command_id ON metadata_command (command_id);
CREATE INDEX metadata_command_entity ON metadata_command (entity, entity_id, version DESC) WHERE is_change;

GRANT SELECT, INSERT, UPDATE ON metadata_command TO pipeline_worker;

-- The newest version of everything; of two that were let have the same version, the one that the workers hold to as well
CREATE VIEW metadata_entity AS
SELECT DISTINCT ON (entity, entity_id)
       entity AS kind, entity_id AS id, version, action = 'remove' AS removed, body, event_time AS changed_at, command_id
FROM metadata_command
WHERE is_change
ORDER BY entity, entity_id, version DESC, event_time DESC, command_id COLLATE "C" DESC;
GRANT SELECT ON metadata_entity TO pipeline_worker;

CREATE VIEW dashboard.metadata_command AS
SELECT command_id, entity, entity_id, action, expected_version, status, reason, version, event_time, ingest_time, stored_time,
       event_id, cluster, consumer_group, source_topic AS topic, source_partition AS partition, source_offset, source_index
FROM metadata_command;

CREATE VIEW dashboard.metadata_change AS
SELECT entity, entity_id, version, action, body, event_time AS changed_at, command_id, event_id, stored_time
FROM metadata_command
WHERE is_change;

CREATE VIEW dashboard.factory AS
SELECT id AS factory_id, body ->> 'name' AS name, body ->> 'time_zone' AS time_zone, body ->> 'policy' AS policy,
       version, changed_at
FROM metadata_entity
WHERE kind = 'factory' AND NOT removed;

CREATE VIEW dashboard.line AS
SELECT id AS line_id, body ->> 'factory_id' AS factory_id, body ->> 'name' AS name, version, changed_at
FROM metadata_entity
WHERE kind = 'line' AND NOT removed;

CREATE VIEW dashboard.machine AS
SELECT id AS machine_id, body ->> 'factory_id' AS factory_id, body ->> 'line_id' AS line_id,
       body ->> 'machine_type' AS machine_type, coalesce(body ->> 'status', 'enabled') AS status,
       body ->> 'pump_id' AS pump_id, version, changed_at, body ->> 'gateway' AS gateway
FROM metadata_entity
WHERE kind = 'machine' AND NOT removed;

CREATE VIEW dashboard.sku AS
SELECT id AS sku, body ->> 'name' AS name, (body ->> 'ideal_cycle_s')::double precision AS ideal_cycle_s, version, changed_at
FROM metadata_entity
WHERE kind = 'sku' AND NOT removed;

CREATE VIEW dashboard.shift AS
SELECT id AS shift_id, body ->> 'factory_id' AS factory_id, body ->> 'name' AS name,
       (body ->> 'start')::time AS start_time, (body ->> 'end')::time AS end_time,
       ARRAY(SELECT jsonb_array_elements_text(body -> 'weekdays')::int) AS weekdays, version, changed_at
FROM metadata_entity
WHERE kind = 'shift' AND NOT removed;

CREATE VIEW dashboard.maintenance_rule AS
SELECT id AS rule_id, (body ->> 'class')::int AS class, body ->> 'name' AS name, body -> 'conditions' AS conditions,
       version, changed_at
FROM metadata_entity
WHERE kind = 'maintenance_rule' AND NOT removed;

GRANT SELECT ON dashboard.metadata_command, dashboard.metadata_change, dashboard.factory, dashboard.line, dashboard.machine,
    dashboard.sku, dashboard.shift, dashboard.maintenance_rule TO pipeline_worker, pipeline_dashboard;
