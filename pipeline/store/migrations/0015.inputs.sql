-- What comes in beside telemetry: reports of the MES and maintenance records, each also an event; and schedules of service,
-- which are imported.

CREATE TABLE quality_report (
    machine_id        text             NOT NULL,
    cluster           text             NOT NULL,
    source_topic      text             NOT NULL,
    source_partition  int              NOT NULL,
    source_offset     bigint           NOT NULL,
    source_index      int              NOT NULL,
    factory_id        text             NOT NULL,
    line_id           text             NOT NULL DEFAULT '',
    sku               text             NOT NULL,
    period_start      timestamptz      NOT NULL,
    period_end        timestamptz      NOT NULL,
    good              bigint           NOT NULL,
    snag              bigint           NOT NULL,
    reject            bigint           NOT NULL,
    planned_s         double precision NOT NULL,
    run_s             double precision NOT NULL,
    ideal_cycle_s     double precision NOT NULL,
    reported_at       timestamptz      NOT NULL,
    event_id          uuid             NOT NULL,
    stored_time       timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (machine_id, cluster, source_topic, source_partition, source_offset, source_index)
);
CREATE INDEX quality_report_machine ON quality_report (machine_id, period_start);
CREATE INDEX quality_report_factory ON quality_report (factory_id, period_start);

-- Reports of one machine and SKU overlap: those that do begin at most a day before the other ends, but for the few that tell of
-- more than a day. A GiST index over ranges does without the difference, and took twenty times as long to add a row to
CREATE INDEX quality_report_sku ON quality_report (machine_id, sku, period_start);
CREATE INDEX quality_report_long ON quality_report (machine_id, sku, period_end)
    WHERE period_end - period_start > interval '24 hours';

CREATE TABLE maintenance_record (
    machine_id        text        NOT NULL,
    cluster           text        NOT NULL,
    source_topic      text        NOT NULL,
    source_partition  int         NOT NULL,
    source_offset     bigint      NOT NULL,
    source_index      int         NOT NULL,
    factory_id        text        NOT NULL,
    kind              text        NOT NULL,
    component         text        NOT NULL,
    note              text        NOT NULL,
    event_time        timestamptz NOT NULL,
    ingest_time       timestamptz NOT NULL,
    event_id          uuid        NOT NULL,
    stored_time       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (machine_id, cluster, source_topic, source_partition, source_offset, source_index)
);
CREATE INDEX maintenance_record_machine ON maintenance_record (machine_id, event_time);

CREATE TABLE service_schedule (
    machine_type  text             NOT NULL,
    component     text             NOT NULL,
    task          text             NOT NULL,
    every_h       double precision CHECK (every_h > 0),
    every_days    double precision CHECK (every_days > 0),
    manufacturer  text             NOT NULL DEFAULT '',
    imported_at   timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (machine_type, component, task),
    CHECK (every_h IS NOT NULL OR every_days IS NOT NULL)
);

GRANT SELECT, INSERT, UPDATE ON quality_report, maintenance_record, service_schedule TO pipeline_worker;

-- Of two reports that tell of the same time the later one is right, and of equally late ones the one that lies further in its log
CREATE VIEW dashboard.quality_report AS
SELECT r.machine_id, r.factory_id, r.line_id, r.sku, r.period_start, r.period_end, r.good, r.snag, r.reject,
       r.planned_s, r.run_s, r.ideal_cycle_s, r.reported_at,
       NOT EXISTS (
           SELECT FROM quality_report AS later
           WHERE later.machine_id = r.machine_id AND later.sku = r.sku
             AND later.period_start < r.period_end AND later.period_end > r.period_start
             AND later.period_start >= r.period_start - interval '24 hours'
             AND (later.reported_at, later.source_topic, later.source_partition, later.source_offset, later.source_index)
                 > (r.reported_at, r.source_topic, r.source_partition, r.source_offset, r.source_index)
       ) AND NOT EXISTS (
           SELECT FROM quality_report AS later
           WHERE later.machine_id = r.machine_id AND later.sku = r.sku
             AND later.period_start < r.period_end AND later.period_end > r.period_start
             AND later.period_end - later.period_start > interval '24 hours'
             AND (later.reported_at, later.source_topic, later.source_partition, later.source_offset, later.source_index)
                 > (r.reported_at, r.source_topic, r.source_partition, r.source_offset, r.source_index)
       ) AS counts,
       r.run_s > r.planned_s AS over_planned,
       r.event_id, r.stored_time, r.cluster, r.source_topic AS topic, r.source_partition AS partition, r.source_offset,
       r.source_index
FROM quality_report AS r;

CREATE VIEW dashboard.maintenance_record AS
SELECT machine_id, factory_id, kind, component, note, event_time, ingest_time, event_id, stored_time, cluster,
       source_topic AS topic, source_partition AS partition, source_offset, source_index
FROM maintenance_record;

CREATE VIEW dashboard.pump_state AS
SELECT machine_id, factory_id,
       (readings ->> 'power')::double precision AS power,
       (readings ->> 'temperature')::double precision AS temperature,
       (readings ->> 'suction_pressure')::double precision AS suction_pressure,
       (readings ->> 'discharge_pressure')::double precision AS discharge_pressure,
       (readings ->> 'vibration')::double precision AS vibration,
       last_seen, messages, updated_at
FROM machine_state
WHERE machine_type = 'hvac_pump';

-- A failure is no maintenance. Where none is known, time counts from when the machine was first seen
CREATE VIEW dashboard.service_due AS
SELECT m.machine_id, m.factory_id, m.machine_type, s.component, s.task, s.manufacturer, s.every_h, s.every_days,
       done.last_maintenance,
       due.next_due,
       due.next_due < now() AS overdue
FROM machine_state AS m
JOIN service_schedule AS s USING (machine_type)
LEFT JOIN LATERAL (
    SELECT max(r.event_time) AS last_maintenance FROM maintenance_record AS r
    WHERE r.machine_id = m.machine_id AND r.component = s.component AND r.kind <> 'failure'
) AS done ON true
CROSS JOIN LATERAL (
    SELECT coalesce(done.last_maintenance, m.first_seen) + s.every_days * interval '1 day' AS next_due
) AS due;

GRANT SELECT ON dashboard.quality_report, dashboard.maintenance_record, dashboard.pump_state, dashboard.service_due
    TO pipeline_worker, pipeline_dashboard;
