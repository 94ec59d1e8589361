-- Promotions: what a replay found, taken over by the live tables. Events are only ever added: one that a promotion found
-- otherwise, or not again, stays where it is and counts no more.

CREATE TABLE promotion (
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay          text        NOT NULL,
    cluster         text        NOT NULL,
    consumer_group  text        NOT NULL,
    tables          text[]      NOT NULL,
    promoted_at     timestamptz NOT NULL DEFAULT now(),
    promoted_by     text        NOT NULL,
    undone_at       timestamptz
);

-- Rows of event that count no more: those of an id that were stored from stored_from on and before stored_to. What a promotion
-- adds is stored at promoted_at exactly
CREATE TABLE superseded_event (
    event_id     uuid        NOT NULL,
    event_time   timestamptz NOT NULL,
    stored_from  timestamptz NOT NULL,
    stored_to    timestamptz NOT NULL,
    promotion    bigint      NOT NULL REFERENCES promotion (number),
    PRIMARY KEY (event_id, stored_from, promotion)
);

GRANT SELECT ON promotion, superseded_event TO pipeline_worker;

CREATE VIEW dashboard.event AS
SELECT e.event_id, e.event_type, e.entity_type, e.entity_id, e.machine_id, e.factory_id, e.event_time, e.ingest_time,
       e.stored_time, e.source_topic AS topic, e.source_partition AS partition, e.source_offset, e.source_index, e.body
FROM event AS e
WHERE NOT EXISTS (
    SELECT FROM superseded_event AS s
    WHERE s.event_id = e.event_id AND e.stored_time >= s.stored_from AND e.stored_time < s.stored_to
);

CREATE OR REPLACE VIEW dashboard.event_rate AS
SELECT factory_id, date_trunc('minute', event_time) AS minute, event_type, count(*) AS events
FROM dashboard.event
WHERE event_time > now() - interval '1 hour'
GROUP BY factory_id, date_trunc('minute', event_time), event_type;

GRANT SELECT ON dashboard.event TO pipeline_worker, pipeline_dashboard;
