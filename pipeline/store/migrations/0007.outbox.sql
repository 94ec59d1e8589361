-- Messages of our own: written with the effects that they tell of, published afterwards by whoever owns the source partition.
-- seq is the order within a partition: its transactions come one after the other, and a recreated topic's offsets begin anew.
CREATE TABLE outbox (
    seq               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster           text        NOT NULL,
    consumer_group    text        NOT NULL,
    source_topic      text        NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    source_index      int         NOT NULL,
    ordinal           int         NOT NULL,
    id                uuid        NOT NULL,
    target_topic      text        NOT NULL,
    message_key       text        NOT NULL,
    body              json        NOT NULL,
    event_time        timestamptz NOT NULL,
    ingest_time       timestamptz NOT NULL,
    expires_at        timestamptz,
    stored_time       timestamptz NOT NULL DEFAULT now(),
    outcome           text,
    published_at      timestamptz
);
CREATE INDEX outbox_waiting ON outbox (cluster, consumer_group, source_topic, source_partition, seq) WHERE outcome IS NULL;
CREATE INDEX outbox_done ON outbox (cluster, consumer_group, published_at) WHERE outcome IS NOT NULL;

-- What a message says is never changed; whether it is published is
GRANT SELECT, INSERT, UPDATE (outcome, published_at), DELETE ON outbox TO pipeline_worker;
