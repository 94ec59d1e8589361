"""A TCP proxy that misbehaves on demand: late, silent, deaf, rude or gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, TypeVar

_BLOCK_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)

T = TypeVar("T")


class Trouble(StrEnum):
    """What a proxy does to the connections through it.

    Attributes
    ----------
    LATENCY
        Every block is held back for a while, in order.
    RESET
        Connections are torn down with RST, once; new ones are served.
    HALF_OPEN
        Connections stay open and what comes in is thrown away, as when the other side lost power: such a connection never
        works again. New ones are accepted, and are as deaf. When it ends they are reset, as the system's own timeouts do.
    STALL
        Connections stay open and nothing is forwarded; when it ends everything goes on, and no byte is missing.
    CUT
        Connections are closed and new ones are refused.
    """

    LATENCY = "latency"
    RESET = "reset"
    HALF_OPEN = "half_open"
    STALL = "stall"
    CUT = "cut"


class Proxy:
    """Forwards 127.0.0.1:port to a port of 127.0.0.1, on a thread of its own.

    Parameters
    ----------
    target
        Port that is forwarded to; nothing need listen there yet.
    port
        Where to listen; 0 finds a free one.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self.port = port
        self.connections = 0
        self._trouble: Trouble | None = None
        self._delay_s = 0.0
        self._deaf: set[_Link] = set()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{target}", daemon=True)

    def start(self) -> Proxy:
        """Listen."""
        self._thread.start()
        self._do(self._listen())
        self._loop.call_soon_threadsafe(self._flowing.set)
        return self

    def stop(self) -> None:
        """Close everything."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def begin(self, trouble: Trouble, delay_s: float = 0.0) -> int:
        """Begin to misbehave; return how many connections that hits."""
        return self._do(self._begin(trouble, delay_s))

    def heal(self) -> None:
        """Be a good proxy again; connections that heard nothing for a while are reset, they lost bytes."""
        self._do(self._heal())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_BLOCK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.reset()

    async def _begin(self, trouble: Trouble, delay_s: float) -> int:
        hit = len(self._links)
        self._trouble, self._delay_s = trouble, delay_s
        if trouble is Trouble.HALF_OPEN:
            self._deaf |= self._links
        elif trouble is Trouble.STALL:
            self._flowing.clear()
        elif trouble is Trouble.CUT:
            await self._close()
        elif trouble is Trouble.RESET:
            for link in list(self._links):
                link.reset()
            self._trouble = None
        return hit

    async def _heal(self) -> None:
        self._trouble, self._delay_s = None, 0.0
        self._flowing.set()
        for link in list(self._deaf):
            link.reset()
        self._deaf.clear()
        if self._server is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._target, limit=_BLOCK_BYTES)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, upstream[1])
        self._links.add(link)
        if self._trouble is Trouble.HALF_OPEN:
            self._deaf.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(link, reader, upstream[1]))
                both.create_task(self._pump(link, upstream[0], writer))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            self._deaf.discard(link)
            link.close()

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while block := await source.read(_BLOCK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flowing.wait()
            if link not in self._deaf:
                sink.write(block)
                await sink.drain()
        if link not in self._deaf:
            # Either side's end is the end of both: neither protocol here uses half-closed connections
            link.close()


class _Link:
    """The two sockets of one connection."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def close(self) -> None:
        for writer in self._writers:
            with contextlib.suppress(RuntimeError):
                writer.close()

    def reset(self) -> None:
        for writer in self._writers:
            found = writer.get_extra_info("socket")
            if found is not None:
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
