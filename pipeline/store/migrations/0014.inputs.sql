-- Stand-in: what 0018 reads. The migration that makes it for good takes the place of this file.
CREATE EXTENSION IF NOT EXISTS btree_gist;

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
CREATE INDEX quality_report_overlap ON quality_report USING gist (machine_id, sku, tstzrange(period_start, period_end));

CREATE VIEW dashboard.quality_report AS
SELECT r.machine_id, r.factory_id, r.line_id, r.sku, r.period_start, r.period_end, r.good, r.snag, r.reject,
       r.planned_s, r.run_s, r.ideal_cycle_s, r.reported_at,
       NOT EXISTS (
           SELECT FROM quality_report AS later
           WHERE later.machine_id = r.machine_id AND later.sku = r.sku
             AND tstzrange(later.period_start, later.period_end) && tstzrange(r.period_start, r.period_end)
             AND (later.reported_at, later.source_topic, later.source_partition, later.source_offset, later.source_index)
                 > (r.reported_at, r.source_topic, r.source_partition, r.source_offset, r.source_index)
       ) AS counts,
       r.run_s > r.planned_s AS over_planned,
       r.event_id, r.stored_time, r.cluster, r.source_topic AS topic, r.source_partition AS partition, r.source_offset,
       r.source_index
FROM quality_report AS r;

GRANT SELECT, INSERT, UPDATE ON quality_report TO pipeline_worker;
GRANT SELECT ON dashboard.quality_report TO pipeline_worker, pipeline_dashboard;
