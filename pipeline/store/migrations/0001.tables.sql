-- The sink's tables. Keys contain machine_id where a row has one, so that a distributed database can place rows by it.

CREATE TABLE event (
    event_id          uuid        NOT NULL,
    event_type        text        NOT NULL,
    entity_type       text        NOT NULL,
    entity_id         uuid        NOT NULL,
    machine_id        text        NOT NULL,
    factory_id        text        NOT NULL,
    event_time        timestamptz NOT NULL,
    ingest_time       timestamptz NOT NULL,
    stored_time       timestamptz NOT NULL DEFAULT now(),
    source_topic      text        NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    source_index      int         NOT NULL,
    body              json        NOT NULL
) PARTITION BY RANGE (event_time);

-- Rows come in by time, more or less: a BRIN index costs nothing to keep and finds a stretch of time
CREATE INDEX event_time ON event USING brin (event_time) WITH (pages_per_range = 32);

-- No event time is refused: what lies outside the partitions made ahead comes here
CREATE TABLE event_default PARTITION OF event DEFAULT;

CREATE TABLE reading_window (
    machine_id    text             NOT NULL,
    sensor        text             NOT NULL,
    window_start  timestamptz      NOT NULL,
    factory_id    text             NOT NULL,
    count         bigint           NOT NULL,
    mean          double precision NOT NULL,
    m2            double precision NOT NULL,
    min           double precision NOT NULL,
    max           double precision NOT NULL,
    last          double precision NOT NULL,
    last_time     timestamptz      NOT NULL,
    last_source   int              NOT NULL,
    last_offset   bigint           NOT NULL,
    last_index    int              NOT NULL,
    late_count    bigint           NOT NULL,
    source_id     int              NOT NULL,
    updated_at    timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (machine_id, sensor, window_start)
) WITH (fillfactor = 70);  -- rows are updated while their window is open: room for that on the same page

CREATE TABLE anomaly (
    machine_id        text             NOT NULL,
    cluster           text             NOT NULL,
    source_topic      text             NOT NULL,
    source_partition  int              NOT NULL,
    source_offset     bigint           NOT NULL,
    source_index      int              NOT NULL,
    sensor            text             NOT NULL,
    kind              text             NOT NULL,
    factory_id        text             NOT NULL,
    event_time        timestamptz      NOT NULL,
    value             double precision NOT NULL,
    expected          double precision NOT NULL,
    score             double precision NOT NULL,
    detector          text             NOT NULL,
    detector_version  int              NOT NULL,
    worker            text             NOT NULL,
    event_id          uuid             NOT NULL,
    message_id        uuid             NOT NULL,
    stored_time       timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (machine_id, cluster, source_topic, source_partition, source_offset, source_index, sensor, kind)
);
CREATE INDEX anomaly_time ON anomaly (event_time);

CREATE TABLE machine_state (
    machine_id    text        PRIMARY KEY,
    factory_id    text        NOT NULL,
    machine_type  text        NOT NULL,
    readings      jsonb       NOT NULL,
    last_seen     timestamptz NOT NULL,
    last_offset   bigint      NOT NULL,
    source_id     int         NOT NULL,
    messages      bigint      NOT NULL,
    duplicates    bigint      NOT NULL,
    late          bigint      NOT NULL,
    unverified    bigint      NOT NULL,
    first_seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

CREATE TABLE dead_letter (
    cluster           text        NOT NULL,
    consumer_group    text        NOT NULL,
    source_topic      text        NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    source_index      int         NOT NULL,
    reason            text        NOT NULL,
    detail            text        NOT NULL,
    key               bytea       NOT NULL,
    body              bytea       NOT NULL,
    headers           jsonb       NOT NULL,
    record_time       timestamptz NOT NULL,
    stored_time       timestamptz NOT NULL DEFAULT now(),
    requeued_at       timestamptz,
    PRIMARY KEY (cluster, consumer_group, source_topic, source_partition, source_offset, source_index)
);
CREATE INDEX dead_letter_stored_time ON dead_letter (stored_time);

CREATE TABLE source_progress (
    cluster          text        NOT NULL,
    consumer_group   text        NOT NULL,
    topic            text        NOT NULL,
    partition        int         NOT NULL,
    source_id        int         NOT NULL,
    effects_next     bigint      NOT NULL,
    windows_next     bigint      NOT NULL,
    owner            text,
    worker           text,
    backend_pid      int,
    backend_start    timestamptz,
    fold_version     int,
    checksum         bigint,
    checksum_offset  bigint,
    effects_time     timestamptz,
    watermark        timestamptz,
    duplicates       bigint      NOT NULL DEFAULT 0,
    acquired_at      timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (cluster, consumer_group, topic, partition)
) WITH (fillfactor = 50);  -- every flush updates its row

CREATE TABLE source_gap (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster         text        NOT NULL,
    consumer_group  text        NOT NULL,
    topic           text        NOT NULL,
    partition       int         NOT NULL,
    from_offset     bigint      NOT NULL,
    to_offset       bigint      NOT NULL,
    reason          text        NOT NULL,
    found_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE partition_snapshot (
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
    PRIMARY KEY (cluster, consumer_group, topic, partition)
);
-- The state is compressed already
ALTER TABLE partition_snapshot ALTER COLUMN state SET STORAGE EXTERNAL;

CREATE TABLE control_record (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text        NOT NULL,
    cluster         text        NOT NULL,
    consumer_group  text        NOT NULL,
    topic           text        NOT NULL,
    partition       int         NOT NULL,
    "offset"        bigint      NOT NULL,
    reason          text        NOT NULL,
    detail          text        NOT NULL,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX control_record_source ON control_record (cluster, consumer_group, topic, partition, "offset");

CREATE TABLE control_effect (
    control_id  bigint      NOT NULL REFERENCES control_record (id),
    topic       text        NOT NULL,
    partition   int         NOT NULL,
    "offset"    bigint      NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (control_id, topic, partition, "offset")
);
