"""Dead letters back into their topic, after whatever was wrong has been mended."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline import connections
from pipeline.core.errors import BrokerUnavailable
from pipeline.settings import Settings
from pipeline.store import dead_letters
from pipeline.store.dead_letters import Selection, StoredLetter

_DELIVERY_S = 30.0


def requeue(settings: Settings, selection: Selection, limit: int) -> list[StoredLetter]:
    """Produce dead letters to the topic they came from, as they came, and mark them; return them.

    At least once: if the mark is lost after the broker took a record, it is produced again the next time. A device's
    message that was stored meanwhile is then dropped as its duplicate.

    Raises
    ------
    BrokerUnavailable
        If the broker did not take all of them; then none is marked.
    DatabaseUnavailable
        If the database does not answer.
    """
    with connections.database(settings, "pipeline deadletter") as connection:
        with dead_letters.taken(connection, selection, limit) as letters:
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
                "message.timeout.ms": int(_DELIVERY_S * 1000),
                "log_level": 2,
                **connections.broker_security(settings).for_librdkafka(),
            }
        )
        for letter in letters:
            producer.produce(
                letter.source_topic,
                letter.body,
                letter.key or None,
                headers=list(letter.raw_headers),
                on_delivery=delivered,
            )
            producer.poll(0)
        producer.flush()
    except (KafkaException, BufferError) as error:
        failures.append(str(error))
    if failures:
        raise BrokerUnavailable(
            f"the broker at {settings.broker.address} did not take {len(failures)} record(s): {failures[0]};"
            " nothing is marked as requeued"
        )
