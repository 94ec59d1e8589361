"""Publishing messages of our own: in order, acknowledged by every replica, and knowing what a topic has already."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.broker.complaints import SILENT, text
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.outbox import Outgoing, read_headers
from pipeline.core.records import SourcePartition

PUBLISH_S = 10.0
"""Longest wait for the broker to take a batch of messages, s."""

TAIL_S = 30.0
"""Longest time for reading a topic's tail, s."""

TAIL_RECORDS = 100_000
"""How many of a topic's last records are read at most, over all its partitions."""

CLOCKS_APART_MS = 60_000
"""How far the clocks of brokers and workers may be apart, ms."""

_STEP_S = 0.2
_ANSWER_S = 10.0


class Publisher:
    """Publishes to topics with one producer, made when it is needed and thrown away when something fails.

    Idempotent, so that what the client itself repeats is in the topic once and in order. What is published again after a
    failure repeats messages from some place on, in order too: whoever drops ids it has seen sees each message once, in order.
    Transactions are not used; Event Hubs has none below Premium.

    Used by one thread at a time, except for :meth:`close`.

    Parameters
    ----------
    address
        ``host:port`` of one or more brokers, separated by commas.
    """

    def __init__(self, address: str, security: BrokerSecurity) -> None:
        self._address = address
        self._common: dict[str, Any] = {
            "bootstrap.servers": address,
            "logger": SILENT,
            # Azure cuts idle connections at 240 s
            "connections.max.idle.ms": 180_000,
            "metadata.max.age.ms": 180_000,
            **security.for_librdkafka(),
        }
        self._producer: Producer | None = None
        self._closed = threading.Event()

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return when the broker has all messages.

        Raises
        ------
        BrokerUnavailable
            It may have some of them, from the first on in each partition.
        """
        failures: list[str] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error.str())

        with self._complaints():
            producer = self._open()
            try:
                for each in messages:
                    producer.produce(each.topic, each.body, each.key, headers=each.headers, on_delivery=delivered)
                left = self._flush(producer, failures)
            except BaseException:
                self._throw_away()
                raise
        if left or failures:
            self._throw_away()
            reason = failures[0] if failures else f"{left} message(s) not acknowledged within {PUBLISH_S:.0f} s"
            raise BrokerUnavailable(f"the broker at {self._address} does not take what is to be published: {reason}")

    def tail(self, topic: str, sources: Collection[SourcePartition], since_ms: int) -> set[str]:
        """Return the ids of messages about some source partitions that a topic has had since a broker's time.

        At most :data:`TAIL_RECORDS` records are read: the last ones.

        Parameters
        ----------
        since_ms
            Ms since the epoch, UTC; clocks may be :data:`CLOCKS_APART_MS` apart.

        Raises
        ------
        BrokerUnavailable
            If the topic could not be read to its end.
        """
        with self._complaints():
            consumer = Consumer(
                self._common
                | {
                    # Named because the client insists; it joins no group and commits nothing
                    "group.id": "pipeline-outbox",
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "queued.max.messages.kbytes": 16_384,
                }
            )
            try:
                wanted = frozenset(sources)
                return {found for found, source in self._read_tail(consumer, topic, since_ms) if source in wanted}
            finally:
                consumer.close()

    def close(self) -> None:
        """Wait for nothing any more, from whatever thread."""
        self._closed.set()

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                self._common
                | {
                    "enable.idempotence": True,
                    "enable.gapless.guarantee": True,
                    # How long is long enough is decided here, for a batch as a whole; a message that gave up by itself would
                    # let the next one overtake it
                    "message.timeout.ms": 0,
                    # As other clients place keys
                    "partitioner": "murmur2_random",
                    "linger.ms": 5,
                }
            )
        return self._producer

    def _flush(self, producer: Producer, failures: Sequence[str]) -> int:
        """Wait for the acknowledgements; return how many are missing."""
        deadline = time.monotonic() + PUBLISH_S
        left = len(producer)
        while left and not failures and time.monotonic() < deadline and not self._closed.is_set():
            left = producer.flush(_STEP_S)
        return left

    def _throw_away(self) -> None:
        """Forget the producer with all that it may still have: it is published again by another."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def _read_tail(self, consumer: Consumer, topic: str, since_ms: int) -> Iterator[tuple[str, SourcePartition]]:
        """Yield id and source partition of the messages."""
        ends = self._assign_tail(consumer, topic, since_ms)
        deadline = time.monotonic() + TAIL_S
        while ends:
            if time.monotonic() > deadline or self._closed.is_set():
                raise BrokerUnavailable(f"the tail of {topic} was not read within {TAIL_S:.0f} s")
            for record in consumer.consume(1000, _STEP_S):
                error, partition, offset = record.error(), record.partition() or 0, record.offset() or 0
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None or offset + 1 >= ends.get(partition, 0):
                    ends.pop(partition, None)
                headers = record.headers() if error is None else None
                found = read_headers(dict(headers)) if headers else None
                if found is not None:
                    yield found

    def _assign_tail(self, consumer: Consumer, topic: str, since_ms: int) -> dict[int, int]:
        """Assign the tail of every partition that has one; return where each ends."""
        found = consumer.list_topics(topic, _ANSWER_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        each = max(1, TAIL_RECORDS // len(found.partitions))
        asked = [TopicPartition(topic, number, max(0, since_ms - CLOCKS_APART_MS)) for number in found.partitions]
        assigned, ends = [], {}
        for at in consumer.offsets_for_times(asked, _ANSWER_S):
            if at.error is not None:
                raise KafkaException(at.error)
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, at.partition), _ANSWER_S)
            # Without a record so late the answer is the log's end, said as a negative number
            start = max(low, high - each, at.offset if at.offset >= 0 else high)
            if start < high:
                assigned.append(TopicPartition(topic, at.partition, start))
                ends[at.partition] = high
        consumer.assign(assigned)
        return ends

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turn the library's errors into ours."""
        try:
            yield
        except KafkaException as error:
            raise BrokerUnavailable(f"the broker at {self._address} cannot be published to: {text(error)}") from error
