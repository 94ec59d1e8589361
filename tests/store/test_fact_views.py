"""What dashboards see of facts (R2, R3): which report of a period counts, and the newest of every pump."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from pipeline.core.fold import FoldRules
from pipeline.core.records import Record
from pipeline.core.state import PartitionState
from pipeline.core.times import iso
from tests.core.raw_messages import NOW_MS, pump, quality, raw
from tests.core.sinks import feed
from tests.core.test_fold_laws import BASE_MS
from tests.store.database_sink import DatabaseSink

RULES = FoldRules()
QUARTER_MS = 900_000
reports = st.lists(
    st.tuples(
        st.sampled_from(["m0", "m1"]),
        st.sampled_from(["A", "B"]),
        st.integers(0, 6) | st.integers(0, 500),
        st.integers(1, 3) | st.sampled_from([96, 97, 300]),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    max_size=14,
)


@pytest.fixture
def sink(database) -> Iterator[DatabaseSink]:
    made = DatabaseSink(database.dsn)
    yield made
    made.close()


def store(sink: DatabaseSink, bodies: list[tuple[int, dict]]) -> None:
    sink.acquire()
    records = [Record(offset, ingest_ms, raw(body)) for offset, (ingest_ms, body) in enumerate(bodies)]
    feed(sink, PartitionState(), records, range(0, len(records), 3), RULES)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports)
def test_of_reports_that_overlap_only_the_last_counts(sink, admin, made) -> None:
    admin.execute("TRUNCATE event, quality_report, source_progress, partition_snapshot")
    sink.empty()
    bodies = []
    for machine, sku, start, length, good, reported in made:
        begins = BASE_MS + start * QUARTER_MS
        body = quality(
            machine_id=machine,
            sku=sku,
            period_start=iso(begins),
            period_end=iso(begins + length * QUARTER_MS),
            good=good,
            planned_s=100,
            run_s=99 + good,
        )
        bodies.append((BASE_MS + 1000 * QUARTER_MS + reported, body))
    store(sink, bodies)

    found = admin.execute(
        "SELECT source_offset, counts, over_planned FROM dashboard.quality_report ORDER BY source_offset"
    ).fetchall()

    expected = []
    for offset, (machine, sku, start, length, good, reported) in enumerate(made):
        is_overlapped = any(
            (machine, sku) == (other[0], other[1])
            and other[2] < start + length
            and start < other[2] + other[3]
            and (other[5], at) > (reported, offset)
            for at, other in enumerate(made)
        )
        expected.append((offset, not is_overlapped, good > 1))
    assert found == expected


def test_a_report_has_every_column_as_it_was_sent(sink, admin) -> None:
    store(sink, [(NOW_MS, quality(good=170, snag=6, reject=4, planned_s=900, run_s=812.5, ideal_cycle_s=4))])

    row = admin.execute(
        "SELECT machine_id, factory_id, line_id, sku, period_start, period_end, good, snag, reject, planned_s, run_s,"
        " ideal_cycle_s, reported_at, counts, over_planned, cluster, topic, partition, source_offset, source_index"
        " FROM dashboard.quality_report"
    ).fetchone()

    end = dt.datetime(2026, 11, 21, 22, tzinfo=dt.UTC)
    reported = end
    assert row == (
        "press-00042", "aurora", "", "A-10001", end - dt.timedelta(minutes=15), end, 170, 6, 4, 900.0, 812.5, 4.0, reported,
        True, False, "local", "telemetry.machine", 0, 0, 0,
    )  # fmt: skip


def test_a_pump_has_its_readings_as_columns(sink, admin) -> None:
    earlier = pump(seq=2, time="2026-11-21T21:59:00Z", vibration=9.5)
    store(sink, [(NOW_MS, earlier), (NOW_MS, pump(vibration=...))])

    row = admin.execute(
        "SELECT machine_id, power, temperature, suction_pressure, discharge_pressure, vibration, messages"
        " FROM dashboard.pump_state"
    ).fetchone()

    assert row == ("pump-00007", 11.5, 41.0, 1.2, 3.9, 9.5, 2)
