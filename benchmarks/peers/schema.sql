-- The peers' tables: what the job asks for and nothing more. Fewer columns than the project's, and no index on events,
-- so that a peer is never slow because of its tables.
CREATE TABLE event (
    machine_id        text        NOT NULL,
    factory_id        text        NOT NULL,
    event_time        timestamptz NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    body              json        NOT NULL
);

CREATE TABLE reading_window (
    machine_id    text             NOT NULL,
    sensor        text             NOT NULL,
    window_start  timestamptz      NOT NULL,
    count         bigint           NOT NULL,
    mean          double precision NOT NULL,
    min           double precision NOT NULL,
    max           double precision NOT NULL,
    PRIMARY KEY (machine_id, sensor, window_start)
);

CREATE TABLE anomaly (
    machine_id        text             NOT NULL,
    sensor            text             NOT NULL,
    event_time        timestamptz      NOT NULL,
    value             double precision NOT NULL,
    score             double precision NOT NULL,
    source_partition  int              NOT NULL,
    source_offset     bigint           NOT NULL
);
