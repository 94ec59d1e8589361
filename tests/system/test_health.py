"""What a worker tells about itself (R51): its metrics agree with the tables, and its health with what it does."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from tests.system.processes import Process, Site
from tests.system.producing import message, produce

MACHINES, RECORDS = 10, 2_000


def metrics(worker: Process) -> Callable[..., float]:
    """Return a function that sums the samples of a name that carry some labels."""
    status, text = worker.ask("/metrics")
    assert status == 200
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(name: str, **labels: str) -> float:
        chosen = [s.value for s in samples if s.name == f"pipeline_{name}" and labels.items() <= s.labels.items()]
        assert chosen, name
        return sum(chosen)

    return total


def test_metrics_of_a_running_worker_agree_with_its_tables(site: Callable[..., Site], broker_address: str) -> None:
    at = site(partitions=2, settings={"FLUSH__SNAPSHOT_INTERVAL_S": 0.1})
    worker = at.worker("worker")
    bodies = [message(machine=f"m-{n % MACHINES}", seq=n) for n in range(RECORDS)]
    produce(broker_address, at.topics[0], [*bodies, bodies[-1], b"no message"], partition=0)
    produce(broker_address, at.topics[0], [message(machine="late", time="2026-01-01T00:00:00Z")], partition=0)
    at.wait(lambda: at.merged() == RECORDS + 3)
    at.wait(lambda: bool(worker.lines("snapshot.kept")))
    at.wait(lambda: "pipeline_lag_records{" in worker.ask("/metrics")[1] and metrics(worker)("lag_records") == 0)

    told = metrics(worker)

    assert told("records_received_total") == told("records_stored_total") == RECORDS + 3
    assert told("events_stored_total") == at.one("SELECT count(*) FROM event WHERE event_type = 'Telemetry Ingest'")
    assert told("duplicate_messages_total") == at.one("SELECT sum(duplicates) FROM source_progress") == 1
    assert told("late_messages_total") == at.one("SELECT sum(late) FROM machine_state") == 1
    assert told("dead_letters_total") == at.one("SELECT count(*) FROM dead_letter") == 1
    assert told("dead_letters_total", reason="not_json") == 1
    assert told("mark", mark="effects") == at.stored()
    assert told("mark", mark="windows") == at.merged()
    assert told("snapshot_bytes") == at.one("SELECT sum(length(state)) FROM partition_snapshot")
    assert 0 < told("effects_age_seconds", partition="0") < 120
    assert told("transaction_rows_sum") >= RECORDS
    assert 0 < told("transaction_seconds_sum") / told("transactions_total", outcome="stored") < 10
    assert (told("acquisitions_total"), told("rebalances_total")) == (2, 1)
    assert told("partitions", state="owned") == told("partitions", state="assigned") == 2
    assert told("event_loop_delay_seconds_count") > 0
    assert worker.stop() == 0


def test_a_worker_is_ready_when_it_owns_what_it_was_given_and_its_database_answers(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    at = site(partitions=2)
    workers = [at.worker("one"), at.worker("two")]
    at.wait(lambda: all(worker.lines("health.listening") for worker in workers))

    at.wait(lambda: all(worker.ask("/readyz")[0] == 200 for worker in workers))
    at.wait(lambda: [json.loads(worker.ask("/readyz")[1])["owned"] for worker in workers] == [1, 1])

    assert json.loads(workers[0].ask("/livez")[1])["ok"] is True
    assert workers[0].ask("/nothing")[0] == 404
    addresses = {line["address"] for worker in workers for line in worker.lines("health.listening")}
    assert len(addresses) == 2
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        # As a standby would that the connections fail over to
        admin.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s",
            [database.name, "pipeline worker%"],
        )
    produce(broker_address, at.topics[0], [message()])
    at.wait(lambda: any(worker.ask("/readyz")[0] == 503 for worker in workers))
    assert all(worker.ask("/livez")[0] == 200 for worker in workers)
