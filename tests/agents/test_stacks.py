"""The stacks of coroutines."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents import stacks


async def inner(gate: asyncio.Event) -> None:
    await gate.wait()


async def generating(gate: asyncio.Event):
    await inner(gate)
    yield 1


async def outer(gate: asyncio.Event) -> None:
    async for _ in generating(gate):
        pass


async def test_a_tasks_stack_reaches_down_to_where_it_waits(tmp_path: Path) -> None:
    gate = asyncio.Event()
    task = asyncio.create_task(outer(gate), name="waiting")
    await asyncio.sleep(0)
    with (tmp_path / "stacks").open("w+") as out:
        stacks.write([asyncio.get_running_loop()], out)
        out.seek(0)
        written = out.read()
    gate.set()
    await task

    of_task = written.partition("Task waiting")[2].partition("Task ")[0]
    assert [name for name in ("in outer", "in generating", "in inner", "in wait") if name not in of_task] == []
    assert "Current thread" in written
