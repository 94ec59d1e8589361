"""What librdkafka says: to nobody while it tries, in one line when it gave up."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError, KafkaException

from pipeline.core.errors import BrokerUnavailable

# The client library writes what it retries to standard error, unless somebody takes it
SILENT = logging.Logger("librdkafka", logging.CRITICAL + 1)
SILENT.addHandler(logging.NullHandler())

# The answer is the same however often such a message is sent
_FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_TIMESTAMP})


class MessageRefused(BrokerUnavailable):
    """A message is not taken, and will not be unless the topic's settings change."""


def unpublished(address: str, error: KafkaError) -> BrokerUnavailable:
    """Return the error of messages that a broker did not take.

    Which message of a batch was refused, and for which reason, the client tells in its text at most: it breaks with all of them
    where it would leave a gap.
    """
    is_for_good = error.fatal() or error.code() in _FOR_GOOD
    kind = MessageRefused if is_for_good else BrokerUnavailable
    return kind(f"the broker at {address} does not take what is to be published: {text(KafkaException(error))}")


def text(error: KafkaException) -> str:
    """Return what an error says, in one line."""
    cause = error.args[0] if error.args else error
    return " ".join((cause.str() if isinstance(cause, KafkaError) else str(cause)).split())
