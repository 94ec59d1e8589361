"""From assigned to owned: in order, for the present generation of the group only, and for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import pytest

from pipeline.broker.ownership import Lease, Ownership
from pipeline.core.errors import BrokerUnavailable, DatabaseUnavailable
from pipeline.core.marks import Evidence, LogRange, StoredMarks
from pipeline.core.records import SourcePartition

A, B, C = (SourcePartition("t", partition) for partition in range(3))


class FakeLeases:
    """Gives a token per lease; ``failing`` has the sources that it refuses, and how often."""

    def __init__(self) -> None:
        self.failing: dict[SourcePartition, int] = {}
        self.tried: list[SourcePartition] = []
        self.marks: dict[SourcePartition, StoredMarks] = {}
        self.evidence: dict[SourcePartition, Evidence] = {}
        self.calls: list[tuple[str, tuple[SourcePartition, ...]]] = []
        self.meanwhile: Callable[[SourcePartition], None] = lambda _: None

    async def peek(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, StoredMarks]:
        return {source: self.marks[source] for source in sources if source in self.marks}

    async def acquire(self, source: SourcePartition, evidence: Evidence) -> Lease:
        self.tried.append(source)
        self.evidence[source] = evidence
        await asyncio.sleep(0)
        self.meanwhile(source)
        if self.failing.get(source, 0) > 0:
            self.failing[source] -= 1
            raise DatabaseUnavailable("away")
        return Lease(f"owner-{len(self.tried)}", evidence.held.start)

    def release(self, wanted: Collection[SourcePartition]) -> None:
        self.calls.append(("release", tuple(wanted)))

    def revoke(self, source: SourcePartition) -> None:
        self.calls.append(("revoke", (source,)))


class World:
    """An ownership beside its task, in a group whose generation the test counts."""

    def __init__(self) -> None:
        self.leases = FakeLeases()
        self.ownership = Ownership(self.leases, retry_s=0.001)
        self.generation = 1
        self.silent_broker = 0
        self.asked: list[Mapping[SourcePartition, StoredMarks | None]] = []

    async def ask(self, seen: Mapping[SourcePartition, StoredMarks | None]) -> dict[SourcePartition, Evidence]:
        self.asked.append(seen)
        if self.silent_broker > 0:
            self.silent_broker -= 1
            raise BrokerUnavailable("silent")
        return {source: Evidence(marks, LogRange(10 * source.partition, 100)) for source, marks in seen.items()}

    async def settle(self) -> None:
        """Run the task until nothing is left to acquire."""
        task = asyncio.create_task(self.ownership.acquire_for_ever(lambda: self.generation, self.ask))
        try:
            async with asyncio.timeout(5):
                while self.ownership.waiting:
                    assert not task.done()
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()

    def take_all(self) -> list[tuple[SourcePartition, int]]:
        taken = iter(lambda: self.ownership.take_acquired(self.generation), None)
        return [(source, lease.position) for source, lease in taken]


@pytest.fixture
def world() -> World:
    return World()


async def test_what_is_assigned_is_acquired_in_order_and_goes_on_where_the_lease_says(world: World) -> None:
    world.ownership.assign([C, A, B])

    await world.settle()

    assert world.leases.calls == [("release", (C, A, B))]
    assert world.leases.tried == [A, B, C]
    assert world.take_all() == [(A, 0), (B, 10), (C, 20)]


async def test_the_log_is_asked_about_the_marks_that_were_seen_before(world: World) -> None:
    world.leases.marks[B] = StoredMarks("before", 7, 5, 99, 6)
    world.ownership.assign([A, B])

    await world.settle()

    seen = {A: None, B: world.leases.marks[B]}
    assert world.asked == [seen]
    assert {source: evidence.seen for source, evidence in world.leases.evidence.items()} == seen


async def test_what_cannot_be_acquired_is_tried_again_and_holds_up_nothing_else(world: World) -> None:
    world.leases.failing = {A: 30}
    world.ownership.assign([A, B])

    await world.settle()

    assert world.leases.tried == [A, B, *([A] * 30)]
    assert world.take_all() == [(B, 10), (A, 0)]


async def test_a_silent_broker_is_asked_again(world: World) -> None:
    world.silent_broker = 5
    world.ownership.assign([A])

    await world.settle()

    assert world.leases.tried == [A]


async def test_a_lease_of_a_generation_that_is_over_is_dropped_and_taken_again(world: World) -> None:
    """The generation changes while the lease is taken, and what was assigned is assigned again."""

    def rebalance(_: SourcePartition) -> None:
        if world.generation == 1:
            world.generation = 2
            world.ownership.assign([A])

    world.leases.meanwhile = rebalance
    world.ownership.assign([A, B])

    await world.settle()

    assert world.leases.tried == [A, A], "B went elsewhere"
    assert world.take_all() == [(A, 0)]


async def test_what_was_acquired_before_a_generation_ended_is_not_read(world: World) -> None:
    world.ownership.assign([A])
    await world.settle()

    assert world.ownership.take_acquired(2) is None
    assert world.ownership.take_acquired(1) is None


async def test_batches_carry_the_owner_and_the_position_until_the_assignment_ends(world: World) -> None:
    world.ownership.begin_reading(A, Lease("mine", 5))

    assert [world.ownership.advance(A, 8), world.ownership.advance(A, 9)] == [("mine", 5), ("mine", 8)]
    assert world.ownership.position(A) == 9
    assert world.ownership.advance(B, 1) is None

    world.ownership.assign([A])
    assert world.ownership.advance(A, 10) is None
    assert world.ownership.position(A) is None


async def test_a_partition_that_is_wanted_again_is_revoked_at_once_and_acquired_anew(world: World) -> None:
    world.ownership.assign([A, B])
    await world.settle()
    for source, position in world.take_all():
        world.ownership.begin_reading(source, Lease("first", position))

    world.ownership.want_again(A)

    assert world.leases.calls[-1] == ("revoke", (A,))
    assert world.ownership.advance(A, 3) is None
    assert world.ownership.advance(B, 13) == ("first", 10)
    await world.settle()
    assert world.take_all() == [(A, 0)]


async def test_a_partition_that_another_worker_has_by_now_is_only_given_up(world: World) -> None:
    """A transaction for it was under way when the group was rebalanced, and was refused."""
    world.ownership.assign([A, B])
    await world.settle()
    world.ownership.assign([B])
    await world.settle()
    before = list(world.leases.tried)

    world.ownership.want_again(A)

    assert world.leases.calls[-1] == ("revoke", (A,))
    assert list(world.ownership.waiting) == []
    assert world.leases.tried == before
