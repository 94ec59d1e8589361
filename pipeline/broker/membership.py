"""Static membership, where aiokafka 0.14 leaves off: two processes under one name must not displace each other for ever.

aiokafka gives the instance id when it joins, and not in its heartbeats. So who was displaced only hears that its member id
is unknown, forgets that id and joins again by name alone, which displaces the other process in turn. Joining with the id
that it had tells the two cases apart: the broker answers that somebody else has the name now, or that the id has expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest

FENCED_INSTANCE_ID = 82
"""The broker's code for: another process has joined under this instance id."""


def keep_member_id(coordinator: Any, displaced: Callable[[], None]) -> None:
    """Make a static member's coordinator join with its old member id first.

    Parameters
    ----------
    coordinator
        aiokafka's ``GroupCoordinator``.
    displaced
        Called when another process has taken the name; the coordinator then does nothing until it is closed.
    """
    forget, send_on = coordinator.reset_generation, coordinator._send_req

    def reset_generation() -> None:
        if coordinator.generation == OffsetCommitRequest.DEFAULT_GENERATION_ID:
            forget()
            return
        coordinator.generation = OffsetCommitRequest.DEFAULT_GENERATION_ID
        coordinator.request_rejoin()

    async def send(request: Any) -> Any:
        response = await send_on(request)
        if getattr(response, "error_code", 0) == FENCED_INSTANCE_ID:
            displaced()
            await asyncio.shield(coordinator._closing)
            raise KafkaError("another process has joined under this instance id")
        return response

    coordinator.reset_generation = reset_generation
    coordinator._send_req = send
