"""Reading what is owned: where it begins, and what is not read (R50, R61)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from pipeline.broker.ownership import Lease, Ownership
from pipeline.broker.reading import Reader
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.marks import Evidence, LogRange, StoredMarks
from pipeline.core.records import Record, RecordBatch, SourcePartition

A, B = SourcePartition("t", 0), SourcePartition("t", 1)


class FakeLeases:
    """Gives every lease at position 5."""

    def __init__(self) -> None:
        self.revoked: list[SourcePartition] = []

    async def peek(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, StoredMarks]:
        return {}

    async def acquire(self, source: SourcePartition, evidence: Evidence) -> Lease:
        return Lease("mine", 5)

    def release(self, wanted: Collection[SourcePartition]) -> None:
        pass

    def revoke(self, source: SourcePartition) -> None:
        self.revoked.append(source)


class FakeClient:
    """A log of 20 records per partition, three of which are fetched at a time; holes and a moved start are made by tests."""

    def __init__(self) -> None:
        self.generation, self.is_flowing = 1, True
        self.positions = {A: 0, B: 0}
        self.paused: set[SourcePartition] = set()
        self.offsets = {A: list(range(20)), B: list(range(20))}
        self.start = 0
        self.is_silent = False

    def assignment(self) -> Collection[SourcePartition]:
        return set(self.positions)

    def pause(self, sources: Collection[SourcePartition]) -> None:
        self.paused.update(sources)

    def resume(self, source: SourcePartition) -> None:
        self.paused.discard(source)

    async def seek(self, source: SourcePartition, position: int) -> None:
        self.positions[source] = position

    async def fetch(self, timeout_s: float) -> Mapping[SourcePartition, list[Record]]:
        fetched = {}
        for source in sorted(set(self.positions) - self.paused):
            ahead = [offset for offset in self.offsets[source] if offset >= max(self.positions[source], self.start)][:3]
            fetched[source] = [Record(offset, 0, b"") for offset in ahead]
            self.positions[source] = ahead[-1] + 1 if ahead else self.positions[source]
        return fetched

    async def available(self, sources: Collection[SourcePartition]) -> Mapping[SourcePartition, LogRange]:
        if self.is_silent:
            raise BrokerUnavailable("silent")
        return dict.fromkeys(sources, LogRange(self.start, 20))


class World:
    """A reader that owns A and B."""

    def __init__(self) -> None:
        self.client, self.leases = FakeClient(), FakeLeases()
        self.ownership = Ownership(self.leases)
        self.reader = Reader(self.client, self.ownership)

    async def own(self) -> None:
        self.reader.assigned([A, B])
        assert await self.read() == [], "nothing flows before it is acquired"

        async def ask(seen: Mapping[SourcePartition, StoredMarks | None]) -> dict[SourcePartition, Evidence]:
            return {source: Evidence(marks, LogRange(0, 20)) for source, marks in seen.items()}

        assert await self.ownership._acquire_wanted(lambda: self.client.generation, ask)

    async def read(self) -> list[tuple[SourcePartition, int, int]]:
        return [(batch.source, batch.start, batch.next) for batch in await self.batches()]

    async def batches(self) -> list[RecordBatch]:
        return [batch async for batch in self.reader.read(0.0)]


@pytest.fixture
async def world() -> World:
    made = World()
    await made.own()
    return made


async def test_reading_begins_where_the_lease_says_wherever_the_client_stood(world: World) -> None:
    world.client.positions = {A: 0, B: 17}

    first, second = await world.batches(), await world.batches()

    assert [(b.source, b.owner, b.start, b.next) for b in first] == [(A, "mine", 5, 8), (B, "mine", 5, 8)]
    assert [(b.source, b.start) for b in second] == [(A, 8), (B, 8)]


async def test_a_hole_in_the_log_is_covered_by_the_batch_behind_it(world: World) -> None:
    world.client.offsets[A] = [0, 1, 9, 11, 12]

    assert (A, 5, 13) in await world.read()


async def test_records_behind_a_log_start_that_moved_on_are_not_read_but_acquired_anew(world: World) -> None:
    """The client went on at the new start by itself: what lies between is a gap, and only a take-over notes it."""
    await world.read()
    world.client.start = 12

    assert await world.read() == []

    assert world.leases.revoked == [A, B]
    assert sorted(world.ownership.waiting) == [A, B]
    assert world.client.paused == {A, B}


async def test_a_hole_that_nobody_can_explain_is_not_read_over(world: World) -> None:
    world.client.offsets[A] = [9]
    world.client.is_silent = True

    assert await world.read() == [(B, 5, 8)]
    assert world.leases.revoked == [A]


async def test_what_was_fetched_in_a_former_generation_is_dropped(world: World) -> None:
    read = world.reader.read(0.0)
    assert (await anext(read)).source == A
    world.client.generation = 2

    assert [batch async for batch in read] == []
    assert world.ownership.position(B) == 5


async def test_what_was_acquired_in_a_former_generation_is_not_read(world: World) -> None:
    world.client.generation = 2

    assert await world.read() == []
    assert world.client.paused == {A, B}


async def test_records_of_a_partition_that_is_not_owned_any_more_are_dropped(world: World) -> None:
    await world.read()
    world.ownership.want_again(A)

    assert await world.read() == [(B, 8, 11)]
    assert A in world.client.paused
