"""What a worker holds across rebalances (R50): kept while nobody came between, dropped otherwise, never too much."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count

import orjson
import pytest

from pipeline.core.controls import PlacedControl
from pipeline.core.errors import NotOwner, StaleEvidence
from pipeline.core.fold import FoldRules
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvent, StoredEvents
from pipeline.store.takeover import Acquired
from tables.partitions import Partitions

SOURCE = SourcePartition("t", 0)
LOG = Evidence(None, LogRange(0, 1000))


def nothing_stored(source: SourcePartition, first: int, end: int) -> list[StoredEvents]:
    return []


def nothing_placed(source: SourcePartition, first: int) -> list[PlacedControl]:
    return []


class Marks:
    """A database that only knows owners and marks."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.owner: str | None = None
        self.effects = self.windows = 0

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        previous, self.owner = self.owner, f"owner-{next(self._numbers)}"
        return Acquired(self.owner, previous, self.effects, self.windows, None, {})


def batch(owner: str, start: int, end: int) -> RecordBatch:
    body = {
        "factory_id": "f",
        "machine_id": "m",
        "machine_type": "t",
        "time": "2026-09-21T00:00:00Z",
        "readings": {"t": 1},
    }
    records = [Record(n, 1_790_000_000_000, orjson.dumps(body | {"seq": n})) for n in range(start, end)]
    return RecordBatch(SOURCE, owner, start, end, records)


@pytest.fixture
def marks() -> Marks:
    return Marks()


@pytest.fixture
def partitions(marks: Marks) -> Partitions:
    return Partitions(marks.take_over, nothing_stored, nothing_placed, FoldRules(), max_pending=50)


async def store(partitions: Partitions, marks: Marks, *, hit: bool = True) -> list[SourcePartition]:
    units = partitions.take(10**6, ())
    if hit:
        marks.effects = units[-1].next
    return await partitions.settle(units, {SOURCE} if hit else set())


async def test_what_was_folded_goes_on_after_a_rebalance_if_nobody_came_between(partitions, marks) -> None:
    owner, position = await partitions.acquire(SOURCE, LOG)
    assert position == 0
    partitions.fold(batch(owner, 0, 10))

    partitions.release([SOURCE])
    again, position = await partitions.acquire(SOURCE, LOG)

    assert (position, again == owner) == (10, False)
    (unit,) = partitions.take(100, ())
    assert (unit.owner, unit.expected, unit.next) == (again, 0, 10)


async def test_what_was_folded_is_dropped_if_somebody_came_between(partitions, marks) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))

    partitions.release([SOURCE])
    marks.take_over(SOURCE, LOG)
    _, position = await partitions.acquire(SOURCE, LOG)

    assert position == 0
    assert partitions.take(100, ()) == []


async def test_what_is_folded_counts_as_stored_when_its_transaction_is(partitions, marks) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))
    before = partitions.stored()

    await store(partitions, marks)

    assert (before, partitions.stored()) == ({SOURCE: 0}, {SOURCE: 10})


async def test_a_partition_that_went_elsewhere_is_forgotten(partitions) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))

    partitions.release([])
    partitions.release([SOURCE])
    _, position = await partitions.acquire(SOURCE, LOG)

    assert position == 0


async def test_batches_of_a_former_lease_or_from_elsewhere_are_told_apart(partitions) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))
    later, _ = await partitions.acquire(SOURCE, LOG)

    assert not partitions.owns(batch(owner, 10, 20))
    assert partitions.owns(batch(later, 0, 20))
    assert not partitions.follows(batch(later, 11, 20))
    partitions.close()
    assert not partitions.owns(batch(later, 0, 20))


async def test_folding_waits_while_too_much_waits_to_be_stored(partitions, marks) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 60))
    waiting = asyncio.create_task(partitions.room())
    await asyncio.sleep(0.05)
    assert not waiting.done()

    await store(partitions, marks)

    await asyncio.wait_for(waiting, 1)


async def test_a_revoked_partition_makes_room(partitions) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 60))

    partitions.revoke(SOURCE)

    await asyncio.wait_for(partitions.room(), 1)
    assert partitions.take(100, ()) == []


async def test_what_was_under_way_when_a_partition_was_revoked_takes_no_room_afterwards(partitions, marks) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 60))
    units = partitions.take(100, ())

    partitions.revoke(SOURCE)
    await partitions.settle(units, ())

    await partitions.acquire(SOURCE, LOG)
    await asyncio.wait_for(partitions.room(), 1)


@pytest.mark.parametrize(
    "give_up", [lambda it: it.release([]), lambda it: it.revoke(SOURCE)], ids=["release", "revoke"]
)
async def test_whoever_waits_for_room_goes_on_when_what_waited_is_given_up(partitions, give_up) -> None:
    """Nothing will be stored then that could wake it."""
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 60))
    waiting = asyncio.create_task(partitions.room())
    await asyncio.sleep(0.01)

    give_up(partitions)

    await asyncio.wait_for(waiting, 1)


