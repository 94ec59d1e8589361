"""The flusher: retries, what is unknown, what is set aside, when windows are merged and states are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agents.flush import Flusher, FlushRules
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import CommitUnknown, DatabaseUnavailable, PipelineError, SchemaOutdated, Unstorable
from pipeline.core.fold import FoldRules
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import Acquired
from tables.partitions import Partitions
from tests.tables.test_partitions import batch as batch_of_one_partition
from tests.tables.test_partitions import nothing_placed, nothing_stored

A, B = SourcePartition("t", 0), SourcePartition("t", 1)


class FakeVault:
    """Stores in memory; raises what it is told to, once each."""

    def __init__(self) -> None:
        self.errors: list[PipelineError] = []
        self.tries = 0
        self.stored: list[UnitOfWork] = []
        self.kept: list[tuple[SourcePartition, int]] = []
        self.skipped: list[tuple[SourcePartition, int, DeadLetterReason]] = []
        self.refused_skips = 0
        self.refuses: set[SourcePartition] = set()

    async def store(self, units: Sequence[UnitOfWork]) -> set[SourcePartition]:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.stored.extend(units)
        return {unit.source for unit in units} - self.refuses

    async def save(self, snapshot: Snapshot) -> bool:
        self.kept.append((snapshot.source, snapshot.offset))
        return True

    async def skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        if self.refused_skips:
            self.refused_skips -= 1
            raise DatabaseUnavailable("away")
        self.skipped.append((source, offset, reason))


class FakeOwnership:
    def __init__(self) -> None:
        self.wanted_again: list[SourcePartition] = []

    def want_again(self, source: SourcePartition) -> None:
        self.wanted_again.append(source)


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self) -> None:
        self.vault, self.ownership, self.clock = FakeVault(), FakeOwnership(), ManualClock()
        self.partitions = Partitions(
            lambda *_: Acquired("mine", None, 0, 0, None, {}), nothing_stored, nothing_placed, FoldRules()
        )
        rules = FlushRules(0.001, 20_000, windows_interval_s=5, snapshot_interval_s=30, max_retry_s=0.01)
        self.flusher = Flusher(self.partitions, self.ownership, self.vault, rules, self.clock)

    async def own(self, *sources: SourcePartition) -> None:
        for source in sources:
            await self.partitions.acquire(source, Evidence(None, LogRange(0, 1000)))

    def fold(self, source: SourcePartition, start: int, end: int) -> None:
        records = batch_of_one_partition("mine", start, end).records
        self.partitions.fold(RecordBatch(source, "mine", start, end, records))

    async def flush_for(self, seconds: float) -> None:
        """Let time pass in steps of a second, with a flush at each, as the loop does."""
        for _ in range(int(seconds)):
            self.clock.now += 1
            await self.flusher.flush(self.flusher._due(self.clock.now))
            await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> World:
    made = World()
    await made.own(A, B)
    return made


async def test_a_database_that_is_away_is_tried_again_until_it_is_back(world: World) -> None:
    world.fold(A, 0, 10)
    world.vault.errors = [DatabaseUnavailable("away")] * 5

    await world.flusher.flush(())

    assert world.vault.tries == 6
    assert [(unit.source, unit.next) for unit in world.vault.stored] == [(A, 10)]
    assert world.ownership.wanted_again == []


async def test_an_unknown_commit_is_not_tried_again_but_acquired_anew(world: World) -> None:
    world.fold(A, 0, 10)
    world.fold(B, 0, 10)
    world.vault.errors = [CommitUnknown("lost")]

    await world.flusher.flush(())

    assert (world.vault.tries, world.vault.stored) == (1, [])
    assert sorted(world.ownership.wanted_again) == [A, B]


async def test_an_error_that_will_not_pass_ends_the_flusher(world: World) -> None:
    world.fold(A, 0, 10)
    world.vault.errors = [SchemaOutdated("run `pipeline migrate`")]

    with pytest.raises(SchemaOutdated):
        await world.flusher.flush(())


async def test_a_record_that_can_never_be_stored_is_set_aside_and_the_other_partitions_are_stored(world: World) -> None:
    world.fold(A, 0, 10)
    world.fold(B, 0, 10)
    world.vault.errors = [Unstorable("t", 0, 7, "no such day")]

    await world.flusher.flush(())

    assert world.vault.skipped == [(A, 7, DeadLetterReason.UNSTORABLE)]
    assert world.ownership.wanted_again == [A]
    assert [unit.source for unit in world.vault.stored] == [B]


async def test_one_flush_carries_the_windows_of_one_partition_at_most_and_each_has_its_turn(world: World) -> None:
    merged: list[SourcePartition] = []
    for second in range(12):
        world.fold(A, second * 10, second * 10 + 10)
        world.fold(B, second * 10, second * 10 + 10)
        before = len(world.vault.stored)
        await world.flush_for(1)
        here = [unit.source for unit in world.vault.stored[before:] if unit.projections is not None]
        assert len(here) <= 1
        merged += here

    assert merged.count(A) == merged.count(B) == 2


async def test_a_state_is_kept_about_every_interval_and_only_where_the_marks_are(world: World) -> None:
    for second in range(70):
        world.fold(A, second, second + 1)
        await world.flush_for(1)

    kept = [offset for source, offset in world.vault.kept if source == A]
    merged = [unit.projections.next for unit in world.vault.stored if unit.source == A and unit.projections is not None]
    assert 2 <= len(kept) <= 3
    assert set(kept) <= set(merged)


async def test_whoever_has_nothing_to_store_learns_that_the_database_was_restored(world: World) -> None:
    world.fold(A, 0, 10)
    await world.flush_for(12)
    world.vault.refuses = {A}

    await world.flush_for(5)

    assert world.ownership.wanted_again == [A]
    asked = [unit for unit in world.vault.stored if unit.source == A][-1]
    assert (asked.expected, asked.next, asked.effects) == (10, 10, [])
    assert asked.projections is not None
    assert (asked.projections.expected, asked.projections.next) == (10, 10)


async def test_a_state_that_did_not_change_is_not_kept_again(world: World) -> None:
    world.fold(A, 0, 10)

    await world.flush_for(100)

    assert world.vault.kept.count((A, 10)) == 1


async def test_a_state_that_is_behind_the_effects_mark_is_kept_at_its_own_offset(world: World) -> None:
    """Records are folded again after a loss of windows: a state of ten records is none of twenty."""
    world.partitions = Partitions(
        lambda *_: Acquired("mine", None, 20, 0, None, {}), nothing_stored, nothing_placed, FoldRules()
    )
    world.flusher = Flusher(world.partitions, world.ownership, world.vault, FlushRules(0.001), world.clock)
    await world.own(A)
    world.fold(A, 0, 10)

    await world.flusher.flush([A])
    await asyncio.sleep(0.05)

    assert [(unit.next, unit.projections and unit.projections.next) for unit in world.vault.stored] == [(20, 10)]
    assert world.vault.kept == [(A, 10)]


async def test_a_record_that_cannot_be_noted_as_unstorable_is_tried_again_with_its_partition(world: World) -> None:
    world.fold(A, 0, 10)
    world.vault.errors = [Unstorable("t", 0, 7, "no such day")]
    world.vault.refused_skips = 1

    await world.flusher.flush(())

    assert (world.vault.skipped, world.ownership.wanted_again) == ([], [])
    assert [unit.next for unit in world.vault.stored] == [10]


async def test_finishing_stores_everything_and_keeps_every_state_once(world: World) -> None:
    world.fold(A, 0, 10)
    world.fold(A, 10, 20)

    await world.flusher.finish()

    assert world.vault.stored[-1].projections is not None
    assert {unit.next for unit in world.vault.stored if unit.source == A} == {20}
    assert sorted(world.vault.kept) == [(A, 20), (B, 0)]
