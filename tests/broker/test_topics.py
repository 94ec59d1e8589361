"""Administration of topics against a real broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.broker import topics
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable, SettingsError
from pipeline.core.records import SourcePartition
from pipeline.processes import free_port

OPEN = BrokerSecurity()


def test_a_broker_that_answers_says_who_it_is(broker_address: str) -> None:
    found = topics.check_reachable(broker_address, OPEN)

    assert found.cluster_id
    assert found.brokers == (broker_address,)


def test_a_silent_address_is_named_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(BrokerUnavailable, match=f"the broker at {address} does not answer; start it") as raised:
        topics.check_reachable(address, OPEN, 1.0)

    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_creating_twice_leaves_the_first(broker_address: str, topic: Callable[..., str]) -> None:
    present = topic(partitions=3)
    absent = f"{present}-more"

    assert topics.create_topics(broker_address, OPEN, [present, absent, absent], 5) == [absent]
    assert topics.create_topics(broker_address, OPEN, [present, absent], 7) == []

    found = {each.name: each.partitions for each in topics.list_topics(broker_address, OPEN)}
    assert (found[present], found[absent]) == (3, 5)


def test_ranges_and_commits_are_told_by_partition(broker_address: str, topic: Callable[..., str]) -> None:
    name = topic(partitions=2)
    producer = Producer({"bootstrap.servers": broker_address})
    for _ in range(3):
        producer.produce(name, b"x", partition=1)
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": broker_address, "group.id": f"g-{name}"})
    consumer.commit(offsets=[TopicPartition(name, 1, 2)], asynchronous=False)
    consumer.close()

    expected = {SourcePartition(name, 0): (0, 0), SourcePartition(name, 1): (0, 3)}
    assert topics.log_ranges(broker_address, OPEN, [name]) == expected
    (described,) = topics.describe(broker_address, OPEN, [name])
    assert described.partitions[1] == topics.PartitionRange(1, 0, 3)
    assert topics.committed(broker_address, OPEN, f"g-{name}") == {SourcePartition(name, 1): 2}
    assert topics.committed(broker_address, OPEN, f"nobody-{name}") == {}


def test_a_missing_topic_is_named(broker_address: str) -> None:
    with pytest.raises(SettingsError, match="no topic absent; create it with `pipeline topics --create`"):
        topics.require(broker_address, OPEN, ["absent"])
