"""R10: publishing with the records' own time, and finding again what a topic has."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from pipeline.broker import publishing, retention, topics
from pipeline.broker.publishing import Key, Publisher
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.records import SourcePartition
from pipeline.delivery import HistoryMessage
from tests.cli.test_commands import NOWHERE
from tests.system.producing import delete_before

OPEN = BrokerSecurity()
AT_MS = 1_795_298_400_000


@pytest.fixture
def publisher(broker_address: str) -> Publisher:
    return Publisher(broker_address, OPEN, compression="lz4")


def key(text: str) -> Key:
    return text.encode(), text.encode()


def messages(topic: str, *texts: str) -> list[HistoryMessage]:
    return [HistoryMessage(topic, text, text.encode(), AT_MS) for text in texts]


def test_what_is_published_has_its_own_time_and_its_place_is_told(
    broker_address: str, publisher: Publisher, topic: Callable[..., str]
) -> None:
    name = topic(partitions=1)

    assert publisher.publish(messages(name, "a", "b")) == {SourcePartition(name, 0): 2}
    assert publisher.publish(messages(name, "c")) == {SourcePartition(name, 0): 3}
    assert publisher.publish([]) == {}
    consumer = Consumer({"bootstrap.servers": broker_address, "group.id": "look"})
    consumer.assign([TopicPartition(name, 0, 0)])
    records = consumer.consume(3, 20)
    consumer.close()
    assert [(each.key(), each.value(), each.timestamp()[1]) for each in records] == [
        (text, text, AT_MS) for text in (b"a", b"b", b"c")
    ]


def test_what_is_there_is_found_as_often_as_it_is_looked_for_and_there(
    publisher: Publisher, topic: Callable[..., str]
) -> None:
    name = topic(partitions=3)
    publisher.publish(messages(name, "early", *"abcdefgh"))
    ends = {each.partition: end for each, end in publisher.publish(messages(name, *"xyz")).items()}
    publisher.publish(messages(name, "a", "b", "b", "c", "c", "c"))

    wanted = Counter({key("a"): 2, key("b"): 2, key("c"): 2, key("early"): 1, key("nowhere"): 1})
    everything = publisher.find(name, wanted, {})
    assert everything == Counter({key("a"): 2, key("b"): 2, key("c"): 2, key("early"): 1})
    whole = {number: ends.get(number, 1000) for number in range(3)}
    later = publisher.find(name, wanted, whole)
    assert set(later) <= {key("a"), key("b"), key("c")}
    assert later[key("early")] == 0
    assert publisher.find(name, Counter(), {}) == Counter()


def test_a_log_that_lost_its_beginning_is_looked_through_from_where_it_begins(
    broker_address: str, publisher: Publisher, topic: Callable[..., str]
) -> None:
    name = topic(partitions=1)
    publisher.publish(messages(name, *"abc"))
    delete_before(broker_address, name, 2)

    assert publisher.find(name, Counter(map(key, "abc")), {0: 0}) == Counter([key("c")])


def test_a_broker_that_is_away_is_named() -> None:
    publisher = Publisher(NOWHERE, OPEN, patience_s=0.3)

    with pytest.raises(BrokerUnavailable, match=NOWHERE):
        publisher.publish(messages("t", "a"))


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        ({"retention.ms": "1000"}, 1000),
        ({"retention.ms": "-1"}, None),
        ({"cleanup.policy": "compact", "retention.ms": "2000"}, None),
        ({"cleanup.policy": "compact,delete", "retention.ms": "2000"}, 2000),
        ({"message.timestamp.type": "LogAppendTime", "retention.ms": "2000"}, None),
    ],
)
def test_how_long_records_are_kept_by_their_own_time(
    broker_address: str, topic: Callable[..., str], properties: dict[str, Any], kept: int | None
) -> None:
    name = f"{topic()}-kept"
    topics.create_topics(broker_address, OPEN, [name], 1, properties=properties)

    assert retention.keeps_ms(broker_address, OPEN, name) == kept


def test_an_interrupt_while_a_delivery_is_told_is_not_lost(
    broker_address: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*source: Any) -> SourcePartition:
        signal.raise_signal(signal.SIGINT)
        return SourcePartition(*source)

    name = topic(1)
    publisher = Publisher(broker_address, BrokerSecurity())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(publishing, "SourcePartition", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            publisher.publish([HistoryMessage(name, "m", b"1", 0)])
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.undo()

    assert publisher.publish([HistoryMessage(name, "m", b"2", 0)]) == {SourcePartition(name, 0): 2}
