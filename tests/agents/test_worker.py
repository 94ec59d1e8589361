"""The worker's start and its end."""

from __future__ import annotations

import asyncio

import pytest
from numba.core.dispatcher import Dispatcher

from agents import worker as agent
from agents.starting import warm_up
from agents.worker import Worker
from pipeline.core import kernel
from pipeline.core.errors import DatabaseUnavailable, NoProgress
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.core.windowing import cycles, fragments, windows
from pipeline.settings import Settings
from pipeline.store import copy_binary, rows
from simulator.options import PlantOptions
from simulator.plant import Plant


def compiled() -> dict[str, int]:
    """Return how many versions of each kernel there are."""
    kernels = [
        kernel_ for module in (kernel, windows, cycles, fragments, copy_binary) for kernel_ in vars(module).values()
    ]
    return {each.__qualname__: len(each.signatures) for each in kernels if isinstance(each, Dispatcher)}


def test_after_the_warm_up_nothing_is_left_to_compile() -> None:
    warm_up()
    before = compiled()
    plant = Plant(PlantOptions(machines=500, messages=3000, garbage_share=0.01, array_share=0.05, duplicate_share=0.01))
    records = [Record(n, 1_735_689_600_000 + n, sent.body) for n, sent in enumerate(plant)]
    source, state = SourcePartition("t", 0), PartitionState()

    effects = fold(state, RecordBatch(source, "", 0, len(records), records), FoldRules(), Marks())
    rows.telemetry("c", source, effects.events)
    rows.windows("c", source, project(state, 0, len(records), FoldRules()).windows)

    assert len(effects.events) > 2000
    assert compiled() == before


async def test_a_worker_that_stops_stores_what_it_has_though_its_alerts_cannot_be_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker(Settings(broker={"alert_topic": "alert"}), "w")
    stored = []

    async def finish() -> None:
        stored.append("all")

    monkeypatch.setattr(agent, "FINISH_S", 0.05)
    monkeypatch.setattr(worker._flusher, "finish", finish)
    monkeypatch.setattr(worker._relay, "finish", lambda: asyncio.sleep(60))

    await worker.drain()

    assert stored == ["all"]


async def test_a_part_that_is_cancelled_by_nobody_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(Settings(), "w")
    crashed = []

    async def crash(error: BaseException) -> None:
        crashed.append(error)

    async def part() -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(worker.app, "crash", crash)
    await worker._guard(part())

    assert crashed == [worker.failure]
    assert isinstance(worker.failure, NoProgress)


async def test_what_a_worker_sees_to_now_and_then_goes_on_when_the_database_is_back() -> None:
    worker = Worker(Settings(), "w")
    answers = [DatabaseUnavailable("away"), None, None]
    done = asyncio.Event()

    async def work() -> None:
        answer = answers.pop(0)
        if not answers:
            done.set()
        if answer is not None:
            raise answer

    seeing = asyncio.create_task(worker._see_to(0.001, work))
    await done.wait()
    seeing.cancel()

    assert not answers
    assert worker.failure is None
