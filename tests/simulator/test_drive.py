"""Driving a plant: pacing, stopping, telling progress, and a ledger that holds what the broker holds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import BrokerUnavailable
from simulator.drive import LONGEST_TICK_MS, SHORTEST_TICK_MS, SimulationResult, SystemClock, simulate
from simulator.ledger import Ledger, read
from simulator.options import Drive, PlantOptions
from simulator.plant import Plant
from tests.simulator.fakes import ListPublisher, ManualClock

REAL_TIME = PlantOptions(machines=10, messages=40, interval_ms=1_000, drive=Drive.REAL_TIME)
MISBEHAVED = replace(
    REAL_TIME, messages=400, late_share=0.1, late_max_ms=5_000, duplicate_share=0.1, garbage_share=0.05, array_share=0.1
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def run(
    options: PlantOptions, clock: ManualClock, tmp_path: Path, publisher: ListPublisher | None = None, **hooks: object
) -> tuple[SimulationResult, ListPublisher, Path]:
    publisher = publisher or ListPublisher(clock)
    path = tmp_path / "ledger.csv"
    with Ledger(path) as ledger:
        result = simulate(options, publisher, ledger, clock=clock, **hooks)
    return result, publisher, path


def test_a_backfill_sends_the_plant_as_it_is_and_never_sleeps(clock: ManualClock, tmp_path: Path) -> None:
    options = replace(MISBEHAVED, drive=Drive.BACKFILL)
    result, publisher, path = run(options, clock, tmp_path)

    assert publisher.records == list(Plant(options))
    assert clock.slept == []
    assert result.records == len(publisher.records)
    assert result.messages == len(list(read(path))) == sum(len(r.messages) for r in publisher.records)
    assert result.behind_ms == 0


def test_real_time_sends_nothing_before_it_is_due_and_little_after(clock: ManualClock, tmp_path: Path) -> None:
    begin_ms = clock.now_ms()
    result, publisher, _ = run(MISBEHAVED, clock, tmp_path)
    behind = [at - r.due_ms for at, r in zip(publisher.sent_at_ms, publisher.records, strict=True)]

    assert min(behind) >= 0
    assert max(behind) == result.behind_ms < SHORTEST_TICK_MS
    assert result.first_event_ms == begin_ms
    assert result.elapsed_ms == publisher.sent_at_ms[-1] - begin_ms
    assert set(clock.slept) <= set(range(SHORTEST_TICK_MS, LONGEST_TICK_MS + 1))


def test_a_rate_decides_how_long_real_time_takes(clock: ManualClock, tmp_path: Path) -> None:
    result, _, _ = run(replace(REAL_TIME, messages=1_000, rate=500.0), clock, tmp_path)

    assert result.elapsed_ms == pytest.approx(2_000, abs=LONGEST_TICK_MS)


def test_stop_is_asked_often_and_what_is_held_back_is_in_no_ledger(clock: ManualClock, tmp_path: Path) -> None:
    end_ms = clock.now_ms() + 1_500
    options = replace(REAL_TIME, machines=1, messages=0, interval_ms=60_000, late_share=1.0)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(clock.now_ms())
        return clock.now_ms() >= end_ms

    result, publisher, path = run(options, clock, tmp_path, stop=stop)

    assert end_ms <= clock.now_ms() <= end_ms + LONGEST_TICK_MS
    assert max(after - before for before, after in itertools.pairwise(asked)) <= LONGEST_TICK_MS
    assert result.records == len(publisher.records) == len(list(read(path)))


def test_a_backfill_without_end_stops_when_told(clock: ManualClock, tmp_path: Path) -> None:
    publisher = ListPublisher(clock)
    stop = lambda: len(publisher.records) >= 2_000  # noqa: E731
    options = PlantOptions(machines=10, messages=0)
    result, _, path = run(options, clock, tmp_path, publisher, stop=stop)

    assert 2_000 <= result.records < 3_000
    assert len(list(read(path))) == result.messages


def test_told_to_stop_before_it_begins_it_sends_nothing(clock: ManualClock, tmp_path: Path) -> None:
    result, publisher, _ = run(REAL_TIME, clock, tmp_path, stop=lambda: True)

    assert publisher.records == []
    assert (result.records, result.first_event_ms, result.last_event_ms) == (0, 0, 0)


def test_progress_grows_and_is_told_four_times_a_second_at_most(clock: ManualClock, tmp_path: Path) -> None:
    told: list[SimulationResult] = []
    at_ms: list[int] = []

    def on_progress(result: SimulationResult) -> None:
        told.append(result)
        at_ms.append(clock.now_ms())

    result, _, _ = run(REAL_TIME, clock, tmp_path, on_progress=on_progress)

    assert len(told) > 10
    assert min(after - before for before, after in itertools.pairwise(at_ms)) >= 250
    counts = [each.records for each in told]
    assert counts == sorted(counts)
    assert counts[-1] <= result.records == 40


def test_the_result_counts_kinds_and_the_odd_readings_of_sound_messages(clock: ManualClock, tmp_path: Path) -> None:
    result, publisher, path = run(replace(MISBEHAVED, drive=Drive.BACKFILL), clock, tmp_path)

    assert sum(result.kinds.values()) == result.records
    assert {"sent", "late", "duplicate", "garbage"} <= result.kinds.keys()
    odd = [row.anomalies.count("sensor") for row in read(path) if row.kind not in ("duplicate", "garbage")]
    assert result.anomalies == sum(odd) > 0
    assert result.body_bytes == sum(len(record.body) for record in publisher.records)


def test_when_the_broker_fails_the_ledger_holds_what_it_had_taken(clock: ManualClock, tmp_path: Path) -> None:
    publisher = ListPublisher(clock, refuse_from=777)

    with pytest.raises(BrokerUnavailable):
        run(PlantOptions(machines=10, messages=2_000), clock, tmp_path, publisher)

    assert len(list(read(tmp_path / "ledger.csv"))) == 777


def test_an_interrupted_run_waits_for_what_is_under_way(clock: ManualClock, tmp_path: Path) -> None:
    publisher = ListPublisher(clock)

    def stop() -> bool:
        if publisher.records:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run(PlantOptions(machines=10, messages=2_000), clock, tmp_path, publisher, stop=stop)

    assert len(list(read(tmp_path / "ledger.csv"))) == len(publisher.records) == 512


def test_the_system_clock_goes_forward() -> None:
    clock = SystemClock()
    before = clock.now_ms()
    clock.sleep_ms(2)

    assert clock.now_ms() - before >= 1
