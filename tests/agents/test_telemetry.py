"""The telemetry agent: whose batches it folds, and what becomes of a record on which the fold fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import pytest

from agents.telemetry import POISONED_AT_MOST, Telemetry, single_records
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import FoldBroken
from pipeline.core.records import Record, RecordBatch, SourcePartition

SOURCE = SourcePartition("t", 0)


@dataclass
class FakePartitions:
    """Owns one partition under the token ``mine``; fails on the offsets it is told to."""

    poisoned: set[int] = field(default_factory=set)
    position: int = 0
    folded: list[tuple[int, int]] = field(default_factory=list)
    revoked: list[SourcePartition] = field(default_factory=list)

    async def room(self) -> None:
        pass

    def owns(self, batch: RecordBatch) -> bool:
        return batch.owner == "mine"

    def follows(self, batch: RecordBatch) -> bool:
        return batch.start == self.position

    def revoke(self, source: SourcePartition) -> None:
        self.revoked.append(source)

    def fold(self, batch: RecordBatch) -> None:
        if self.poisoned & {record.offset for record in batch.records}:
            raise ZeroDivisionError("poison")
        self.folded.append((batch.start, batch.next))
        self.position = batch.next


@dataclass
class FakeOwnership:
    wanted_again: list[SourcePartition] = field(default_factory=list)

    def want_again(self, source: SourcePartition) -> None:
        self.wanted_again.append(source)


@dataclass
class FakeControls:
    """Notes skips; a noted record no longer fails, as after a new lease."""

    partitions: FakePartitions
    skipped: list[tuple[int, DeadLetterReason]] = field(default_factory=list)

    async def skip(
        self, source: SourcePartition, owner: str, offset: int, reason: DeadLetterReason, detail: str
    ) -> None:
        assert source in self.partitions.revoked, "what was half folded could be stored meanwhile"
        self.skipped.append((offset, reason))
        self.partitions.poisoned.discard(offset)


def batch(start: int, end: int, owner: str = "mine") -> RecordBatch:
    return RecordBatch(SOURCE, owner, start, end, [Record(n, 0, b"") for n in range(start, end)])


async def run(telemetry: Telemetry, batches: Iterable[RecordBatch]) -> None:
    async def stream() -> AsyncIterator[RecordBatch]:
        for each in batches:
            yield each

    await telemetry.run(stream())


@pytest.fixture
def world() -> tuple[Telemetry, FakePartitions, FakeOwnership, FakeControls]:
    partitions, ownership = FakePartitions(), FakeOwnership()
    controls = FakeControls(partitions)
    return Telemetry(partitions, ownership, controls), partitions, ownership, controls


async def test_batches_of_another_owner_are_dropped(world) -> None:
    telemetry, partitions, ownership, _ = world

    await run(telemetry, [batch(0, 5), batch(5, 9, "somebody else"), batch(5, 7)])

    assert partitions.folded == [(0, 5), (5, 7)]
    assert ownership.wanted_again == []


async def test_a_batch_that_does_not_follow_is_not_folded_but_asked_for_again(world) -> None:
    telemetry, partitions, ownership, _ = world

    await run(telemetry, [batch(0, 5), batch(6, 9)])

    assert partitions.folded == [(0, 5)]
    assert ownership.wanted_again == [SOURCE]


async def test_the_record_on_which_the_fold_fails_is_found_and_set_aside(world) -> None:
    """First the whole batch fails, then its records come one by one up to the poisoned one, then all of them."""
    telemetry, partitions, ownership, controls = world
    partitions.poisoned = {3}

    await run(telemetry, [batch(0, 6)])
    assert (controls.skipped, ownership.wanted_again) == ([], [SOURCE])
    await run(telemetry, [batch(0, 6)])
    assert controls.skipped == [(3, DeadLetterReason.FOLD_FAILED)]
    partitions.position = 0
    await run(telemetry, [batch(0, 6), batch(6, 9)])

    assert partitions.position == 9
    assert partitions.folded[-1] == (6, 9), "in whole batches again"


async def test_a_fold_that_fails_on_record_after_record_ends_the_worker(world) -> None:
    telemetry, partitions, _, controls = world
    partitions.poisoned = set(range(100))

    async def again_and_again() -> None:
        while True:
            await run(telemetry, [batch(0, 100)])
            partitions.position = 0

    with pytest.raises(FoldBroken, match="nothing is lost"):
        await again_and_again()

    assert len(controls.skipped) == POISONED_AT_MOST


async def test_poisoned_records_among_sound_ones_are_all_set_aside_however_many_they_are(world) -> None:
    telemetry, partitions, _, controls = world
    partitions.poisoned = set(range(0, 4 * POISONED_AT_MOST, 2))

    for _ in range(1 + 2 * POISONED_AT_MOST + 1):
        partitions.position = 0
        await run(telemetry, [batch(0, 4 * POISONED_AT_MOST)])

    assert [offset for offset, _ in controls.skipped] == list(range(0, 4 * POISONED_AT_MOST, 2))


async def test_partitions_are_judged_apart_whether_the_fold_is_broken(world) -> None:
    """A sound partition beside a broken one does not hide it."""
    telemetry, partitions, _, _ = world
    partitions.poisoned = set(range(100))
    other = RecordBatch(SourcePartition("t", 1), "mine", 0, 1, [Record(1000, 0, b"")])

    async def again_and_again() -> None:
        for _ in range(3 * POISONED_AT_MOST):
            partitions.position = 0
            await run(telemetry, [other])
            partitions.position = 0
            await run(telemetry, [batch(0, 100)])

    with pytest.raises(FoldBroken):
        await again_and_again()


def test_single_records_cover_the_same_positions() -> None:
    """Holes belong to the record behind them; what is behind the last record, to the last."""
    whole = RecordBatch(SOURCE, "mine", 0, 12, [Record(n, 0, b"") for n in (2, 3, 9)])

    assert [(each.start, each.next) for each in single_records(whole)] == [(0, 3), (3, 4), (4, 12)]


async def test_a_partition_is_asked_for_again_whatever_goes_wrong_while_its_record_is_set_aside(world) -> None:
    telemetry, partitions, ownership, controls = world
    partitions.poisoned = {0}

    async def broken(*_: object) -> None:
        raise AttributeError("not foreseen")

    controls.skip = broken
    with pytest.raises(AttributeError):
        await run(telemetry, [batch(0, 1)])

    assert (partitions.revoked, ownership.wanted_again) == ([SOURCE], [SOURCE])
