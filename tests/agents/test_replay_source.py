"""R40: stored events come before the log, in order and without a hole or a repeat, whatever happens to either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

import pytest

from agents import replay_source
from agents.replay_source import ChainClient
from pipeline.broker.log_client import LogClient
from pipeline.core.errors import BrokerUnavailable, DatabaseUnavailable, PipelineError
from pipeline.core.marks import Evidence, LogRange, StoredMarks
from pipeline.core.records import Record, SourcePartition, StoredEvents
from pipeline.history import StoredHistory

A, B = SourcePartition("t", 0), SourcePartition("t", 1)


class Log:
    """A log client whose logs begin at ``start``, where they have one record."""

    generation = 0
    is_flowing = True

    def __init__(self, start: int = 10) -> None:
        self.start_at = start
        self.positions: dict[SourcePartition, int] = {}
        self.reading: set[SourcePartition] = set()

    @property
    def is_done(self) -> bool:
        return all(at > self.start_at for at in self.positions.values()) and set(self.positions) == {A, B}

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.is_flowing = False

    def assignment(self) -> set[SourcePartition]:
        return {A, B}

    def pause(self, sources: Any) -> None:
        self.reading -= set(sources)

    def resume(self, source: SourcePartition) -> None:
        self.reading.add(source)

    async def seek(self, source: SourcePartition, position: int) -> None:
        assert position >= self.start_at, "the log has no such offset"
        self.positions[source] = position

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, list[Record]]:
        await asyncio.sleep(0)
        found = {source: [Record(at, 0, b"log")] for source, at in self.positions.items() if source in self.reading}
        for source in found:
            self.positions[source] += 1
            self.reading.discard(source)
        return found

    async def available(self, sources: Any) -> dict[SourcePartition, LogRange]:
        return {source: LogRange(self.start_at, self.start_at + 1) for source in sources}


class History:
    """Stored events of every third offset; fails as often as it is told to, in the middle of its answers."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.open = 0

    def events(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        self.open += 1
        try:
            for offset in range(first, end):
                if offset % 3 == 0:
                    yield StoredEvents.of((offset, place, 0, b"stored") for place in range(2))
                elif offset == 7 and self.failures:
                    raise self.failures.pop()
        finally:
            self.open -= 1


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
async def chain(log: Log, history: History, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChainClient]:
    monkeypatch.setattr(replay_source, "_RETRY_S", 0.01)
    carried: list[tuple[SourcePartition, int]] = []
    made = ChainClient(
        cast(LogClient, log),
        {A: 10, B: 0},
        cast(StoredHistory, history),
        lambda source, end: carried.append((source, end)),
        batch_events=2,
    )
    made.carried = carried  # type: ignore[attr-defined]
    await made.start()
    yield made
    await made.stop()
    assert history.open == 0, "something still reads"


async def read(chain: ChainClient, until: int) -> dict[SourcePartition, list[tuple[int, bytes | None]]]:
    found: dict[SourcePartition, list[tuple[int, bytes | None]]] = {A: [], B: []}
    async with asyncio.timeout(10):
        while sum(map(len, found.values())) < until:
            for source, records in (await chain.fetch(0.05)).items():
                found[source] += [(record.offset, record.value) for record in records]
    return found


async def test_the_log_goes_on_where_what_is_stored_ends(chain: ChainClient, log: Log) -> None:
    for source, position in ((A, 0), (B, 10)):
        await chain.seek(source, position)
        chain.resume(source)
    assert not chain.is_done

    found = await read(chain, 8 + 2)

    stored = [(offset, b"stored") for offset in (0, 3, 6, 9) for _ in range(2)]
    assert found == {A: [*stored, (10, b"log")], B: [(10, b"log")]}
    assert chain.is_done
    assert chain.carried == [(A, 10)]


async def test_nothing_of_a_paused_partition_is_delivered(chain: ChainClient) -> None:
    await chain.seek(A, 0)

    chain.pause([A])
    assert await chain.fetch(0.05) == {}
    chain.resume(A)
    assert (await read(chain, 2))[A] == [(0, b"stored")] * 2
    chain.pause([A])
    assert await chain.fetch(0.05) == {}


async def test_sought_again_it_goes_on_from_there(chain: ChainClient) -> None:
    await chain.seek(A, 0)
    chain.resume(A)
    await read(chain, 4)

    await chain.seek(A, 5)
    assert (await read(chain, 2))[A] == [(6, b"stored")] * 2
    await chain.seek(A, 10)
    chain.resume(A)
    assert (await read(chain, 1))[A] == [(10, b"log")]


async def test_a_database_that_is_away_is_asked_again(chain: ChainClient, history: History) -> None:
    history.failures = [DatabaseUnavailable("gone"), DatabaseUnavailable("still gone")]
    await chain.seek(A, 0)
    chain.resume(A)

    found = await read(chain, 9)

    assert [offset for offset, _ in found[A]] == [0, 0, 3, 3, 6, 6, 9, 9, 10]
    assert history.failures == []


async def test_what_cannot_be_read_ends_the_replay(chain: ChainClient, history: History) -> None:
    history.failures = [PipelineError("damaged")]
    await chain.seek(A, 0)
    chain.resume(A)

    with pytest.raises(PipelineError, match="damaged"):
        await read(chain, 9)


async def test_a_log_that_has_moved_on_is_not_jumped_into(chain: ChainClient, log: Log) -> None:
    await chain.seek(A, 0)
    chain.resume(A)
    log.start_at = 12

    with pytest.raises(PipelineError, match="begins at 12 by now, and what is stored was read to 10: resumed"):
        await read(chain, 9)


async def test_a_broker_that_does_not_answer_at_the_hand_over_costs_no_stored_event(log: Log, history: History) -> None:
    chain = ChainClient(
        cast(LogClient, log), {A: 10, B: 10}, cast(StoredHistory, history), lambda *_: None, batch_events=2
    )
    for source, position in ((A, 0), (B, 9)):
        await chain.seek(source, position)
        chain.resume(source)
    available, refusals = log.available, iter(range(3))

    async def unwilling(sources: Any) -> dict[SourcePartition, LogRange]:
        if next(refusals, None) is not None:
            raise BrokerUnavailable("no answer")
        return await available(sources)

    log.available = unwilling  # type: ignore[method-assign]
    found: list[tuple[SourcePartition, int]] = []
    async with asyncio.timeout(10):
        while len(found) < 2 + 8 + 2:
            try:
                for source, records in (await chain.fetch(0.05)).items():
                    found += [(source, record.offset) for record in records]
            except BrokerUnavailable:
                continue
    assert [offset for source, offset in found if source == A] == [0, 0, 3, 3, 6, 6, 9, 9, 10]
    assert [offset for source, offset in found if source == B] == [9, 9, 10]
    await chain.stop()


async def test_marks_are_judged_by_all_that_can_be_read(chain: ChainClient, log: Log) -> None:
    assert await chain.available([A, B]) == {A: LogRange(0, 11), B: LogRange(10, 11)}
    marks = StoredMarks("me", 3, 3)
    evidence = {source: Evidence(marks, LogRange(10, 11), 7) for source in (A, B)}
    assert chain.proven(evidence) == {A: Evidence(marks, LogRange(0, 11), 7), B: Evidence(marks, LogRange(10, 11), 7)}
    log.start_at = 12
    assert (await chain.available([A]))[A] == LogRange(12, 13)
