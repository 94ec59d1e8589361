-- Up to when rows of a table may have been dropped because of their age: what is older is not missed when tables are compared.
-- Of event, also up to when that was done without an archive
CREATE TABLE retention_mark (
    table_name           text        PRIMARY KEY,
    dropped_before       timestamptz NOT NULL,
    not_archived_before  timestamptz
);
GRANT SELECT ON retention_mark TO pipeline_worker;
