-- What models said, held against what came of it; how what goes into them has changed; and when they were learned anew for that

-- Maintenance records that what models said was held against; one that is not here comes next, whenever it came
CREATE TABLE labelled_record (
    event_id     uuid         PRIMARY KEY,
    machine_id   text         NOT NULL,
    event_time   timestamptz  NOT NULL,
    labelled_at  timestamptz  NOT NULL DEFAULT clock_timestamp()
);

-- Sums for each model and life of a machine, by what was true and what was said; rows of more lives add up in any order
CREATE TABLE model_quality (
    model_id      bigint            NOT NULL REFERENCES model_version,
    machine_id    text              NOT NULL,
    ended         timestamptz       NOT NULL,
    truth         text              NOT NULL,
    said          text              NOT NULL,
    by_rules      text              NOT NULL,
    predictions   bigint            NOT NULL CHECK (predictions > 0),
    off           double precision  NOT NULL,
    off_absolute  double precision  NOT NULL,
    off_squares   double precision  NOT NULL,
    covered       bigint            NOT NULL,
    PRIMARY KEY (model_id, machine_id, ended, truth, said, by_rules)
);
CREATE INDEX model_quality_machine ON model_quality (machine_id, ended);
CREATE INDEX model_quality_time ON model_quality (model_id, ended);

-- The first place of counts is of inputs that are missing; the others lie between the edges. No machines: nobody knows how many
CREATE TABLE model_reference (
    model_id  bigint              NOT NULL REFERENCES model_version,
    feature   text                NOT NULL,
    edges     double precision[]  NOT NULL,
    counts    bigint[]            NOT NULL,
    machines  int                 NOT NULL,
    origin    text                NOT NULL,
    PRIMARY KEY (model_id, feature)
);

CREATE TABLE model_drift (
    model_id  bigint            NOT NULL REFERENCES model_version,
    feature   text              NOT NULL,
    day       date              NOT NULL,
    counts    bigint[]          NOT NULL,
    machines  int               NOT NULL,
    inputs    bigint            NOT NULL,
    psi       double precision  NOT NULL,
    by_chance double precision  NOT NULL,
    PRIMARY KEY (model_id, day, feature)
);

CREATE TABLE model_trigger (
    model_id      bigint       NOT NULL REFERENCES model_version,
    day           date         NOT NULL,
    reason        text         NOT NULL,
    candidate_id  bigint       REFERENCES model_version (model_id),
    outcome       text         NOT NULL,
    noted_at      timestamptz  NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model_id, day)
);

GRANT SELECT ON labelled_record, model_quality, model_reference, model_drift, model_trigger TO pipeline_worker, pipeline_engineer;
GRANT INSERT ON labelled_record, model_reference, model_drift, model_trigger TO pipeline_engineer;
GRANT INSERT, DELETE ON model_quality TO pipeline_engineer;
GRANT UPDATE (candidate_id, outcome) ON model_trigger TO pipeline_engineer;
GRANT SELECT ON maintenance_prediction, maintenance_record, machine_state, source_reached, source_progress TO pipeline_engineer;

CREATE VIEW model_quality_part AS
SELECT q.*, v.kind, v.machine_type, v.version,
       CASE v.kind WHEN 'remaining_life' THEN q.truth = 'failure' WHEN 'failure_type' THEN q.truth <> 'none' ELSE true END AS is_label,
       v.kind = 'remaining_life' AND q.truth = 'failure' AS is_failing,
       v.kind = 'remaining_life' AND q.truth = 'censored' AS is_censored
FROM model_quality AS q JOIN model_version AS v USING (model_id);

