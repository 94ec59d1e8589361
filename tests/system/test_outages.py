"""Services that are away (R35, R51): workers wait, nothing is lost, and they go on by themselves."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pipeline.broker import topics
from pipeline.broker.embedded import EmbeddedBroker
from pipeline.broker.security import BrokerSecurity
from pipeline.processes import free_ports
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate
from tests.chaos.proxy import Proxy, Trouble
from tests.chaos.stand import two_doors
from tests.forks import Forks
from tests.system.processes import Site
from tests.system.producing import message, produce

EARLY = str(Path(__file__).with_name("early_worker.py"))


def machines(dsn: str) -> dict[str, int]:
    with connect(dsn) as connection:
        rows = connection.execute(
            "SELECT machine_id, count(*) FROM event WHERE event_type = 'Telemetry Ingest' GROUP BY 1"
        )
        return dict(rows.fetchall())


@pytest.mark.timeout(200)
def test_a_worker_goes_on_by_itself_after_database_and_broker_were_cut_off(
    tmp_path: Path, own_broker, own_postgres, commands: Forks
) -> None:
    broker, postgres = own_broker(), own_postgres()
    migrate(postgres.dsn)
    topics.create_topics(broker.address, BrokerSecurity(), ["t"], 2)
    at = Site(tmp_path, broker.address, postgres.dsn, ["t"], {"FLUSH__MAX_PENDING_RECORDS": 500}, commands)
    try:
        worker = at.worker("worker")
        send = lambda phase: [  # noqa: E731  # a word for what each phase does
            produce(broker.address, "t", [message(machine=phase, seq=n) for n in range(2000)], partition=p)
            for p in (0, 1)
        ]
        send("before")
        at.wait(lambda: at.stored() == 4000)

        postgres.kill()
        send("database away")
        at.wait(lambda: worker.said("flush.waiting"))
        postgres.start()
        at.wait(lambda: at.stored() == 8000)

        broker.kill()
        broker.start()
        send("after the broker's death")
        at.wait(lambda: at.stored() == 12_000, within_s=90)

        assert machines(postgres.dsn) == dict.fromkeys(("before", "database away", "after the broker's death"), 4000)
        assert worker.stop() == 0
    finally:
        at.end()


def test_a_worker_that_starts_before_its_database_waits_for_it(
    tmp_path: Path, broker_address, topic, own_postgres, commands: Forks
) -> None:
    postgres = own_postgres()
    migrate(postgres.dsn)
    postgres.stop()
    at = Site(tmp_path, broker_address, postgres.dsn, [topic(partitions=1)], commands=commands)
    try:
        worker = at.worker("worker")
        produce(broker_address, at.topics[0], [message(seq=n) for n in range(10)])
        at.wait(lambda: worker.said("service.waiting"))

        postgres.start()

        at.wait(lambda: worker.said("partition.acquired"))
        at.wait(lambda: at.stored() == 10)
        assert worker.stop() == 0
    finally:
        at.end()


@pytest.mark.timeout(200)
def test_a_worker_whose_broker_goes_while_it_starts_waits_for_it_and_can_be_stopped_meanwhile(
    tmp_path: Path, own_broker, database, commands: Forks
) -> None:
    broker = own_broker()
    topics.create_topics(broker.address, BrokerSecurity(), ["t"], 2)
    broker.kill()
    at = Site(tmp_path, broker.address, database.dsn, ["t"], commands=commands)
    try:
        names = ("producer", "consumer")
        stopped, waiting = (
            [at.worker(f"{client}-{fate}", program=[EARLY, client]) for client in names]
            for fate in ("stopped", "waits")
        )
        at.wait(lambda: all(worker.said("broker.waiting") for worker in [*stopped, *waiting]))
        assert [worker.stop() for worker in stopped] == [0, 0]

        broker.start()
        for partition in (0, 1):
            sent = [message(machine=f"press-{partition}", seq=n) for n in range(10)]
            produce(broker.address, "t", sent, partition=partition)
        at.wait(lambda: all(worker.said("partition.acquired") for worker in waiting))
        at.wait(lambda: at.stored() == 20)
        assert [worker.stop() for worker in waiting] == [0, 0]
    finally:
        at.end()


def test_a_stopped_worker_leaves_nothing_to_fold_again(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    at = site(partitions=2, settings={"FLUSH__WINDOWS_INTERVAL_S": 600, "FLUSH__SNAPSHOT_INTERVAL_S": 600})
    first = at.worker("first")
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(3000)])
    at.wait(lambda: at.stored() == 3000)

    assert first.stop() == 0

    with connect(database.admin_dsn) as connection:
        marks = connection.execute(
            "SELECT p.partition, effects_next, windows_next, snapshot_offset FROM source_progress AS p"
            " LEFT JOIN partition_snapshot USING (cluster, consumer_group, topic, partition) ORDER BY 1"
        ).fetchall()
        counted = connection.execute("SELECT sum(count) FROM reading_window").fetchone()
    assert marks[0] == (0, 3000, 3000, 3000)
    assert counted == (6000,)
    second = at.worker("second")
    at.wait(lambda: second.said('"position": 3000'))


def test_a_frozen_worker_inside_a_transaction_loses_its_connection_and_not_a_row(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    """The first worker is stopped while it holds the progress row's lock; the next one takes over all the same."""
    at = site(partitions=1)
    first = at.worker("first")
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(100)])
    at.wait(lambda: at.stored() == 100)
    with psycopg.connect(database.admin_dsn, options="-c search_path=telemetry") as blocker:
        # The worker's next transaction waits for this row, inside its own transaction
        blocker.execute("SELECT 1 FROM source_progress WHERE consumer_group = %s FOR UPDATE", [at.group])
        produce(broker_address, at.topics[0], [message(seq=n) for n in range(100, 200)])
        time.sleep(1)
        first.signal(signal.SIGSTOP)
    second = at.worker("second")

    at.wait(lambda: at.stored() == 200)

    first.signal(signal.SIGCONT)
    at.wait(lambda: machines(database.dsn) == {"press-00001": 200})
    assert second.stop() == 0
    at.wait(lambda: machines(database.dsn) == {"press-00001": 200})


@pytest.mark.timeout(200)
def test_a_worker_that_is_told_to_stop_while_the_broker_is_deaf_ends_when_its_connections_do(
    tmp_path: Path, database, commands: Forks
) -> None:
    client, direct, controller = free_ports(3)
    proxy = Proxy(client).start()
    settings = two_doors(client, direct, controller, proxy.port)
    with EmbeddedBroker(tmp_path / "kafka", port=client, settings=settings):
        topics.create_topics(f"127.0.0.1:{direct}", BrokerSecurity(), ["t"], 2)
        at = Site(tmp_path, f"127.0.0.1:{proxy.port}", database.dsn, ["t"], commands=commands)
        try:
            worker = at.worker("worker")
            at.wait(lambda: worker.said("partition.acquired"))
            proxy.begin(Trouble.HALF_OPEN)
            worker.signal(signal.SIGTERM)
            time.sleep(3)
            proxy.heal()

            assert worker.wait(20) == 0
        finally:
            at.end()
            proxy.stop()
