-- What of a partition a replay reads: offsets before stored_to come from what is stored, the rest from the log. Its state begins
-- at counted_from, and so do its windows; it has effects from from_offset on.
ALTER TABLE replay_range
    ADD COLUMN stored_to    bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_from bigint NOT NULL DEFAULT 0;

-- Now and then a partition's state is kept for good: a replay of last week begins at last week's
CREATE TABLE snapshot_history (
    cluster          text        NOT NULL,
    consumer_group   text        NOT NULL,
    topic            text        NOT NULL,
    partition        int         NOT NULL,
    snapshot_offset  bigint      NOT NULL,
    format_version   int         NOT NULL,
    fold_version     int         NOT NULL,
    state            bytea       NOT NULL,
    raw_bytes        bigint      NOT NULL,
    taken_at         timestamptz NOT NULL,
    PRIMARY KEY (cluster, consumer_group, topic, partition, taken_at)
);
ALTER TABLE snapshot_history ALTER COLUMN state SET STORAGE EXTERNAL;
GRANT SELECT, INSERT ON snapshot_history TO pipeline_worker;