-- How often a class was said, how often it came, and how often both; of remaining life there are none
CREATE FUNCTION model_labels_since(since timestamptz)
RETURNS TABLE (model_id bigint, label text, hits bigint, told bigint, came bigint, "precision" double precision,
               recall double precision, f1 double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT model_id, label, hits, told, came, hits::float8 / nullif(told, 0), hits::float8 / nullif(came, 0),
           2.0 * hits / (told + came)
    FROM (
        SELECT p.model_id, l.label,
               coalesce(sum(p.predictions) FILTER (WHERE p.truth = p.said AND l.is_truth), 0)::bigint AS hits,
               coalesce(sum(p.predictions) FILTER (WHERE NOT l.is_truth), 0)::bigint AS told,
               coalesce(sum(p.predictions) FILTER (WHERE l.is_truth), 0)::bigint AS came
        FROM model_quality_part AS p
        CROSS JOIN LATERAL (VALUES (p.truth, true), (p.said, false)) AS l (label, is_truth)
        WHERE p.ended >= since AND p.kind <> 'remaining_life'
        GROUP BY p.model_id, l.label
    ) AS counted
$$;

-- One row for each model of which something is known since then; shares and means are over predictions
CREATE FUNCTION model_quality_since(since timestamptz)
RETURNS TABLE (model_id bigint, kind text, machine_type text, version int, labels bigint, predictions bigint,
               rmse double precision, mae double precision, bias double precision, coverage double precision, censored bigint,
               contradicted bigint, accuracy double precision, f1 double precision, rules_accuracy double precision,
               newest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT s.model_id, s.kind, s.machine_type, s.version, s.labels, s.known, sqrt(s.off_squares / s.failing),
           s.off_absolute / s.failing, s.off / s.failing, s.covered / s.failing, s.censored, s.contradicted,
           CASE WHEN s.kind <> 'remaining_life' THEN s.hits::float8 / nullif(s.known, 0) END,
           -- Over the classes that were true or said, but that nothing fails
           (SELECT avg(l.f1) FROM model_labels_since(since) AS l WHERE l.model_id = s.model_id AND l.label <> 'none'),
           s.by_rules / nullif(s.judged, 0)::float8, s.newest
    FROM (
        SELECT p.model_id, p.kind, p.machine_type, p.version, max(p.ended) AS newest,
               count(DISTINCT (p.machine_id, p.ended)) FILTER (WHERE p.is_label) AS labels,
               coalesce(sum(p.predictions) FILTER (WHERE NOT p.is_censored), 0)::bigint AS known,
               coalesce(sum(p.predictions) FILTER (WHERE p.is_censored), 0)::bigint AS censored,
               coalesce(sum(p.predictions - p.covered) FILTER (WHERE p.is_censored), 0)::bigint AS contradicted,
               sum(p.predictions) FILTER (WHERE p.is_failing)::float8 AS failing,
               sum(p.covered) FILTER (WHERE p.is_failing)::float8 AS covered,
               sum(p.off) FILTER (WHERE p.is_failing) AS off,
               sum(p.off_absolute) FILTER (WHERE p.is_failing) AS off_absolute,
               sum(p.off_squares) FILTER (WHERE p.is_failing) AS off_squares,
               coalesce(sum(p.predictions) FILTER (WHERE p.truth = p.said), 0) AS hits,
               sum(p.predictions) FILTER (WHERE p.by_rules <> '') AS judged,
               coalesce(sum(p.predictions) FILTER (WHERE p.by_rules = p.truth), 0)::float8 AS by_rules
        FROM model_quality_part AS p WHERE p.ended >= since
        GROUP BY p.model_id, p.kind, p.machine_type, p.version
    ) AS s
$$;

REVOKE ALL ON FUNCTION model_labels_since, model_quality_since FROM PUBLIC;
GRANT EXECUTE ON FUNCTION model_labels_since, model_quality_since TO pipeline_worker, pipeline_dashboard, pipeline_engineer;

CREATE VIEW dashboard.model_quality AS SELECT * FROM model_quality_since(now() - interval '30 days');

CREATE VIEW dashboard.model_quality_label AS SELECT * FROM model_labels_since(now() - interval '30 days');

-- By the UTC day in which lives ended, as far back as there is something
CREATE VIEW dashboard.model_quality_day AS
SELECT model_id, kind, machine_type, version, (ended AT TIME ZONE 'UTC')::date AS day,
       count(DISTINCT (machine_id, ended)) FILTER (WHERE is_label) AS labels,
       coalesce(sum(predictions) FILTER (WHERE NOT is_censored), 0)::bigint AS predictions,
       sqrt(sum(off_squares) FILTER (WHERE is_failing) / (sum(predictions) FILTER (WHERE is_failing))::float8) AS rmse,
       (sum(covered) FILTER (WHERE is_failing) / sum(predictions) FILTER (WHERE is_failing))::float8 AS coverage,
       (CASE WHEN kind <> 'remaining_life' THEN coalesce(sum(predictions) FILTER (WHERE truth = said), 0) / sum(predictions) END
       )::float8 AS accuracy,
       coalesce(sum(predictions) FILTER (WHERE is_censored), 0)::bigint AS censored
FROM model_quality_part
GROUP BY model_id, kind, machine_type, version, (ended AT TIME ZONE 'UTC')::date;

CREATE VIEW dashboard.model_drift AS
SELECT d.model_id, v.kind, v.machine_type, v.version, d.feature, d.day, d.psi, d.by_chance, d.inputs, d.machines,
       r.origin AS reference, nullif(r.machines, 0) AS reference_machines
FROM model_drift AS d JOIN model_version AS v USING (model_id) JOIN model_reference AS r USING (model_id, feature);

CREATE VIEW dashboard.model_trigger AS
SELECT t.model_id, v.kind, v.machine_type, v.version, t.day, t.reason, t.candidate_id, t.outcome, t.noted_at
FROM model_trigger AS t JOIN model_version AS v USING (model_id);

GRANT SELECT ON dashboard.model_quality, dashboard.model_quality_label, dashboard.model_quality_day, dashboard.model_drift,
    dashboard.model_trigger TO pipeline_worker, pipeline_dashboard, pipeline_engineer;
GRANT SELECT ON dashboard.operating_cycle TO pipeline_engineer;
