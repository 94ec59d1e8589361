"""Starting aiokafka's clients while the broker may be away. Written against aiokafka 0.14."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)

RETRY_S = 1.0
"""How long to rest before the broker is tried again, s."""


async def start_patiently(
    start: Callable[[], Awaitable[None]], discard: Callable[[], Awaitable[None]], is_stopping: Callable[[], bool]
) -> None:
    """Start a client, again and again while the broker does not answer: one that is away ends no worker.

    Parameters
    ----------
    start
        Makes a client and starts it.
    discard
        Ends one that did not start.
    is_stopping
        Whether it is not wanted any more; then nothing is started.
    """
    while not is_stopping():
        try:
            return await start()
        except KafkaError as error:
            log.warning("broker.waiting", reason=repr(error), retry_s=RETRY_S)
            await discard()
            await asyncio.sleep(RETRY_S)
