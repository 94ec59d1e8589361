"""The laws on the real sink (R11, R14, R15, R35): any batches, any restart, the same rows as the fold in memory."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings

from pipeline.core.fold import Marks
from pipeline.core.state import PartitionState
from tables import snapshots
from tests.core.sinks import MemorySink, feed, folded, records_of
from tests.core.test_cycles import CLOSING, plainly, shifts
from tests.core.test_cycles import RULES as CYCLE_RULES
from tests.core.test_fold_laws import (
    BASE_MS,
    RULES,
    approximately,
    assert_same_cycles,
    assert_same_windows,
    cuts,
    streams,
)
from tests.store.database_sink import DatabaseSink, cycles, rows

TABLES = (
    "event, reading_window, factory_window, operating_cycle, cycle_reading, anomaly, machine_state, dead_letter,"
    " maintenance_requirement, maintenance_aggregate, quality_report, maintenance_record, metadata_command, source_progress,"
    " partition_snapshot, source_gap, control_record, control_effect"
)
on_services = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def sink(database) -> Iterator[DatabaseSink]:
    made = DatabaseSink(database.dsn)
    yield made
    made.close()


def begin(sink: DatabaseSink, admin: psycopg.Connection) -> None:
    admin.execute(f"TRUNCATE {TABLES}")
    sink.empty()
    sink.acquire()


def assert_stored(expected: MemorySink, actual: dict[str, dict]) -> None:
    assert actual["events"] == expected.events
    assert actual["dead_letters"] == expected.dead_letters
    assert actual["facts"] == expected.facts
    assert actual["new_machines"] == expected.new_machines
    assert actual["requirements"] == {
        at: (each.machine_id, each.requirement, each.previous, each.rule_id, each.rule_version, each.readings)
        for at, each in expected.requirements.items()
    }
    assert actual["recalculations"] == {
        at: (each.machine_id, each.requirement, each.start_ms) for at, each in expected.recalculations.items()
    }
    assert actual["aggregates"] == expected.aggregates
    assert actual["machines"] == expected.machines
    assert actual["anomalies"].keys() == expected.anomalies.keys()
    for key, numbers in expected.anomalies.items():
        for wanted, got in zip(numbers, actual["anomalies"][key], strict=True):
            assert approximately(wanted, got, abs(wanted))
    assert_same_windows(expected.window_rows(), actual["windows"])
    assert_same_windows(expected.factory_rows(), actual["factories"])
    assert_same_cycles(expected.cycle_rows(), actual["cycles"])


def at_second(second: int, value: float = 5.0) -> dict:
    at_ms = BASE_MS + second * 1000
    readings = {"temperature": value}
    return {"machine": "m0", "time_ms": at_ms, "seq": second, "ingest_ms": BASE_MS + 400_000, "readings": readings}


ONE_WINDOW = [at_second(5, 1.0), at_second(9, 8.0), at_second(7, 40.0), at_second(6, -3.0)]
"""Of one half minute, the latest neither first nor last."""
BETWEEN = [at_second(second) for second in (0, 50, 100, 200, 25)]
"""The last one makes two cycles one."""


@on_services
@given(streams, cuts, st.integers(1, 4))
@example(ONE_WINDOW, [1, 2, 3], 1)
def test_laws_1_2_8_any_batches_give_the_rows_once(sink, admin, messages, at, merge_every) -> None:
    begin(sink, admin)

    feed(sink, PartitionState(), records_of(messages), at, RULES, merge_every=merge_every)

    assert_stored(folded(messages, RULES), rows(admin))


@on_services
@given(streams, cuts, st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_laws_1_3_another_owner_goes_on_from_the_snapshot(
    sink, admin, messages, at, snapshot_at, effects_at, windows_at
) -> None:
    """The first owner vanishes with its marks somewhere behind the snapshot; the next one folds the difference."""
    begin(sink, admin)
    records = records_of(messages)
    s = min(snapshot_at, effects_at, windows_at, len(records))
    state = PartitionState()
    feed(sink, state, records[:s], at, RULES)
    assert sink.save(state, s)
    feed(sink, state, records, at, RULES, start=s, reach=Marks(effects_at, windows_at))

    taken = sink.acquire()
    assert taken.snapshot is not None
    assert taken.snapshot[0] == s
    feed(sink, snapshots.decode(taken.snapshot[1]), records, at, RULES, start=s)

    assert_stored(folded(messages, RULES), rows(admin))


@on_services
@given(shifts(), cuts, st.integers(1, 4))
@example(BETWEEN, [1, 2, 3, 4], 1)
def test_any_order_and_any_batches_give_the_cycles_of_a_sort_and_split(sink, admin, messages, at, merge_every) -> None:
    begin(sink, admin)
    records = records_of([*messages, CLOSING])

    feed(sink, PartitionState(), records, at, CYCLE_RULES, merge_every=merge_every)

    assert_same_cycles(plainly(messages), cycles(admin))
