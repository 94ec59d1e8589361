"""A client is ended whatever it is doing (R51)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pipeline.broker.stopping import stop


class Client:
    """Whose fetch is about to be tried again, or which hangs or waits for its tasks to end, when it is stopped."""

    def __init__(self, *, hangs: bool = False, waits: bool = False) -> None:
        self.hangs = hangs
        self.waits = waits
        self.closed = False
        self._client = self

    async def stop(self) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        if self.waits:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            return
        retrying = asyncio.ensure_future(asyncio.sleep(60))
        retrying.cancel()
        await retrying

    async def close(self) -> None:
        self.closed = True


async def test_a_fetch_that_is_about_to_be_tried_again_does_not_end_the_task_that_stops_the_client() -> None:
    client = Client()

    await stop(client)

    assert client.closed


@pytest.mark.parametrize("what_it_does", ["hangs", "waits"])
async def test_a_task_that_is_cancelled_while_it_stops_a_client_ends(what_it_does: str) -> None:
    client = Client(**{what_it_does: True})

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await stop(client)

    assert client.closed
