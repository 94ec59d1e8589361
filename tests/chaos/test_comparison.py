"""The comparison holds for what workers stored, and finds every single change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pipeline.verifying.verify import behind, ledger_ends
from tests.chaos.comparison import compare
from tests.system.processes import Site

MISBEHAVED = (
    "duplicate_share=0.03", "late_share=0.03", "late_max_ms=90000", "lab_share=0.1", "out_of_order_share=0.03",
    "garbage_share=0.02", "array_share=0.05", "offline_share=0.002", "offline_ms=30000", "reboot_share=0.002",
    "interval_ms=2000",
)  # fmt: skip

TELEMETRY, DERIVED = "event_type = 'Telemetry Ingest'", "event_type LIKE '%% Anomaly'"
CANONICAL = f"{TELEMETRY} AND body -> 'readings' IS NOT NULL"

DRIFT = """(jsonb_populate_record(anomaly, '{"kind": "drift"}')).*"""

ORDER = {
    "event": "source_partition, source_offset, source_index",
    "anomaly": "source_partition, source_offset, source_index, sensor",
    "dead_letter": "source_partition, source_offset, source_index",
    "reading_window": "machine_id, sensor, window_start",
    "machine_state": "machine_id",
}

# What is compared, how it must be called, the change, and the rows of which one is changed
CHANGES = [
    ("event", "lost", "DELETE FROM event", TELEMETRY),
    ("event", "doubled", "INSERT INTO event SELECT * FROM event", TELEMETRY),
    ("event", "changed", "UPDATE event SET machine_id = 'press-99999'", TELEMETRY),
    ("event", "changed", "UPDATE event SET event_time = event_time + interval '1 ms'", TELEMETRY),
    ("event", "changed", "UPDATE event SET body = replace(body::text, 'humidity', 'humility')::json", CANONICAL),
    ("dead_letter", "lost", "DELETE FROM dead_letter", "true"),
    ("reading_window", "lost", "DELETE FROM reading_window", "true"),
    ("reading_window", "changed", "UPDATE reading_window SET count = count + 1", "true"),
    ("reading_window", "changed", "UPDATE reading_window SET mean = mean * (1 + 1e-8)", "true"),
    ("reading_window", "changed", "UPDATE reading_window SET m2 = m2 * (1 + 1e-3)", "count > 1"),
    ("reading_window", "changed", "UPDATE reading_window SET min = min - 1", "true"),
    ("reading_window", "changed", "UPDATE reading_window SET last = last + 1", "true"),
    ("reading_window", "changed", "UPDATE reading_window SET late_count = late_count + 1", "true"),
    ("anomaly", "lost", "DELETE FROM anomaly", "true"),
    ("anomaly", "unexpected", f"INSERT INTO anomaly SELECT {DRIFT} FROM anomaly", "true"),
    ("anomaly", "changed", "UPDATE anomaly SET score = score * (1 + 1e-8)", "true"),
    ("event of an anomaly", "lost", "DELETE FROM event", DERIVED),
    ("event of an anomaly", "doubled", "INSERT INTO event SELECT * FROM event", DERIVED),
    ("machine_state", "lost", "DELETE FROM machine_state", "true"),
    ("machine_state", "changed", "UPDATE machine_state SET duplicates = duplicates + 1", "true"),
    ("machine_state", "changed", "UPDATE machine_state SET readings = readings || '{\"humidity\": 1}'", "true"),
]  # fmt: skip


def spoil(dsn: str) -> Counter[tuple[str, str]]:
    """Make every change to a row of its own; return how many there are of each table and sort."""
    with psycopg.connect(dsn, options="-c search_path=telemetry") as connection:
        for place, (_, _, change, such) in enumerate(CHANGES):
            table = change.split()[2 if change.startswith(("DELETE", "INSERT")) else 1]
            # By a key that stays where it is, so that each change finds a row of its own
            offset = place if table == "machine_state" else 13 * place
            one = f"SELECT ctid FROM {table} WHERE {such} ORDER BY {ORDER[table]} LIMIT 1 OFFSET {offset}"
            assert connection.execute(f"{change} WHERE ctid = ({one})").rowcount == 1, change
    return Counter((table, wrong) for table, wrong, _, _ in CHANGES)


def set_aside(dsn: str, *reasons: str) -> None:
    """Decide to skip a garbage record for each reason: it is a dead letter already, so that no table changes."""
    with psycopg.connect(dsn, options="-c search_path=telemetry") as connection:
        for place, reason in enumerate(reasons):
            added = connection.execute(
                'INSERT INTO control_record (kind, cluster, consumer_group, topic, partition, "offset", reason, detail,'
                " created_by) SELECT 'skip', cluster, consumer_group, source_topic, source_partition, source_offset, %s, '',"
                f" 'test' FROM dead_letter WHERE substring(body FOR 1) <> '[' ORDER BY {ORDER['dead_letter']}"
                " LIMIT 1 OFFSET %s",
                [reason, place],
            )
            assert added.rowcount == 1, reason


@pytest.mark.timeout(120)
def test_it_holds_for_what_a_worker_stored_and_finds_every_change(
    site: Callable[..., Site], database, tmp_path: Path
) -> None:
    at = site(partitions=2)
    ledger = tmp_path / "ledger.csv"
    worker = at.worker("worker")
    sent = at.run(
        "simulate", f"--ledger={ledger}", "--machines=30", "--messages=4000", "--backfill",
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
    assert whole.undecided == whole.skips == 0
    due = spoil(database.admin_dsn)
    set_aside(database.admin_dsn, "fold_failed", "fold_failed", "unstorable")
    found = compare(ledger, database.admin_dsn, at.topics[0], at.group, tmp_path / "spoilt")

    assert not found.holds
    assert {(name, wrong): n for name, table in found.tables.items() for wrong, n in table.wrong.items()} == due
    assert (found.lost, found.doubled) == (2, 1)
    assert (found.skips, found.skips_otherwise) == (3, 1)
