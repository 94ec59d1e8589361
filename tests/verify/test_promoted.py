"""R40, R43: after a promotion what is stored still holds, though a replay cannot count what had been dropped before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch
from pipeline.core.state import PartitionState
from pipeline.replaying import promotion, replays, stretches
from pipeline.replaying.stretches import Stretch
from pipeline.store.connect import Connection, connect
from pipeline.verifying.verify import Verification, verify
from tests.core.sinks import SOURCE, feed, record
from tests.core.test_fold_laws import BASE_MS
from tests.store.database_sink import DatabaseSink

TOTAL, MERGED, RULES = 200, 120, FoldRules()


def stream() -> list[Record]:
    """Return a device's messages, every tenth of them sent twice."""
    said = []
    for number in range(TOTAL):
        seq = number - number % 10 // 9
        at = BASE_MS + 1000 * seq
        said.append(
            record(
                number, {"machine": "m", "time_ms": at, "ingest_ms": at, "seq": seq, "readings": {"t": 50.0 + seq % 7}}
            )
        )
    return said


def without_duplicates(records: list[Record]) -> list[Record]:
    """Return what is stored of them, as a replay reads it: the places of duplicates are empty."""
    return [each for each in records if each.offset % 10 != 9]


@dataclass
class World:
    admin: Connection
    dsn: str
    live: DatabaseSink

    def replayed(self, stored_to: int) -> None:
        """Replay, what comes before an offset from what is stored, and promote that."""
        stretch = {SOURCE: Stretch(0, TOTAL, stored_to=stored_to)}
        replay = stretches.create(self.admin, "r", self.live.progress, stretch, {"cold": False})
        shadow, state = DatabaseSink(self.dsn, replay.schema), PartitionState()
        shadow.acquire()
        records = stream()
        if stored_to:
            records = without_duplicates(records)
        _feed_sparse(shadow, state, records)
        assert shadow.save(state, TOTAL)
        shadow.close()
        promotion.promote(self.admin, replays.find(self.admin, "r"))

    def verify(self) -> Verification:
        return verify(None, self.dsn, group="laws")


def _feed_sparse(sink: DatabaseSink, state: PartitionState, records: list[Record]) -> None:
    sink.store(fold(state, RecordBatch(SOURCE, "owner", 0, TOTAL, records), RULES, Marks()))
    sink.merge(project(state, 0, TOTAL, RULES))


@pytest.fixture
def world(database) -> Iterator[World]:
    """A partition whose windows are merged less far than its events are stored."""
    with connect(database.admin_dsn, autocommit=True) as admin:
        live = DatabaseSink(database.dsn)
        live.acquire()
        feed(live, PartitionState(), stream(), range(0, TOTAL, 20), RULES, reach=Marks(TOTAL, MERGED))
        yield World(admin, database.dsn, live)
        live.close()


def test_promoted_from_what_is_stored_it_holds_and_says_what_cannot_be_told(world: World) -> None:
    before = world.verify()
    assert (before.holds, before.unaccounted, before.stored) == (True, 0, TOTAL * 9 // 10)
    world.replayed(stored_to=TOTAL)

    found = world.verify()

    assert (found.holds, found.unaccounted, found.stored) == (True, 0, before.stored)
    assert found.windows > before.windows
    assert any(f"missing offsets of {SOURCE} cannot be told" in note for note in found.notes)


def test_promoted_from_the_log_a_missing_offset_is_found_as_before(world: World) -> None:
    world.replayed(stored_to=0)
    assert world.verify().holds
    world.admin.execute("DELETE FROM event WHERE source_offset = 55")

    assert world.verify().unaccounted == 1


def test_turned_back_a_missing_offset_is_found_as_before(world: World) -> None:
    world.replayed(stored_to=TOTAL)
    promotion.undo(world.admin, replays.find(world.admin, "r"))
    assert world.verify().holds
    world.admin.execute("DELETE FROM event WHERE source_offset = 55")

    assert world.verify().unaccounted == 1
