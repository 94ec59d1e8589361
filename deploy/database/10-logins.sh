#!/bin/sh
# Logins of workers and dashboards; `pipeline migrate` gives both roles their rights.
set -eu
psql --username postgres --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 \
    --set worker="$WORKER_PASSWORD" --set dashboard="$DASHBOARD_PASSWORD" <<'SQL'
CREATE ROLE pipeline_worker NOLOGIN;
CREATE ROLE pipeline_dashboard NOLOGIN;
CREATE ROLE pipeline LOGIN PASSWORD :'worker' IN ROLE pipeline_worker;
CREATE ROLE dashboard LOGIN PASSWORD :'dashboard' IN ROLE pipeline_dashboard;
SQL
