"""Ending aiokafka's clients, whatever they are doing at the moment. Written against aiokafka 0.14."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


async def stop(consumer: Any) -> None:
    """Stop a consumer and close its connections.

    In a task of its own. The client awaits tasks that it cancels: what it takes for their cancellation may be the
    caller's, who then never ends; and what it lets rise, of a fetch that was about to be tried again, would look like one.
    """
    ending = asyncio.create_task(_end(consumer))
    try:
        await asyncio.wait([ending])
    except asyncio.CancelledError:
        ending.cancel()
        await asyncio.wait([ending])
        raise
    ending.result()


async def _end(consumer: Any) -> None:
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await consumer.stop()
    finally:
        await consumer._client.close()
