"""R62: alerts of a running worker, and of a worker on a database that was restored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from pipeline.store.connect import connect
from tests.forks import Forks
from tests.system.consuming import order, published
from tests.system.processes import Site
from tests.system.producing import message, produce

STEP = 200
SPIKES = range(60, STEP, 20)


def send(address: str, topic: str, begin: int) -> int:
    """Send a step of records of four machines to each of two partitions, some of which are not expected; return how many."""
    for partition in (0, 1):
        bodies = [message(f"press-{partition}-{n % 4}", seq=n) for n in range(begin, begin + STEP)]
        for n in SPIKES:
            bodies[n]["readings"]["pressure"] = 100.0
        produce(address, topic, bodies, partition=partition)
    return 2 * (begin + STEP)


def waiting(at: Site) -> int:
    return at.one("SELECT count(*) FROM outbox WHERE outcome IS NULL")


def test_a_worker_publishes_every_anomaly_once_and_a_restored_database_none_again(
    site: Callable[..., Site],
    tmp_path: Path,
    broker_address: str,
    database,
    topic: Callable[..., str],
    postgres_dsn: str,
    commands: Forks,
) -> None:
    alerts = topic(partitions=3, prefix="alert")
    settings = {"BROKER__ALERT_TOPIC": alerts, "SPIKES__WARM_UP": 10}
    at = site(partitions=2, settings=settings)
    first = at.worker("first")
    sent = send(broker_address, at.topics[0], 0)
    at.wait(lambda: at.stored() == sent and waiting(at) == 0)
    assert first.stop() == 0
    backup = f"{database.name}_backup"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {backup} TEMPLATE {database.name}")
    second = at.worker("second")
    sent = send(broker_address, at.topics[0], STEP)
    at.wait(lambda: at.stored() == sent and waiting(at) == 0)
    assert second.stop() == 0

    with connect(database.admin_dsn) as connection:
        anomalies = connection.execute("SELECT event_id::text FROM anomaly").fetchall()
    before = published(broker_address, alerts)
    assert len(anomalies) >= 4 * len(SPIKES)
    assert sorted(each.id for each in before) == sorted(id_ for (id_,) in anomalies)
    for places in order(before).values():
        assert places == sorted(places)

    restored = Site(
        tmp_path, broker_address, database.dsn.replace(database.name, backup), at.topics, settings, commands
    )
    try:
        assert restored.stored() < sent
        third = restored.worker("third")
        sent = send(broker_address, at.topics[0], 2 * STEP)
        restored.wait(lambda: restored.stored() == sent and waiting(restored) == 0)
        assert third.stop() == 0
        found = restored.one("SELECT count(*) FROM outbox WHERE outcome = 'found'")
        total = restored.one("SELECT count(*) FROM anomaly")
    finally:
        restored.end()
        with psycopg.connect(postgres_dsn, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {backup} WITH (FORCE)")
    after = published(broker_address, alerts)
    assert found >= 2 * len(SPIKES)
    assert len({each.id for each in after}) == len(after) == total
    assert after != before


def test_without_a_topic_nothing_is_published(site: Callable[..., Site], broker_address: str) -> None:
    at = site(partitions=2, settings={"SPIKES__WARM_UP": 10})
    worker = at.worker("worker")
    sent = send(broker_address, at.topics[0], 0)

    at.wait(lambda: at.stored() == sent)

    assert at.one("SELECT count(*) FROM anomaly") > 0
    assert at.one("SELECT count(*) FROM outbox") == 0
    assert worker.stop() == 0
