"""Ending aiokafka's clients, whatever they are doing at the moment. Written against aiokafka 0.14."""

from __future__ import annotations

import asyncio
from typing import Any


async def stop(consumer: Any) -> None:
    """Stop a consumer and close its connections.

    The client awaits the fetches that it cancels, and one that was about to be tried again raises that: left to rise, it would
    look as if the caller had been cancelled, whose task would end without a word.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    finally:
        await consumer._client.close()
