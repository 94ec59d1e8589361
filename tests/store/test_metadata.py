"""Commands on metadata in the database (R45, R46): what became of them, what is in force, and who is told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import orjson
import pytest

from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store.connect import connect
from pipeline.store.sink import Sink
from tests.core.raw_messages import command
from tests.core.test_metadata import BODIES
from tests.store.leasing import PROGRESS, acquire

SOURCE, OTHER = SourcePartition("metadata.command", 0), SourcePartition("telemetry.machine", 5)
NOW_MS = 1_790_000_200_000


@pytest.fixture
def sinks(database) -> Iterator[list[Sink]]:
    made = [Sink(lambda: connect(database.dsn), PROGRESS, announce=announce) for announce in (True, False)]
    yield made
    for each in made:
        each.close()


def unit(owner: str, *messages: dict) -> UnitOfWork:
    records = [Record(n, NOW_MS, orjson.dumps(each)) for n, each in enumerate(messages)]
    batch = RecordBatch(SOURCE, owner, 0, len(records), records)
    return UnitOfWork(SOURCE, owner, 0, len(records), [fold(PartitionState(), batch, FoldRules(), Marks())])


ADDED = [command(entity=kind, id=f"{kind}-1", command_id=kind, body=body) for kind, body in BODIES.items()]


def test_what_commands_say_is_to_be_seen_by_kind(connection, sinks) -> None:
    owner = acquire(PROGRESS, connection, SOURCE).owner
    stale = command(entity="line", id="line-1", command_id="late", body=BODIES["line"])
    change = command(
        entity="sku", id="sku-1", command_id="more", action="change", expected_version=1, body={"ideal_cycle_s": 3}
    )
    removal = command(entity="factory", id="factory-1", command_id="less", action="remove", expected_version=1)

    assert sinks[0].store([unit(owner, *ADDED, stale, change, removal)]) == {SOURCE}

    def all_of(view: str, columns: str) -> list[tuple]:
        return connection.execute(f"SELECT {columns} FROM dashboard.{view} ORDER BY 1").fetchall()

    assert all_of("factory", "factory_id") == []
    assert all_of("line", "line_id, factory_id, name, version") == [("line-1", "aurora", "line one", 1)]
    assert all_of("machine", "machine_id, factory_id, line_id, machine_type, status, pump_id") == [
        ("machine-1", "aurora", "l-1", "press", "enabled", "p-1")
    ]
    assert all_of("sku", "sku, name, ideal_cycle_s, version") == [("sku-1", "bolt", 3.0, 2)]
    assert all_of("shift", "start_time, end_time, weekdays") == [(dt.time(6), dt.time(14), [1, 2, 3, 4, 5])]
    assert all_of("maintenance_rule", "class, name, conditions")[0][:2] == (1, "Tighten adjustment harness")
    rejected = "expected version 0, it is 1: read it again and repeat"
    assert [row for row in all_of("metadata_command", "command_id, status, reason") if row[1] == "rejected"] == [
        ("late", "rejected", rejected)
    ]
    assert all_of("metadata_change", "count(*)") == [(8,)]
    events = connection.execute(
        "SELECT event_type, count(*), min(entity_type) FROM event GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert events == [("Metadata changed", 8, "factory"), ("Metadata unchanged", 1, "line")]


def test_a_change_is_told_to_every_partition_in_the_transaction_that_stores_it(connection, sinks) -> None:
    owner = acquire(PROGRESS, connection, SOURCE).owner
    mine = unit(owner, *ADDED)

    sinks[0].store([mine])
    assert sinks[0].store([mine]) == set()

    here, there = acquire(PROGRESS, connection, SOURCE), acquire(PROGRESS, connection, OTHER)
    assert len(here.waiting) == len(ADDED)
    assert there.waiting == here.waiting
    assert {each.body["entity"] for each in there.waiting} == set(BODIES)
    assert all(each.id >= 2**62 for each in there.waiting)


def test_a_replay_tells_nobody(connection, sinks) -> None:
    owner = acquire(PROGRESS, connection, SOURCE).owner

    sinks[1].store([unit(owner, *ADDED)])

    assert acquire(PROGRESS, connection, OTHER).waiting == ()
    assert connection.execute("SELECT count(*) FROM metadata_command").fetchone() == (len(ADDED),)


def test_a_command_that_is_read_again_after_a_restore_makes_the_same_control_record(connection, sinks) -> None:
    owner = acquire(PROGRESS, connection, SOURCE).owner
    sinks[0].store([unit(owner, *ADDED)])
    before = acquire(PROGRESS, connection, OTHER).waiting
    connection.execute("UPDATE source_progress SET effects_next = 0, windows_next = 0 WHERE topic = %s", [SOURCE.topic])

    owner = acquire(PROGRESS, connection, SOURCE).owner
    sinks[0].store([unit(owner, *ADDED)])

    assert acquire(PROGRESS, connection, OTHER).waiting == before
