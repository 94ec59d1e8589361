"""What compressors send: telemetry while they operate, a record after each life, and nothing that others would notice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import groupby, islice, pairwise

import hypothesis.strategies as st
import numpy as np
import orjson
import pytest
from hypothesis import given, settings

from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.records import Record
from pipeline.core.windowing.cycles import LONGEST_MS
from simulator.compressors import compressor_records, cycles
from simulator.lives import Life
from simulator.messages import Sent
from simulator.options import PlantOptions
from simulator.plant import Plant

FLEET = PlantOptions(seed=4, wear_machines=5, wear_pace=40.0, wear_planned_ms=700_000.0, wear_unplanned_ms=1_500_000.0)
GAP_MS = 30_000


def sent(options: PlantOptions = FLEET, count: int = 8_000) -> list[Sent]:
    return list(islice(compressor_records(options), count))


def of_machines(records: list[Sent]) -> dict[bytes, list[Sent]]:
    groups: dict[bytes, list[Sent]] = defaultdict(list)
    for record in records:
        groups[record.key].append(record)
    return groups


@pytest.fixture(scope="module")
def records() -> list[Sent]:
    return sent()


def test_the_same_options_give_the_same_bytes_and_another_seed_others(records: list[Sent]) -> None:
    assert sent() == records
    assert sent(replace(FLEET, seed=5)) != records


def test_records_leave_in_the_order_in_which_they_are_due(records: list[Sent]) -> None:
    dues = [record.due_ms for record in records]

    assert dues == sorted(dues)


def test_a_machine_sends_the_same_whatever_others_there_are() -> None:
    alone = sent(replace(FLEET, wear_machines=1), 900)
    among = [record for record in sent() if record.key == alone[0].key]

    assert among[:900] == alone[: len(among)]


@given(
    seed=st.integers(0, 9), wear_machines=st.integers(1, 3), pump_share=st.sampled_from([0.0, 0.5]),
    maintenance_interval_ms=st.sampled_from([0.0, 60_000.0]), late_share=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
@settings(max_examples=10)
def test_everything_else_is_sent_as_without_compressors(wear_machines: int, **options: object) -> None:
    plant = PlantOptions(machines=3, messages=120, interval_ms=15_000, **options)
    with_wear = list(Plant(replace(plant, wear_machines=wear_machines, wear_pace=10.0)))

    assert [record for record in with_wear if not record.key.startswith(b"compressor")] == list(Plant(plant))
    assert len({record.key for record in with_wear if record.key.startswith(b"compressor")}) > 0


def test_a_plant_sends_its_compressors_records_up_to_the_last_of_its_machines() -> None:
    records = list(Plant(replace(FLEET, machines=2, messages=20, interval_ms=60_000.0)))
    own = [record for record in records if record.key.startswith(b"compressor")]

    assert own == sent(count=len(own))
    assert own[-1].due_ms <= records[-1].due_ms < own[-1].due_ms + 120_000
    assert [record.due_ms for record in records] == sorted(record.due_ms for record in records)


def test_the_codec_accepts_everything_and_reads_what_was_meant(records: list[Sent]) -> None:
    batch = [Record(n, record.due_ms, record.body) for n, record in enumerate(records)]
    columns, letters = decode(batch, CodecRules(), {})
    telemetry = [record for record in records if not record.is_fact]

    assert letters == []
    assert columns.times_ms.tolist() == [record.messages[0].event_time_ms for record in telemetry]
    assert columns.machine_ids == [record.messages[0].machine_id for record in telemetry]
    assert set(columns.machine_types) == {"compressor"}
    assert set(columns.sensors) == {("speed", "temperature", "pressure", "vibration")}
    found = [(fact.machine_id, fact.kind, fact.component, fact.time_ms) for fact in columns.facts]
    lives = [ended for own in of_machines(records).values() for ended in ended_lives(own)]
    lives.sort(key=lambda life: life.repaired_ms)
    assert found == [(life.machine_id, life.kind, life.component, life.repaired_ms) for life in lives]
    assert {kind for _, kind, _, _ in found} == {"planned", "unplanned", "failure"}


def ended_lives(own: list[Sent]) -> list[Life]:
    """The lives of one machine after which a record was sent."""
    return [before.messages[0].life for before, record in pairwise(own) if record.is_fact]


def test_the_record_says_how_long_the_machine_stood_still(records: list[Sent]) -> None:
    for own in of_machines(records).values():
        for before, record in pairwise(own):
            if record.is_fact:
                said = orjson.loads(record.body)
                assert said["downtime_s"] == (record.due_ms - before.due_ms) // 1_000 >= 60


def test_sequence_numbers_count_on_through_repairs(records: list[Sent]) -> None:
    for own in of_machines(records).values():
        seqs = [record.messages[0].seq for record in own if not record.is_fact]
        assert seqs == list(range(len(seqs)))


def test_sessions_with_the_gap_of_operating_cycles_are_the_cycles_of_the_lives(records: list[Sent]) -> None:
    for own in of_machines(records).values():
        telemetry = [record.messages[0] for record in own if not record.is_fact]
        times = np.array([message.event_time_ms for message in telemetry])
        sessions = np.split(times, 1 + np.flatnonzero(np.diff(times) > GAP_MS))
        lives = [life for life, _ in groupby(message.life for message in telemetry)]
        told = [(start, length) for life in lives for start, length in zip(life.starts_ms, life.cycles_s, strict=True)]
        # The last one goes on
        assert [(each[0], len(each)) for each in sessions[:-1]] == told[: len(sessions) - 1]
        assert max(each[-1] - each[0] for each in sessions) < LONGEST_MS


def test_readings_are_those_of_the_cycles_with_few_digits() -> None:
    own = sent(replace(FLEET, wear_machines=1), 500)
    values = np.concatenate([cycle.values for cycle in islice(cycles(replace(FLEET, wear_machines=1), 0), 20)])
    shown = [list(orjson.loads(record.body)["readings"].values()) for record in own if not record.is_fact]

    assert np.array(shown) == pytest.approx(values[: len(shown)], abs=0.00501)


def test_devices_name_themselves_only_where_the_plant_says_so() -> None:
    (record,) = sent(replace(FLEET, device_headers=True), 1)

    assert record.headers == (("iothub-connection-device-id", record.key),)
    assert sent(count=1)[0].headers == ()
