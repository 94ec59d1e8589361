"""Publishing messages of our own: in order, acknowledged by every replica, and knowing what a topic has already."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.broker.complaints import SILENT, text, unpublished
from pipeline.broker.producing import Publishable, interruptible, produce
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.outbox import read_headers
from pipeline.core.records import SourcePartition

PUBLISH_S = 10.0
"""Longest wait for the broker to take a batch of messages, s."""

TAIL_S = 30.0
"""Longest silence of the broker while a topic's tail is read, s."""

TAIL_RECORDS = 100_000
"""How many of a topic's last records are read at most, over all its partitions."""

CLOCKS_APART_MS = 60_000
"""How far the clocks of brokers and workers may be apart, ms."""

LARGEST_BYTES = 1_048_588
"""Most bytes of a batch, and so of a record: what Kafka's own topics take unless told otherwise."""

Key = tuple[bytes | str | None, bytes | str | None]
"""Key and body of a record."""

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
    patience_s
        Longest wait for the broker to take a batch of messages, s.
    compression
        Codec of the batches.
    """

    def __init__(
        self, address: str, security: BrokerSecurity, *, patience_s: float = PUBLISH_S, compression: str = "none"
    ) -> None:
        self._address, self._patience_s, self._compression = address, patience_s, compression
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

    def publish(self, messages: Iterable[Publishable]) -> dict[SourcePartition, int]:
        """Return when the broker has all messages: the offset behind the last one in each partition that got any.

        Raises
        ------
        BrokerUnavailable
            It may have some of them, from the first on in each partition.
        MessageRefused
            The same, and one of the others will never be taken as it is.
        """
        failures: list[KafkaError] = []
        ends: dict[SourcePartition, int] = {}

        def delivered(error: KafkaError | None, message: Message) -> None:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if error is not None:
                failures.append(error)
            elif topic is not None and partition is not None and offset is not None:
                source = SourcePartition(topic, partition)
                ends[source] = max(ends.get(source, 0), offset + 1)

        with self._complaints():
            producer = self._open()
            try:
                with interruptible():
                    for each in messages:
                        produce(producer, each, delivered)
                    left = self._flush(producer, failures)
            except KafkaException as error:
                self._throw_away()
                raise unpublished(self._address, error.args[0]) from error
            except BaseException:
                self._throw_away()
                raise
        if left or failures:
            self._throw_away()
            if failures:
                raise unpublished(self._address, failures[0])
            raise BrokerUnavailable(
                f"the broker at {self._address} does not take what is to be published: {left} message(s) not acknowledged"
                f" within {self._patience_s:.0f} s"
            )
        return ends

    def find(self, topic: str, wanted: Counter[Key], starts: Mapping[int, int]) -> Counter[Key]:
        """Return which of some messages a topic has from offsets on, and how often, as far as they are looked for.

        Parameters
        ----------
        wanted
            Keys and bodies; how often each is looked for. Once all are found, no more is read.
        starts
            Where each partition is read from. One that is not named is read from its log's start, and so is one whose log
            begins later by now.

        Raises
        ------
        BrokerUnavailable
            If a log could not be read to its end.
        """
        found: Counter[Key] = Counter()
        left = wanted.total()
        with self._complaints(), self._consumer() as consumer:
            ends = self._assign(consumer, topic, starts)
            for record in self._read(consumer, topic, ends) if left else ():
                each = record.key(), record.value()
                if found[each] < wanted[each]:
                    found[each] += 1
                    left -= 1
                    if not left:
                        break
        return +found

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
        wanted = frozenset(sources)
        found = set()
        with self._complaints(), self._consumer() as consumer:
            starts = self._tail_starts(consumer, topic, since_ms)
            for record in self._read(consumer, topic, self._assign(consumer, topic, starts)):
                headers = record.headers()
                told = read_headers(dict(headers)) if headers else None
                if told is not None and told[1] in wanted:
                    found.add(told[0])
        return found

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
                    "message.max.bytes": LARGEST_BYTES,
                    # As other clients place keys
                    "partitioner": "murmur2_random",
                    "compression.type": self._compression,
                    "linger.ms": 5,
                }
            )
        return self._producer

    def _flush(self, producer: Producer, failures: Sequence[KafkaError]) -> int:
        """Wait for the acknowledgements; return how many are missing."""
        deadline = time.monotonic() + self._patience_s
        left = len(producer)
        while left and not failures and time.monotonic() < deadline and not self._closed.is_set():
            left = producer.flush(_STEP_S)
        return left

    def _throw_away(self) -> None:
        """Forget the producer with all that it may still have: it is published again by another."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
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
            yield consumer
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, topic: str, ends: dict[int, int]) -> Iterator[Message]:
        """Yield the records of the partitions that are assigned, as far as they went when they were."""
        deadline = time.monotonic() + TAIL_S
        while ends:
            if time.monotonic() > deadline or self._closed.is_set():
                raise BrokerUnavailable(f"the tail of {topic} was not read: nothing came for {TAIL_S:.0f} s")
            for record in consumer.consume(1000, _STEP_S):
                error, partition, offset = record.error(), record.partition() or 0, record.offset() or 0
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                deadline = time.monotonic() + TAIL_S
                if error is not None or offset + 1 >= ends.get(partition, 0):
                    ends.pop(partition, None)
                if error is None:
                    yield record

    def _tail_starts(self, consumer: Consumer, topic: str, since_ms: int) -> dict[int, int]:
        """Return where the tail of every partition begins."""
        numbers = _partitions(consumer, topic)
        each = max(1, TAIL_RECORDS // len(numbers))
        asked = [TopicPartition(topic, number, max(0, since_ms - CLOCKS_APART_MS)) for number in numbers]
        starts = {}
        for at in consumer.offsets_for_times(asked, _ANSWER_S):
            if at.error is not None:
                raise KafkaException(at.error)
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, at.partition), _ANSWER_S)
            # Without a record so late the answer is the log's end, said as a negative number
            starts[at.partition] = max(high - each, at.offset if at.offset >= 0 else high)
        return starts

    def _assign(self, consumer: Consumer, topic: str, starts: Mapping[int, int]) -> dict[int, int]:
        """Assign every partition that has something from its start on; return where each ends."""
        assigned, ends = [], {}
        for number in _partitions(consumer, topic):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), _ANSWER_S)
            start = max(low, starts.get(number, 0))
            if start < high:
                assigned.append(TopicPartition(topic, number, start))
                ends[number] = high
        consumer.assign(assigned)
        return ends

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turn the library's errors into ours."""
        try:
            yield
        except KafkaException as error:
            raise BrokerUnavailable(f"the broker at {self._address} cannot be published to: {text(error)}") from error


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    found = consumer.list_topics(topic, _ANSWER_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)
