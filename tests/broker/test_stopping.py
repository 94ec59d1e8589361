"""A client is ended whatever it is doing (R51)."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.broker.stopping import stop


class Client:
    """Whose fetch is about to be tried again, or which hangs, when it is stopped."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.closed = False
        self._client = self

    async def stop(self) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        retrying = asyncio.ensure_future(asyncio.sleep(60))
        retrying.cancel()
        await retrying

    async def close(self) -> None:
        self.closed = True


async def test_a_fetch_that_is_about_to_be_tried_again_does_not_end_the_task_that_stops_the_client() -> None:
    client = Client()

    await stop(client)

    assert client.closed


async def test_a_task_that_is_cancelled_while_it_stops_a_client_ends() -> None:
    client = Client(hangs=True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await stop(client)

    assert client.closed
