-- Replays: what was asked for, how far they are, and who is at work on them. Their rows lie in schemas of their own.

CREATE TABLE replay (
    name            text        PRIMARY KEY,
    schema          text        NOT NULL UNIQUE,
    cluster         text        NOT NULL,
    consumer_group  text        NOT NULL,
    state           text        NOT NULL,
    wanted          text        NOT NULL,
    options         jsonb       NOT NULL,
    config_version  text        NOT NULL,
    fold_version    int         NOT NULL,
    reason          text        NOT NULL DEFAULT '',
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which offsets [from_offset, to_offset) of which source partitions
CREATE TABLE replay_range (
    replay       text    NOT NULL REFERENCES replay (name) ON DELETE CASCADE,
    topic        text    NOT NULL,
    partition    int     NOT NULL,
    from_offset  bigint  NOT NULL,
    to_offset    bigint  NOT NULL,
    PRIMARY KEY (replay, topic, partition)
);

GRANT SELECT, UPDATE ON replay TO pipeline_worker;
GRANT SELECT ON replay_range TO pipeline_worker;
