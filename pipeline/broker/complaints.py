"""What librdkafka says: to nobody while it tries, in one line when it gave up."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError, KafkaException

# The client library writes what it retries to standard error, unless somebody takes it
SILENT = logging.Logger("librdkafka", logging.CRITICAL + 1)
SILENT.addHandler(logging.NullHandler())


def text(error: KafkaException) -> str:
    """Return what an error says, in one line."""
    cause = error.args[0] if error.args else error
    return " ".join((cause.str() if isinstance(cause, KafkaError) else str(cause)).split())