async def test_a_lease_that_came_too_late_for_its_assignment_leaves_nothing_behind(partitions, marks) -> None:
    """The group was rebalanced again while the lease was taken: the partition is acquired once more."""
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 40))
    partitions.release([SOURCE])
    await partitions.acquire(SOURCE, LOG)

    again, position = await partitions.acquire(SOURCE, LOG)

    assert position == 40
    (unit,) = partitions.take(100, ())
    assert (unit.owner, unit.next) == (again, 40)
    await partitions.settle([unit], {SOURCE})
    partitions.fold(batch(again, 40, 80))
    await asyncio.wait_for(partitions.room(), 1)


async def test_the_flusher_is_told_while_something_is_left_to_store(partitions) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))
    partitions.fold(batch(owner, 10, 20))

    left = []
    for _ in range(2):
        partitions.take(1, ())
        left.append(partitions.work.is_set())

    assert left == [True, False]


async def test_a_refused_unit_is_reported_while_the_partition_is_held(partitions, marks) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))

    assert await store(partitions, marks, hit=False) == [SOURCE]


async def test_a_partition_is_not_acquired_while_its_unit_is_under_way(partitions, marks) -> None:
    """Only the outcome says whether what is kept aside still fits the marks."""
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 10))
    units = partitions.take(100, ())
    partitions.release([SOURCE])
    acquiring = asyncio.create_task(partitions.acquire(SOURCE, LOG))
    await asyncio.sleep(0.05)
    assert not acquiring.done()

    marks.effects = 10
    await partitions.settle(units, {SOURCE})

    assert (await asyncio.wait_for(acquiring, 1))[1] == 10


async def test_about_as_many_rows_are_taken_as_asked_for(partitions) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    for start in range(0, 40, 10):
        partitions.fold(batch(owner, start, start + 10))

    assert [unit.next for unit in partitions.take(15, ())] == [20]
    assert [unit.next for unit in partitions.take(1, ())] == [30]


async def test_a_partition_that_went_elsewhere_while_it_was_taken_over_is_not_owned(marks) -> None:
    def take_over(source: SourcePartition, evidence: Evidence) -> Acquired:
        partitions.release([])
        return marks.take_over(source, evidence)

    partitions = Partitions(take_over, nothing_stored, nothing_placed, FoldRules())
    partitions.release([SOURCE])

    with pytest.raises(NotOwner):
        await partitions.acquire(SOURCE, LOG)

    assert not partitions.owned


async def test_large_bodies_count_as_many_rows(partitions, marks) -> None:
    owner, _ = await partitions.acquire(SOURCE, LOG)
    small = batch(owner, 0, 1)
    large = [Record(0, 0, (small.records[0].value or b"").replace(b"{", b'{"note":"' + b"x" * 300_000 + b'",', 1))]

    partitions.fold(RecordBatch(SOURCE, owner, 0, 1, large))

    waiting = asyncio.create_task(partitions.room())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await store(partitions, marks)
    await asyncio.wait_for(waiting, 1)


async def test_a_lost_log_is_left_behind_when_its_windows_are_merged(marks) -> None:
    """Its events are stored to 10, its windows merged to 0: the sink gets them, then the log is asked about again."""
    source, stored_batch = SOURCE, batch("", 0, 10)
    events = StoredEvents.of(StoredEvent(r.offset, 0, r.timestamp, r.value) for r in stored_batch.records)
    taken = Acquired("mine", "old", 10, 0, None, {}, settle_first=True)
    partitions = Partitions(lambda *_: taken, lambda *_: [events], nothing_placed, FoldRules())
    acquiring = asyncio.create_task(partitions.acquire(source, LOG))
    async with asyncio.timeout(5):
        while not partitions.owned:
            assert not acquiring.done()
            await asyncio.sleep(0.001)

    (unit,) = partitions.take(100, [source])
    assert not acquiring.done()
    await partitions.settle([unit], {source})

    assert (unit.expected, unit.next, unit.effects) == (10, 10, [])
    assert (unit.projections.expected, unit.projections.next) == (0, 10)
    assert unit.projections.windows.deltas["count"].tolist() == [10]
    with pytest.raises(StaleEvidence, match="asking again"):
        await asyncio.wait_for(acquiring, 1)


async def test_a_state_that_was_still_being_folded_again_is_not_kept_when_its_log_is_lost(marks) -> None:
    """It stands at 4, the marks at 10, and nobody can give it what is between but the stored events."""
    lost = Acquired("first", "old", 10, 0, None, {})
    answers = iter([lost, replace(lost, owner="second", previous_owner="first", settle_first=True)])
    events = StoredEvents.of(StoredEvent(r.offset, 0, r.timestamp, r.value) for r in batch("", 0, 10).records)
    partitions = Partitions(lambda *_: next(answers), lambda *_: [events], nothing_placed, FoldRules())
    owner, _ = await partitions.acquire(SOURCE, LOG)
    partitions.fold(batch(owner, 0, 4))
    partitions.release([SOURCE])

    acquiring = asyncio.create_task(partitions.acquire(SOURCE, LOG))
    async with asyncio.timeout(5):
        while not partitions.owned:
            assert not acquiring.done()
            await asyncio.sleep(0.001)

    assert partitions.owned[SOURCE].position == 10
    partitions.release([])
    with pytest.raises(StaleEvidence):
        await asyncio.wait_for(acquiring, 1)
