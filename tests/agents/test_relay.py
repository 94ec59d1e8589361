"""R62: what we publish is published in order, with stable ids, not too late, and not again after a restore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from agents.relay import DatabaseOutbox, Relay, RelayRules
from agents.vault import DatabaseVault
from pipeline.broker import publishing, topics
from pipeline.broker.publishing import Publisher
from pipeline.broker.security import BrokerSecurity
from pipeline.core.anomalies import Anomaly
from pipeline.core.effects import Effects, Events, UnitOfWork
from pipeline.core.errors import BrokerUnavailable, DatabaseUnavailable
from pipeline.core.fold import FOLD_VERSION, FoldRules
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.outbox import AlertRules, Outcome
from pipeline.core.records import SourcePartition
from pipeline.metrics import Metrics
from pipeline.rules import alert_rules
from pipeline.settings import Settings
from pipeline.store.connect import Connection, connect
from pipeline.store.progress import Progress, Subscriber
from tables.partitions import Partitions
from tests.system.consuming import order, published

A, B = SourcePartition("telemetry.machine", 0), SourcePartition("telemetry.machine", 1)
NOBODY = np.empty(0, np.int64)
NO_EVENTS = Events(NOBODY, NOBODY.astype(np.int32), NOBODY, NOBODY, [], [], [])


class Site:
    """A worker's way to the database and to the broker, with partitions that it owns."""

    def __init__(self, dsn: str, address: str, alerts: AlertRules | None, rules: RelayRules | None = None) -> None:
        self._dsn = dsn
        progress = Progress(Subscriber("local", "g", "w"), FOLD_VERSION)
        self.vault = DatabaseVault(self._connect, progress, alerts)
        self.partitions = Partitions(
            self.vault.take_over, self.vault.stored_events, self.vault.placed_controls, FoldRules()
        )
        self.box = DatabaseOutbox(self._connect, progress)
        self.publisher = Publisher(address, BrokerSecurity())
        self.metrics = Metrics()
        rules = rules or RelayRules(keep_s=3600, interval_s=0.02, max_retry_s=0.2)
        self.relay = Relay(self.partitions, self.box, self.publisher, rules, self.metrics, time.monotonic)
        self.next = {A: 0, B: 0}
        self._now_ms = int(time.time() * 1000)

    def _connect(self, autocommit: bool) -> Connection:
        return connect(self._dsn, autocommit=autocommit, lock_timeout_s=1)

    async def acquire(self, *sources: SourcePartition) -> None:
        self.partitions.release(sources)
        seen = await self.vault.peek(sources)
        for source in sources:
            await self.partitions.acquire(source, Evidence(seen.get(source), LogRange(0, 10**6), None))

    async def store(self, source: SourcePartition, number: int, age_ms: int = 0) -> None:
        """Store anomalies, two per message, of the next messages of a partition."""
        begin, end = self.next[source], self.next[source] + number
        at_ms = self._now_ms - age_ms
        found = [anomaly(source, n, sensor, at_ms + n) for n in range(begin, end) for sensor in ("t", "u")]
        unit = UnitOfWork(source, self.partitions.owned[source].owner, begin, end, [Effects(end, NO_EVENTS, found)])
        assert await self.vault.store([unit]) == {source}
        self.next[source] = end

    async def relay_all(self) -> None:
        while await self.relay.relay():
            pass

    def count(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0

    async def close(self) -> None:
        await self.relay.finish()
        self.vault.close()


def anomaly(source: SourcePartition, offset: int, sensor: str, at_ms: int) -> Anomaly:
    machine = f"press-{source.partition}-{offset % 5}"
    return Anomaly(offset, 0, sensor, "spike", machine, "aurora", at_ms, at_ms, at_ms, 9.0, 1.0, 8.0)


@pytest.fixture
def alert_topic(topic: Callable[..., str]) -> str:
    return topic(partitions=3, prefix="alert")


@pytest.fixture
async def site(database, broker_address: str, alert_topic: str) -> AsyncIterator[Site]:
    made = Site(database.dsn, broker_address, AlertRules(alert_topic))
    await made.acquire(A, B)
    yield made
    await made.close()


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        await relay.finish()
        await task


async def reached(holds: Callable[[], bool], within_s: float = 100.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # it is the database that is waited for
            await asyncio.sleep(0.05)


def outcomes(admin: Connection) -> dict[str | None, int]:
    return dict(admin.execute("SELECT outcome, count(*) FROM outbox GROUP BY 1").fetchall())


async def test_anomalies_are_published_once_in_the_order_of_their_source_with_the_ids_of_their_events(
    site: Site, admin, broker_address: str, alert_topic: str
) -> None:
    async with running(site.relay):
        for _ in range(5):
            await site.store(A, 40)
            await site.store(B, 10)
        await reached(lambda: outcomes(admin) == {"published": 500})

    found = published(broker_address, alert_topic)
    rows = admin.execute(
        "SELECT a.event_id::text, source_offset, machine_id, sensor, e.event_type, message_id::text"
        " FROM anomaly AS a JOIN event AS e USING (event_id, machine_id, source_offset)"
    ).fetchall()
    says = [(x.id, x.source[2], x.key, x.body["sensor"], x.body["event_type"], x.body["message_id"]) for x in found]
    assert sorted(says) == sorted(rows)
    assert len(says) == len({id_ for id_, *_ in says}) == 500
    assert all(x.id == x.body["event_id"] and x.key == x.body["machine_id"] for x in found)
    assert {x.partition for x in found} == {0, 1, 2}
    for places in order(found).values():
        assert places == sorted(places)
    of_one_message = [x.body["sensor"] for x in found if x.source[:3] == (*A, 0)]
    assert of_one_message == ["t", "u"]
    assert site.count("pipeline_outbox_messages_total", outcome="published") == 500


async def test_nothing_is_written_for_a_topic_that_is_not_set(database, admin, broker_address: str) -> None:
    assert alert_rules(Settings()) is None
    site = Site(database.dsn, broker_address, alert_rules(Settings()))
    await site.acquire(A)

    await site.store(A, 3)

    assert outcomes(admin) == {}
    await site.close()


async def test_what_is_too_old_when_its_turn_comes_is_passed_and_counted(
    database, admin, broker_address: str, alert_topic: str
) -> None:
    site = Site(database.dsn, broker_address, AlertRules(alert_topic, expiry_ms=60_000))
    await site.acquire(A)
    await site.store(A, 3, age_ms=61_000)
    await site.store(A, 2)

    await site.relay_all()

    assert outcomes(admin) == {"expired": 6, "published": 4}
    assert [each.source[2] for each in sorted(published(broker_address, alert_topic), key=lambda x: x.source)] == [
        3,
        3,
        4,
        4,
    ]
    assert site.count("pipeline_outbox_messages_total", outcome="expired") == 6
    await site.close()


class _Amnesia(DatabaseOutbox):
    """Forgets to mark what was published, as a process does that dies in between."""

    async def mark(self, owners: object, outcomes: object) -> int:
        raise DatabaseUnavailable("it was not noted")


async def test_what_was_published_and_not_noted_is_found_in_the_topic(
    site: Site, database, admin, broker_address: str, alert_topic: str
) -> None:
    await site.store(A, 20)
    site.relay._outbox = _Amnesia(site._connect, site.vault._progress)
    with pytest.raises(DatabaseUnavailable):
        await site.relay.relay()
    assert outcomes(admin) == {None: 40}
    heir = Site(database.dsn, broker_address, AlertRules(alert_topic))
    await heir.acquire(A, B)
    heir.next = site.next
    await heir.store(A, 5)

    await heir.relay_all()

    assert outcomes(admin) == {"found": 40, "published": 10}
    ids = [each.id for each in published(broker_address, alert_topic)]
    assert len(ids) == len(set(ids)) == 50
    await heir.close()


async def test_a_database_that_was_restored_publishes_nothing_twice(
    site: Site, admin, broker_address: str, alert_topic: str
) -> None:
    """Rows of later than the backup are gone, marks of later than it too; then they are folded again."""
    await site.store(A, 10)
    admin.execute("CREATE TABLE of_earlier AS SELECT * FROM outbox")
    await site.store(A, 10)
    await site.store(B, 10)
    await site.relay_all()
    assert len(published(broker_address, alert_topic)) == 60

    admin.execute("DELETE FROM outbox WHERE seq NOT IN (SELECT seq FROM of_earlier)")
    admin.execute("UPDATE outbox SET outcome = NULL, published_at = NULL")
    for source, mark in ((A, 10), (B, 0)):
        admin.execute("UPDATE source_progress SET effects_next = %s WHERE partition = %s", [mark, source.partition])
        site.next[source] = mark
    await site.acquire(A, B)
    await site.store(A, 10)
    await site.store(B, 11)
    await site.relay_all()

    assert outcomes(admin) == {"found": 60, "published": 2}
    ids = [each.id for each in published(broker_address, alert_topic)]
    assert len(ids) == len(set(ids)) == 62


async def test_of_a_long_tail_the_end_is_read(
    site: Site, monkeypatch: pytest.MonkeyPatch, alert_topic: str, broker_address: str
) -> None:
    await site.store(A, 100)
    await site.relay_all()
    now_ms = int(time.time() * 1000)
    of_a = {each.id for each in published(broker_address, alert_topic)}

    assert site.publisher.tail(alert_topic, [A, B], now_ms) == of_a
    assert site.publisher.tail(alert_topic, [B], now_ms) == set()
    assert site.publisher.tail(alert_topic, [A], now_ms + publishing.CLOCKS_APART_MS + 60_000) == set()
    monkeypatch.setattr(publishing, "TAIL_RECORDS", 30)
    assert len(site.publisher.tail(alert_topic, [A], 0)) == 30


async def test_only_the_owner_publishes_and_only_the_owner_notes_it(
    site: Site, database, admin, broker_address: str, alert_topic: str
) -> None:
    await site.store(A, 3)
    before = [partition.owner for partition in site.partitions.owned.values()]
    heir = Site(database.dsn, broker_address, AlertRules(alert_topic))
    await heir.acquire(A, B)

    assert await site.relay.relay() == 0
    assert await site.box.mark(before, dict.fromkeys(range(100), Outcome.PUBLISHED)) == 0
    assert published(broker_address, alert_topic) == []
    assert await heir.relay.relay() == 6
    await heir.close()


async def test_rows_wait_while_the_broker_is_away_and_the_sink_goes_on(database, admin, own_broker) -> None:
    broker = own_broker()
    topics.create_topics(broker.address, BrokerSecurity(), ["alert"], 2)
    site = Site(database.dsn, broker.address, AlertRules("alert"), RelayRules(3600, max_retry_s=0.2, max_messages=50))
    await site.acquire(A)
    async with running(site.relay):
        await site.store(A, 10)
        await reached(lambda: outcomes(admin) == {"published": 20})
        broker.kill()
        for _ in range(5):
            await site.store(A, 100)
        await asyncio.sleep(1)
        assert outcomes(admin) == {"published": 20, None: 1000}
        assert site.count("pipeline_outbox_waiting") <= 50
        broker.start()
        await reached(
            lambda: outcomes(admin).keys() == {"published", "found"} or outcomes(admin) == {"published": 1020}
        )

    found = published(broker.address, "alert")
    assert len({each.id for each in found}) == len(found) == 1020
    for places in order(found).values():
        assert places == sorted(places)
    await site.close()


async def test_a_broker_that_takes_nothing_is_given_up_for_now_and_a_stopping_worker_waits_for_none(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PUBLISH_S", 0.5)
    nowhere = Publisher("127.0.0.1:9", BrokerSecurity())
    await site.store(A, 1)
    waiting = await site.box.waiting([partition.owner for partition in site.partitions.owned.values()], 10)
    with pytest.raises(BrokerUnavailable, match="not acknowledged"):
        nowhere.publish(waiting)

    monkeypatch.setattr(publishing, "PUBLISH_S", 60.0)
    publishing_again = asyncio.create_task(asyncio.to_thread(nowhere.publish, waiting))
    await asyncio.sleep(0.1)
    nowhere.close()
    async with asyncio.timeout(20):
        with pytest.raises(BrokerUnavailable):
            await publishing_again


async def test_old_messages_that_are_done_with_are_deleted_and_no_others(site: Site, admin) -> None:
    await site.store(A, 5)
    await site.relay_all()
    admin.execute("UPDATE outbox SET published_at = published_at - interval '2 hours' WHERE source_offset < 3")
    await site.store(A, 1)
    admin.execute("UPDATE outbox SET stored_time = stored_time - interval '9 days' WHERE outcome IS NULL")

    deleted = [await site.box.forget(3600, limit) for limit in (4, 4, 4)]

    assert deleted == [4, 2, 0]
    assert outcomes(admin) == {"published": 4, None: 2}


async def test_a_running_relay_tidies_up(database, admin, broker_address: str, alert_topic: str) -> None:
    rules = RelayRules(keep_s=0.0, interval_s=0.02, tidy_interval_s=0.1, max_messages=10)
    site = Site(database.dsn, broker_address, AlertRules(alert_topic), rules)
    await site.acquire(A)
    async with running(site.relay):
        await site.store(A, 20)
        await reached(lambda: site.count("pipeline_outbox_messages_total", outcome="published") == 40)
        await reached(lambda: outcomes(admin) == {})
    await site.close()


async def test_a_partition_that_goes_elsewhere_while_the_topic_is_looked_through_is_left_to_its_new_owner(
    site: Site, admin, broker_address: str, alert_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.store(A, 3)
    look = site.publisher.tail

    def slow(*asked: object) -> set[str]:
        site.partitions.release(())
        return look(*asked)

    monkeypatch.setattr(site.publisher, "tail", slow)
    await site.relay.relay()

    assert outcomes(admin) == {None: 6}
    assert published(broker_address, alert_topic) == []
