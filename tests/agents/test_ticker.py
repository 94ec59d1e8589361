"""The ticker (R17): which partitions are ticked, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from agents.ticker import Ticker
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.fold import FoldRules
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.store.takeover import Acquired
from tables.partitions import Partitions
from tests.core.sinks import record
from tests.core.test_silence import BASE_MS, message
from tests.tables.test_partitions import nothing_placed, nothing_stored

SOURCE = SourcePartition("telemetry.machine", 0)


class FakeInspector:
    """A broker whose log ends somewhere."""

    def __init__(self) -> None:
        self.end, self.has_more, self.asked = 2, True, 0
        self.away = False

    def ends(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, int]:
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("away")
        return dict.fromkeys(sources, self.end)

    def has_record(self, source: SourcePartition, position: int) -> bool:
        return self.has_more


class Story:
    """One partition with two messages of second 0, which its ticker looks at."""

    def __init__(self) -> None:
        self.now = self.ahead_s = 0.0
        self.broker = FakeInspector()
        taken = Acquired("owner", "before", 0, 0, None, {})
        self.partitions = Partitions(lambda *_: taken, nothing_stored, nothing_placed, FoldRules(silence_ms=45_000))
        asyncio.run(self.partitions.acquire(SOURCE, Evidence(None, LogRange(0, 0))))
        self.ticker = Ticker(self.partitions, self.broker, 30.0, lambda: self.now, self.wall_ms, self.database_ms)
        self.fold(0, 2)

    def wall_ms(self) -> int:
        return BASE_MS + round((self.now + self.ahead_s) * 1000)

    async def database_ms(self) -> int:
        return BASE_MS + round(self.now * 1000)

    def fold(self, first: int, end: int) -> None:
        records = [record(n, message("m", n)) for n in range(first, end)]
        self.partitions.fold(RecordBatch(SOURCE, "owner", first, end, records))

    def look(self, *seconds: float) -> int:
        """Look at some times; return how many ticks that made."""
        before = self.ticks
        for self.now in seconds:
            asyncio.run(self.ticker.look())
        return self.ticks - before

    @property
    def ticks(self) -> int:
        return self.partitions.owned[SOURCE].state.registry.applied


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_partition_that_stands_still_at_the_end_of_its_log_is_ticked_after_some_time(story: Story) -> None:
    assert story.look(0, 10, 29) == 0
    assert story.look(31) == 1, "the half minute ends at 10 s, and the watermark is 10 s behind the clock"
    assert story.look(40, 49) == 0
    assert story.look(50) == 1, "the minute"


def test_a_partition_that_goes_on_is_not_ticked(story: Story) -> None:
    for second in range(0, 200, 10):
        story.broker.end = 3 + second // 10
        story.fold(story.broker.end - 1, story.broker.end)
        assert story.look(second) == 0
    assert story.broker.asked == 0


def test_a_partition_that_only_waits_for_the_broker_is_not_ticked(story: Story) -> None:
    story.broker.end = 3
    assert story.look(0, 45, 90) == 0

    story.broker.has_more = False
    assert story.look(95) == 1, "the log ends in a marker"


def test_what_comes_while_the_broker_is_asked_is_no_silence(story: Story) -> None:
    story.look(0)
    ends = story.broker.ends

    def late(sources: Collection[SourcePartition]) -> dict[SourcePartition, int]:
        found = ends(sources)
        story.fold(2, 3)
        return found

    story.broker.ends = late
    assert story.look(45) == 0


def test_a_broker_that_does_not_answer_is_asked_again(story: Story) -> None:
    story.broker.away = True
    assert story.look(0, 45) == 0

    story.broker.away = False
    assert story.look(50) == 1


def test_where_everything_has_ended_the_broker_is_left_alone(story: Story) -> None:
    day = 86_400
    assert story.look(*range(0, 2 * day, 60)) > 3
    story.broker.asked = 0

    assert story.look(*range(2 * day, 3 * day, 60)) == 0
    assert story.broker.asked == 0


def test_a_worker_whose_clock_is_ahead_ticks_by_the_clock_of_the_database(story: Story) -> None:
    story.ahead_s = 86_400
    assert story.look(0, 31) == 1
    assert story.partitions.owned[SOURCE].state.watermark_ms == BASE_MS + 21_000
