-- Stand-in: what 0018 reads. The migration that makes it for good takes the place of this file.
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
