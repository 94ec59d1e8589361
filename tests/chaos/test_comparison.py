"""The comparison holds for what workers stored, and finds every single change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipeline.verify import behind, ledger_ends
from tests.chaos.comparison import compare
from tests.system.processes import Site

MISBEHAVED = (
    "duplicate_share=0.03", "late_share=0.03", "late_max_ms=90000", "lab_share=0.1", "out_of_order_share=0.03",
    "garbage_share=0.02", "array_share=0.05", "offline_share=0.002", "offline_ms=30000", "reboot_share=0.002",
    "interval_ms=2000",
)  # fmt: skip

_ONE = "WHERE ctid = (SELECT ctid FROM {table} {such} LIMIT 1)"
CHANGES = {
    "a deleted event": ("event", "lost", "DELETE FROM event", "WHERE event_type = 'Telemetry Ingest'"),
    "a doubled event": (
        "event",
        "doubled",
        "INSERT INTO event SELECT * FROM event",
        "WHERE event_type = 'Telemetry Ingest'",
    ),
    "an event of another machine": (
        "event",
        "changed",
        "UPDATE event SET machine_id = 'press-99999'",
        "WHERE event_type = 'Telemetry Ingest'",
    ),
    "another body": (
        "event",
        "changed",
        "UPDATE event SET body = replace(body::text, 'humidity', 'humility')::json",
        "WHERE event_type = 'Telemetry Ingest' AND body -> 'readings' IS NOT NULL",
    ),
    "a deleted dead letter": ("dead_letter", "lost", "DELETE FROM dead_letter", ""),
    "a deleted window": ("reading_window", "lost", "DELETE FROM reading_window", ""),
    "a window that counts one more": ("reading_window", "changed", "UPDATE reading_window SET count = count + 1", ""),
    "a window whose mean is off": (
        "reading_window",
        "changed",
        "UPDATE reading_window SET mean = mean * (1 + 1e-8)",
        "",
    ),
    "a window whose last is another": ("reading_window", "changed", "UPDATE reading_window SET last = last + 1", ""),
    "a window that is later": (
        "reading_window",
        "changed",
        "UPDATE reading_window SET late_count = late_count + 1",
        "",
    ),
    "a deleted anomaly": ("anomaly", "lost", "DELETE FROM anomaly", ""),
    "an anomaly with another score": ("anomaly", "changed", "UPDATE anomaly SET score = score * (1 + 1e-8)", ""),
    "an anomaly of the other kind": (
        "anomaly",
        "unexpected",
        "UPDATE anomaly SET kind = CASE kind WHEN 'dip' THEN 'spike' ELSE 'dip' END",
        "",
    ),
    "a deleted event of an anomaly": (
        "event of an anomaly",
        "lost",
        "DELETE FROM event",
        "WHERE event_type <> 'Telemetry Ingest'",
    ),
    "a machine with another duplicate": (
        "machine_state",
        "changed",
        "UPDATE machine_state SET duplicates = duplicates + 1",
        "",
    ),
    "a machine with an older reading": (
        "machine_state",
        "changed",
        "UPDATE machine_state SET readings = readings || '{\"humidity\": 1}'",
        "",
    ),
}


@pytest.mark.timeout(240)
def test_it_holds_for_what_a_worker_stored_and_finds_every_change(
    site: Callable[..., Site], database, postgres_dsn: str, tmp_path: Path
) -> None:
    at = site(partitions=2)
    ledger = tmp_path / "ledger.csv"
    worker = at.worker("worker")
    sent = at.run(
        "simulate", f"--ledger={ledger}", "--machines=20", "--messages=4000", "--backfill",
        f"--topic={at.topics[0]}", *(f"--plant={pair}" for pair in MISBEHAVED),
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    ends = ledger_ends(ledger)
    at.wait(lambda: behind(ends, database.admin_dsn, at.group) == 0)
    assert worker.stop() == 0

    whole = compare(ledger, database.admin_dsn, at.topics[0], at.group, tmp_path / "whole")

    assert whole.holds, whole
    assert whole.messages > 4000
    assert min(whole.garbage, whole.duplicates, *(table.rows for table in whole.tables.values())) >= 20
    assert whole.undecided == 0
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        for number, (what, (table, wrong, change, such)) in enumerate(CHANGES.items()):
            name = f"{database.name}_{number}"
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {database.name}")
            dsn = make_conninfo(postgres_dsn, dbname=name)
            with psycopg.connect(dsn, options="-c search_path=telemetry") as connection:
                of = change.split()[2 if change.startswith(("DELETE", "INSERT")) else 1]
                assert connection.execute(f"{change} {_ONE.format(table=of, such=such)}").rowcount == 1, what
            found = compare(ledger, dsn, at.topics[0], at.group, tmp_path / name)
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

            assert not found.holds, what
            assert found.tables[table].differing in {1, 2}, (what, found)
            assert any(text.startswith(wrong) for text in found.tables[table].examples), (what, found)
