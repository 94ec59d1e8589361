"""R61: what the log has no longer comes from the stored events, what the database has no longer from the log."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import orjson
import psycopg

from pipeline.store.connect import connect
from tests.system.independent import compare
from tests.system.processes import Site
from tests.system.producing import delete_before, message, produce, recreate

TABLES = (
    "event", "reading_window", "factory_window", "operating_cycle", "cycle_reading", "machine_state", "anomaly", "dead_letter",
    "source_progress", "partition_snapshot",
)  # fmt: skip


def plant(first: int, end: int) -> Iterator[bytes]:
    """One message per offset, of three machines with spikes; some in arrays, some sent twice, some not accepted."""
    for n in range(first, end):
        value = 99.0 if n % 70 == 69 else 20.0 + n * 7 % 5
        body = message(machine=f"m{n % 3}", seq=n, readings={"temperature": value, "pressure": 7000.0 + n % 11})
        whole = orjson.dumps(body)
        if n % 10 == 3:
            yield b"[" + b",".join([orjson.dumps(body | {"seq": n + 10_000}), b"null", whole, whole]) + b"]"
        elif n % 10 == 7:
            yield b"not accepted"
        else:
            yield whole


def assert_tables_follow_from_events(dsn: str, events: int) -> None:
    with psycopg.connect(dsn, options="-c search_path=telemetry") as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT event_id) FROM event WHERE event_type = 'Telemetry Ingest'"
        ).fetchone()
        differences = compare(connection)
        messages = connection.execute("SELECT sum(messages) FROM machine_state").fetchone()
    assert found == (events, events)
    assert messages == (events,)
    assert {name: wrong for name, (wrong, _) in differences.items()} == {"windows": 0, "anomalies": 0}
    assert all(rows > 0 for _, rows in differences.values()), differences


def accepted(first: int, end: int) -> int:
    return sum(2 if n % 10 == 3 else n % 10 != 7 for n in range(first, end))


def test_a_log_that_begins_after_snapshot_and_windows_costs_only_what_nobody_read(
    site: Callable[..., Site], broker_address, database
) -> None:
    """Snapshot and windows mark at 200, effects mark at 400, the log begins at 430."""
    at = site(partitions=1)
    first = at.worker("first")
    produce(broker_address, at.topics[0], plant(0, 200))
    at.wait(lambda: at.stored() == 200)
    assert first.stop() == 0
    second = at.worker("second", PIPELINE_FLUSH__WINDOWS_INTERVAL_S="3600")
    produce(broker_address, at.topics[0], plant(200, 400))
    at.wait(lambda: at.stored() == 400)
    second.signal(signal.SIGKILL)
    second.wait()
    assert at.merged() == 200
    produce(broker_address, at.topics[0], plant(400, 500))
    delete_before(broker_address, at.topics[0], 430)

    third = at.worker("third")

    at.wait(lambda: at.stored() == at.merged() == 500)
    assert third.said("state.rebuilt")
    with connect(database.dashboard_dsn) as dashboard:
        gaps = dashboard.execute("SELECT from_offset, to_offset, reason FROM dashboard.source_gap").fetchall()
    assert gaps == [(400, 430, "log_start_moved")]
    assert_tables_follow_from_events(database.admin_dsn, accepted(0, 400) + accepted(430, 500))


def test_a_lost_log_leaves_complete_windows_behind(site: Callable[..., Site], broker_address, database) -> None:
    """The topic is recreated while windows of the old log are not merged yet."""
    at = site(partitions=1)
    first = at.worker("first", PIPELINE_FLUSH__WINDOWS_INTERVAL_S="3600")
    produce(broker_address, at.topics[0], plant(0, 100))
    at.wait(lambda: at.stored() == 100)
    first.signal(signal.SIGKILL)
    first.wait()
    assert at.merged() == 0
    recreate(broker_address, at.topics)
    produce(broker_address, at.topics[0], [message(machine="new", seq=n) for n in range(150)])

    at.worker("second")

    at.wait(lambda: at.stored() == at.merged() == 150)
    reasons = "SELECT count(*) FROM source_gap WHERE (from_offset, to_offset, reason) = (0, 100, 'log_recreated')"
    assert at.one(reasons) == 1
    counted = "SELECT messages FROM machine_state WHERE machine_id = %s"
    assert at.one(counted, "new") == 150
    assert sum(at.one(counted, f"m{n}") for n in range(3)) == accepted(0, 100)
    assert at.one("SELECT sum(count) FROM reading_window") == 2 * (150 + accepted(0, 100))


def test_a_database_that_is_restored_to_an_older_state_is_folded_up_to_date_again(
    site: Callable[..., Site], broker_address, database
) -> None:
    """While a worker runs, and goes on from what it holds."""
    at = site(partitions=1)
    worker = at.worker("worker")
    produce(broker_address, at.topics[0], plant(0, 200))
    at.wait(lambda: at.stored() == at.merged() == 200)
    with connect(database.admin_dsn) as admin:
        admin.execute("CREATE SCHEMA backup")
        for table in TABLES:
            admin.execute(f"CREATE TABLE backup.{table} AS SELECT * FROM {table}")
    produce(broker_address, at.topics[0], plant(200, 400))
    at.wait(lambda: at.stored() == at.merged() == 400)

    with connect(database.admin_dsn) as admin:
        admin.execute(f"TRUNCATE {', '.join(TABLES)}")
        for table in TABLES:
            admin.execute(f"INSERT INTO {table} SELECT * FROM backup.{table}")
    assert at.stored() == 200
    produce(broker_address, at.topics[0], plant(400, 410))

    at.wait(lambda: at.stored() == at.merged() == 410)
    assert_tables_follow_from_events(database.admin_dsn, accepted(0, 410))
    assert at.one("SELECT count(*) FROM source_gap") == 0
    assert worker.stop() == 0
