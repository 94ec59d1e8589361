"""Dead letters back into their topic, after whatever was wrong has been mended."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline import connections
from pipeline.broker import topics
from pipeline.broker.producing import interruptible
from pipeline.core.errors import BrokerUnavailable
from pipeline.settings import Settings
from pipeline.store import dead_letters
from pipeline.store.dead_letters import Selection, StoredLetter

_DELIVERY_S = 30.0
_QUEUE_FULL_WAIT_S = 0.1
# The broker took these records once, so it is the broker that judges them, not its client
_MOST_BYTES = 100_000_000


def requeue(settings: Settings, selection: Selection, limit: int) -> list[StoredLetter]:
    """Produce dead letters to the partition they came from, as they came, and mark them; return them.

    At least once: if the mark is lost after the broker took a record, it is produced again the next time. A device's
    message that was stored meanwhile is then dropped as its duplicate, because it comes to the partition that knows the
    machine.

    Raises
    ------
    BrokerUnavailable
        If the broker did not take all of them; then none is marked.
    SettingsError
        If a topic is not there any more.
    DatabaseUnavailable
        If the database does not answer.
    """
    with connections.database(settings, "pipeline deadletter") as connection:
        with dead_letters.taken(connection, selection, limit) as letters:
            if letters:
                names = sorted({letter.source_topic for letter in letters})
                topics.require(settings.broker.address, connections.broker_security(settings), names)
                _produce(settings, letters)
        return letters


def _produce(settings: Settings, letters: list[StoredLetter]) -> None:
    failures: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error.str())

    try:
        producer = Producer(
            {
                "bootstrap.servers": settings.broker.address,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.max.bytes": _MOST_BYTES,
                "message.timeout.ms": int(_DELIVERY_S * 1000),
                "log_level": 2,
                **connections.broker_security(settings).for_librdkafka(),
            }
        )
        with interruptible():
            for letter in letters:
                _send(producer, letter, delivered)
            producer.flush()
    except KafkaException as error:
        failures.append(error.args[0].str())
    if failures:
        raise BrokerUnavailable(
            f"the broker at {settings.broker.address} did not take {len(failures)} record(s): {failures[0]};"
            " nothing is marked as requeued"
        )


def _send(producer: Producer, letter: StoredLetter, delivered: Callable[[KafkaError | None, Message], None]) -> None:
    """Hand a record to the client; wait while its queue is full."""
    while True:
        try:
            producer.produce(
                letter.source_topic,
                letter.body,
                letter.key or None,
                partition=letter.source_partition,
                headers=list(letter.raw_headers),
                on_delivery=delivered,
            )
        except BufferError:
            producer.poll(_QUEUE_FULL_WAIT_S)
        else:
            producer.poll(0)
            return
