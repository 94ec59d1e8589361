"""R34, R57: rights in the database, tried as the logins that have them."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.store.connect import connect

VIEWS = [
    "quality_report", "maintenance_record", "pump_state", "service_due",
    "freshness", "reading_window", "reading_window_30s", "reading_window_5min", "reading_hour", "reading_day",
    "factory_window", "factory_hour", "factory_day", "operating_cycle", "cycle_rolling", "machine_state", "anomaly",
    "dead_letter_summary", "event", "event_rate", "source_gap",
    "oee_report", "oee_machine_shift", "oee_machine_day", "oee_line_shift", "oee_line_day", "oee_factory_shift",
    "oee_factory_day", "oee_freshness", "yield_sku_shift", "yield_sku_day", "hierarchy", "line_state", "factory_state",
    "machine_pump", "anomaly_pump", "anomaly_context", "factory", "line", "machine", "sku", "shift", "maintenance_rule",
    "metadata_command", "metadata_change", "silent_device", "maintenance_requirement", "maintenance_aggregate",
    "maintenance_state", "model_version", "model_stage", "model_in_force", "maintenance_prediction", "machine_outlook",
    "maintenance_disagreement", "model_period", "prediction_lineage", "prediction_misplaced",
    "model_quality", "model_quality_label", "model_quality_day", "model_drift", "model_trigger",
]  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET machine_id = 'x'",
        "DELETE FROM event",
        "TRUNCATE event",
        "DELETE FROM event_default",
        "UPDATE event_default SET machine_id = 'x'",
        "DELETE FROM source_progress",
        "DELETE FROM control_record",
        "DELETE FROM superseded_event",
        "UPDATE control_record SET reason = 'x'",
        "UPDATE outbox SET body = '{}'",
        "DROP TABLE anomaly",
        "CREATE TABLE telemetry.mine (x int)",
    ],
)
def test_a_worker_cannot_rewrite_what_is_recorded(database, statement: str) -> None:
    with connect(database.dsn, autocommit=True) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute(statement)


@pytest.mark.parametrize("view", VIEWS)
def test_a_dashboard_reads_every_view(database, view: str) -> None:
    with connect(database.dashboard_dsn) as dashboard:
        dashboard.execute(f"SELECT * FROM dashboard.{view}").fetchall()


@pytest.mark.parametrize("table", ["event", "reading_window", "dead_letter", "source_progress", "partition_snapshot"])
def test_a_dashboard_reads_no_table(database, table: str) -> None:
    with connect(database.dashboard_dsn) as dashboard, pytest.raises(psycopg.errors.InsufficientPrivilege):
        dashboard.execute(f"SELECT * FROM telemetry.{table}")


def test_no_view_is_forgotten(database) -> None:
    with connect(database.admin_dsn) as admin:
        found = admin.execute("SELECT viewname FROM pg_views WHERE schemaname = 'dashboard'").fetchall()

    assert {name for (name,) in found} == set(VIEWS)
