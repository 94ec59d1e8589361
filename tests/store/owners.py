"""A partition's owner on the real sink, live and in a replay, without a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import psycopg

from pipeline.core.fold import FoldRules
from pipeline.core.records import Record, RecordBatch
from pipeline.replaying import stretches
from pipeline.replaying.differences import differences
from pipeline.replaying.stretches import Stretch
from pipeline.store import controls
from pipeline.store.connect import connect
from pipeline.store.sink import Sink
from tables.loading import load
from tests.core.sinks import SOURCE
from tests.store.database_sink import DatabaseSink


def fold_as_owner(
    sink: DatabaseSink,
    records: Sequence[Record],
    cuts: Sequence[int],
    rules: FoldRules,
    told_at: int = -1,
    ticks: Mapping[int, int] | None = None,
) -> None:
    """Fold all records as a partition's owner does; at ``told_at`` it hears of the control records that are there by then.

    Parameters
    ----------
    ticks
        The clock, ms since the epoch, UTC, when the owner finds the log at an end.
    """
    partition = load(SOURCE, sink.acquire(), 0, rules, lambda *_: [], lambda: True, sink.placed)
    begins = partition.position
    for first, end in pairwise([begins, *(cut for cut in cuts if begins < cut < len(records)), len(records)]):
        partition.fold(RecordBatch(SOURCE, sink.owner, first, end, records[first:end]), rules)
        if end == told_at:
            partition.tell(controls.since(sink.leasing, sink.progress, 0).controls)
        if end in (ticks or {}):
            partition.tick(ticks[end], rules)
        unit = partition.take_all(rules)
        assert unit is not None
        assert sink.sink.store([unit]) == {SOURCE}
        partition.stored(unit)


def replayed(
    dsn: str,
    admin: psycopg.Connection,
    live: DatabaseSink,
    records: Sequence[Record],
    cuts: Sequence[int],
    rules: FoldRules,
) -> dict[str, int]:
    """Replay all records into a shadow that has to be as the live tables are; return its numbers of rows by table."""
    replay = stretches.create(admin, "r", live.progress, {SOURCE: Stretch(0, len(records))}, {"cold": False})
    shadow = DatabaseSink(dsn, replay.schema)
    shadow.sink = Sink(lambda: connect(dsn, schema=replay.schema), live.progress, announce=False)
    fold_as_owner(shadow, records, cuts, rules)
    found, uneven = differences(admin, replay)
    shadow.close()

    assert ([each for each in found if not each.holds], uneven) == ([], 0)
    return {each.table: each.shadow for each in found if not each.column}
