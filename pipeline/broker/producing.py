"""A message of ours, and how it is handed to the client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from confluent_kafka import KafkaError, Message, Producer

_QUEUE_FULL_WAIT_S: Final = 0.2


class Publishable(Protocol):
    """A message of ours."""

    @property
    def topic(self) -> str:
        """Where to."""

    @property
    def key(self) -> str:
        """What places it."""

    @property
    def body(self) -> bytes:
        """What it says."""

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """What is said about it."""

    @property
    def timestamp_ms(self) -> int:
        """The record's time, ms since the epoch, UTC; 0: now."""


def produce(producer: Producer, message: Publishable, delivered: Callable[[KafkaError | None, Message], None]) -> None:
    """Hand a message to the client; wait while its queue is full."""
    while True:
        try:
            producer.produce(
                message.topic,
                message.body,
                message.key,
                headers=message.headers,
                timestamp=message.timestamp_ms,
                on_delivery=delivered,
            )
        except BufferError:
            producer.poll(_QUEUE_FULL_WAIT_S)
        else:
            return


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise an interrupt that the client has lost.

    Raises
    ------
    KeyboardInterrupt
        If a signal's handler raised it while Python ran a delivery callback: the client forgets it and returns without a
        result, which the interpreter calls a fault of the system.
    """
    try:
        yield
    except SystemError as error:
        raise KeyboardInterrupt from error
