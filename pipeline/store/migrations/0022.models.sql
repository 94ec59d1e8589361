-- Learned models: versions, which stay what they are, and the stages in which consumer groups have them

-- For whoever adds models and decides which predict; workers only read them
DO $$
BEGIN
    IF to_regrole('pipeline_engineer') IS NULL THEN
        CREATE ROLE pipeline_engineer NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

CREATE TABLE model_version (
    model_id         bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text         NOT NULL CHECK (kind <> ''),
    machine_type     text         NOT NULL CHECK (machine_type <> ''),
    version          int          NOT NULL CHECK (version > 0),
    parameters       jsonb        NOT NULL,
    training         jsonb        NOT NULL,
    metrics          jsonb        NOT NULL,
    feature_version  int          NOT NULL,
    schema_version   int          NOT NULL,
    sha256           text         NOT NULL CHECK (sha256 = encode(sha256(artefact), 'hex')),
    artefact         bytea        NOT NULL,
    created_at       timestamptz  NOT NULL DEFAULT clock_timestamp(),
    created_by       text         NOT NULL DEFAULT session_user,
    note             text         NOT NULL,
    UNIQUE (kind, machine_type, version),
    -- Whoever learns the same once more gets the version that there is
    UNIQUE (kind, machine_type, sha256),
    UNIQUE (model_id, kind, machine_type)
);
-- The artefact is compressed already
ALTER TABLE model_version ALTER COLUMN artefact SET STORAGE EXTERNAL;

-- Replays fold with the models of then
CREATE FUNCTION keep_model_version() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    rest model_version;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        rest := NEW;
        rest.metrics := OLD.metrics;
        IF rest IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'a version of a model stays what it is: only its metrics change' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER model_version_stays BEFORE UPDATE OR DELETE ON model_version
    FOR EACH ROW EXECUTE FUNCTION keep_model_version();

-- A group has a version in the stage of the row without until; in none: the version is a candidate. follows: of a live one, the
-- row that a rollback goes back to
CREATE TABLE model_stage (
    id              bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster         text         NOT NULL,
    consumer_group  text         NOT NULL,
    model_id        bigint       NOT NULL,
    kind            text         NOT NULL,
    machine_type    text         NOT NULL,
    stage           text         NOT NULL CHECK (stage IN ('shadow', 'live', 'retired')),
    since           timestamptz  NOT NULL,
    until           timestamptz,
    follows         bigint       REFERENCES model_stage (id),
    control_id      bigint,
    reason          text         NOT NULL,
    created_by      text         NOT NULL DEFAULT session_user,
    FOREIGN KEY (model_id, kind, machine_type) REFERENCES model_version (model_id, kind, machine_type)
);
CREATE UNIQUE INDEX model_stage_present ON model_stage (model_id, cluster, consumer_group) WHERE until IS NULL;
CREATE UNIQUE INDEX model_stage_live ON model_stage (kind, machine_type, cluster, consumer_group)
    WHERE until IS NULL AND stage = 'live';
CREATE INDEX model_stage_history ON model_stage (kind, machine_type, cluster, consumer_group, id);

GRANT SELECT ON model_version, model_stage TO pipeline_worker, pipeline_engineer;
GRANT INSERT, UPDATE (metrics) ON model_version TO pipeline_engineer;
GRANT INSERT, UPDATE (until) ON model_stage TO pipeline_engineer;
GRANT SELECT, INSERT ON control_record TO pipeline_engineer;

-- Whoever decides about models decides about nothing else
CREATE FUNCTION keep_control_record() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.kind <> 'model' AND pg_has_role(current_user, 'pipeline_engineer', 'USAGE')
       AND NOT pg_has_role(current_user, 'pipeline_worker', 'USAGE') THEN
        RAISE EXCEPTION 'a control record of the kind % is not for who decides about models', NEW.kind
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The artefact is found by this number
    IF NEW.kind = 'model' AND NOT coalesce(NEW.body ->> 'model_id' ~ '^[0-9]{1,18}$', false) THEN
        RAISE EXCEPTION 'a control record of the kind model names no model' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER control_record_sound BEFORE INSERT ON control_record
    FOR EACH ROW EXECUTE FUNCTION keep_control_record();
GRANT SELECT ON _yoyo_migration TO pipeline_engineer;
GRANT USAGE ON SCHEMA dashboard TO pipeline_engineer;
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO pipeline_engineer', current_schema());
END
$$;

-- Of several groups that have a version in different stages the foremost counts
CREATE VIEW dashboard.model_version AS
SELECT v.model_id, v.kind, v.machine_type, v.version, coalesce(s.stage, 'candidate') AS stage, v.parameters, v.training,
       v.metrics, v.feature_version, v.schema_version, v.sha256, octet_length(v.artefact) AS artefact_bytes, v.created_at,
       v.created_by, v.note
FROM model_version AS v
LEFT JOIN LATERAL (
    SELECT stage FROM model_stage WHERE model_id = v.model_id AND until IS NULL
    ORDER BY array_position(ARRAY['live', 'shadow', 'retired'], stage) LIMIT 1
) AS s ON true;

CREATE VIEW dashboard.model_stage AS
SELECT s.cluster, s.consumer_group, s.model_id, s.kind, s.machine_type, v.version, s.stage, s.since, s.until, s.reason,
       s.created_by, s.control_id
FROM model_stage AS s JOIN model_version AS v USING (model_id);

-- Of each model the last word in each partition; a live one is out as soon as there is a newer one. Places in a log that was lost
-- are none in the present one
CREATE VIEW dashboard.model_in_force AS
SELECT cluster, consumer_group, topic, partition, kind, machine_type, version, model_id, stage, from_offset, control_id, noted_at
FROM (
    SELECT DISTINCT ON (c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'model_id')
           c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'kind' AS kind,
           c.body ->> 'machine_type' AS machine_type, (c.body ->> 'version')::int AS version,
           (c.body ->> 'model_id')::bigint AS model_id, c.body ->> 'action' AS stage, e."offset" AS from_offset,
           c.id AS control_id, e.noted_at, e.ordinal,
           max(e.ordinal) FILTER (WHERE c.body ->> 'action' = 'live') OVER (
               PARTITION BY c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'kind', c.body ->> 'machine_type'
           ) AS newest_live
    FROM control_record AS c
    JOIN control_effect AS e ON e.control_id = c.id
    JOIN source_progress AS p
      ON (p.cluster, p.consumer_group, p.topic, p.partition) = (c.cluster, c.consumer_group, e.topic, e.partition)
    WHERE c.kind = 'model' AND c.topic IS NULL AND (p.log_since IS NULL OR e.noted_at >= p.log_since)
    ORDER BY c.cluster, c.consumer_group, e.topic, e.partition, c.body ->> 'model_id', e.ordinal DESC
) AS said
WHERE stage = 'shadow' OR stage = 'live' AND ordinal = newest_live;

GRANT SELECT ON dashboard.model_version, dashboard.model_stage, dashboard.model_in_force
    TO pipeline_worker, pipeline_dashboard, pipeline_engineer;
