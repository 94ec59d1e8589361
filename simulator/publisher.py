"""The way out of the plant: records to a Kafka-compatible broker, with the place where each of them came to lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.core.errors import BrokerUnavailable, SettingsError
from simulator.messages import Sent

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")

Acknowledged = Callable[[str, int, int], None]
"""Called with topic, partition and offset of a record that the broker has for good."""

_QUEUE_FULL_WAIT_S = 0.1
_LOG_ONLY_CRITICAL = 2


class Publisher:
    """An idempotent producer: within one run nothing is sent twice and nothing changes places within a partition.

    The key is the machine id, and the partition is that of Kafka's default partitioner (murmur2), so all messages of a
    machine lie in one partition whatever wrote them. Everything happens on the caller's thread.

    Parameters
    ----------
    address
        The broker, ``host:port`` and more of them with commas.
    topic
        The topic; ``{factory}`` in it stands for the factory id of the record, ``{type}`` for its type.
    codec
        One of :data:`CODECS`.
    linger_ms
        How long a batch waits for more records, ms; ≥ 0.
    delivery_timeout_s
        When a record that the broker did not acknowledge is given up, s; > 0.
    security
        More settings for librdkafka, for example ``security.protocol``, ``sasl.mechanism``; they win over ours.

    Raises
    ------
    SettingsError
        If librdkafka refuses a setting.
    """

    def __init__(
        self,
        address: str,
        topic: str,
        *,
        codec: str = "lz4",
        linger_ms: float = 5.0,
        delivery_timeout_s: float = 30.0,
        security: Mapping[str, str | int | float | bool] | None = None,
    ) -> None:
        if codec not in CODECS:
            raise SettingsError(f"codec is {codec!r}; it must be one of {', '.join(CODECS)}")
        self._address, self._topic = address, topic
        self._is_pattern = "{" in topic
        self._failure: str | None = None
        self._complaint = ""
        settings: dict[str, Any] = {
            "bootstrap.servers": address,
            "client.id": "simulator",
            "enable.idempotence": True,
            "compression.type": codec,
            "partitioner": "murmur2_random",
            "linger.ms": linger_ms,
            "message.timeout.ms": int(delivery_timeout_s * 1000),
            "queue.buffering.max.messages": 100_000,
            "log_level": _LOG_ONLY_CRITICAL,
            "error_cb": self._complain,
            **(security or {}),
        }
        try:
            self._producer = Producer(settings)
        except KafkaException as error:
            raise SettingsError(f"the broker's client refuses its settings: {error.args[0].str()}") from error

    def send(self, record: Sent, acknowledged: Acknowledged) -> None:
        """Hand a record to the client; ``acknowledged`` is called by a later :meth:`poll` or :meth:`flush`.

        Waits while the client's queue is full.

        Raises
        ------
        BrokerUnavailable
            If an earlier record could not be delivered, or this one is not taken.
        """
        topic = self._topic
        if self._is_pattern:
            topic = topic.replace("{factory}", record.messages[0].factory_id).replace("{type}", record.type)
        delivered = partial(self._delivered, acknowledged)
        while True:
            try:
                self._producer.produce(
                    topic, record.body, record.key, headers=list(record.headers) or None, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(_QUEUE_FULL_WAIT_S)
                self._raise_failure()
            except KafkaException as error:
                reason = f"the broker's client refuses a record for topic {topic}: {error.args[0].str()}"
                raise BrokerUnavailable(reason) from error
            else:
                return

    def poll(self) -> None:
        """Call ``acknowledged`` for what the broker has acknowledged by now; does not wait.

        Raises
        ------
        BrokerUnavailable
            If a record could not be delivered.
        """
        self._producer.poll(0)
        self._raise_failure()

    def flush(self) -> None:
        """Wait until the broker has acknowledged everything.

        Raises
        ------
        BrokerUnavailable
            If a record could not be delivered within ``delivery_timeout_s``.
        """
        # One lost record does not end the wait: others that are under way may still be taken
        while self._producer.flush(1.0):
            pass
        self._raise_failure()

    def _delivered(self, acknowledged: Acknowledged, error: KafkaError | None, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error is None and topic is not None and partition is not None and offset is not None:
            acknowledged(topic, partition, offset)
        elif self._failure is None:
            reason = error.str() if error is not None else "no offset"
            self._failure = f"the broker at {self._address} did not take a record for topic {topic}: {reason}"

    def _complain(self, error: KafkaError) -> None:
        self._complaint = error.str()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            last = f" (last complaint of the client: {self._complaint})" if self._complaint else ""
            raise BrokerUnavailable(self._failure + last)
