"""What a plant sends beside its machines (R2, R3, R4): pumps, reports of the MES, maintenance records."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.columns import Columns
from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.facts import Fact, MaintenanceRecord, QualityReport
from pipeline.core.records import Record
from simulator import fact_ledger
from simulator.facts import COMPONENTS, KINDS
from simulator.ledger import Ledger, read
from simulator.messages import Sent
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.pumps import SENSORS, pump_count, pump_number

PLAIN = PlantOptions(machines=20, messages=4_000, factories=("a", "b", "c"), lab_share=0.2, late_share=0.05)
FULL = replace(PLAIN, pump_share=0.25, quality_interval_ms=100_000, maintenance_interval_ms=300_000)


def decoded(records: list[Sent]) -> Columns:
    made = [Record(n, each.due_ms, each.body, each.key, each.headers) for n, each in enumerate(records)]
    columns, letters = decode(made, CodecRules(), {})
    assert letters == []
    return columns


def facts_of(records: list[Sent]) -> list[Fact]:
    return decoded(records).facts


def test_machines_send_the_same_whatever_else_a_plant_has() -> None:
    assert [record for record in Plant(FULL) if record.type == "machine"] == list(Plant(PLAIN))


def test_the_same_options_give_the_same_bytes() -> None:
    assert list(Plant(FULL)) == list(Plant(FULL))


def test_everything_is_sent_in_the_order_in_which_it_is_due_and_ends_with_the_machines() -> None:
    records = list(Plant(replace(FULL, late_share=0.0)))

    dues = [record.due_ms for record in records]
    assert dues == sorted(dues)
    assert {record.type for record in records} == {"machine", "pump", "quality", "maintenance"}
    assert records[-1].type == "machine"


def test_pumps_send_at_their_interval_in_both_forms_and_every_message_is_accepted() -> None:
    plant = Plant(FULL)
    sent = [record for record in plant if record.type == "pump"]

    columns = decoded(sent)

    assert set(columns.sensors) == {SENSORS}
    assert set(columns.machine_types) == {"hvac_pump"}
    assert {b"pump_id" in record.body for record in sent} == {True, False}
    assert [m.readings for record in sent for m in record.messages][:1] != ["{}"]
    for pump in plant.pumps:
        own = [n for n, each in enumerate(columns.machine_ids) if each == pump.pump_id]
        assert columns.seqs[own].tolist() == list(range(len(own)))
        assert {columns.factory_ids[n] for n in own} == {pump.factory_id}
        assert {later - earlier for earlier, later in itertools.pairwise(columns.times_ms[own].tolist())} == {5000}


@pytest.mark.parametrize("machines", [1, 2, 7, 20, 101])
@pytest.mark.parametrize("share", [0.01, 0.25, 1.0])
def test_every_machine_has_a_pump_of_its_own_factory(machines: int, share: float) -> None:
    options = replace(PLAIN, machines=machines, pump_share=share, lab_share=0.0)
    plant = Plant(options)

    assert len(plant.pumps) == pump_count(options)
    kept = [(machine, pump) for pump in plant.pumps for machine in pump.machines]
    assert sorted(machine for machine, _ in kept) == list(range(machines))
    for machine, pump in kept:
        assert plant.machines[machine].factory_id == pump.factory_id
        assert plant.pumps[pump_number(machine, options)] is pump


def test_every_machine_is_reported_once_an_interval_and_its_periods_follow_one_another() -> None:
    reports = [fact for fact in facts_of(list(Plant(FULL))) if isinstance(fact, QualityReport)]

    assert len(reports) >= 20 * 9
    for machine in {report.machine_id for report in reports}:
        own = [report for report in reports if report.machine_id == machine]
        assert all(report.time_ms - report.start_ms == 100_000 for report in own)
        assert all(report.start_ms == before.time_ms for before, report in itertools.pairwise(own))
    for report in reports:
        pieces = report.good + report.snag + report.reject
        assert 0 < pieces * report.ideal_cycle_s <= report.run_s
    assert any(report.run_s > report.planned_s for report in reports)


def test_a_large_plant_makes_more_than_nine_thousand_skus() -> None:
    options = PlantOptions(machines=10_000, messages=20_000, quality_interval_ms=10_000)

    reports = facts_of([record for record in Plant(options) if record.type == "quality"])

    assert len({report.sku for report in reports if isinstance(report, QualityReport)}) > 9_000


def test_no_report_tells_of_a_time_before_1970() -> None:
    options = PlantOptions(machines=4, messages=100, start_ms=0, quality_interval_ms=60_000)

    reports = facts_of([record for record in Plant(options) if record.type == "quality"])

    assert min(report.start_ms for report in reports if isinstance(report, QualityReport)) >= 0


def test_maintenance_is_of_every_kind_and_of_the_machine_s_own_components() -> None:
    options = replace(PLAIN, messages=20_000, maintenance_interval_ms=100_000, lab_share=0.0)
    plant = Plant(options)

    records = [
        fact for fact in facts_of([x for x in plant if x.type == "maintenance"]) if isinstance(fact, MaintenanceRecord)
    ]

    assert {record.kind for record in records} == set(KINDS)
    types = {machine.machine_id: machine.machine_type for machine in plant.machines}
    assert all(record.component in COMPONENTS[types[record.machine_id]] for record in records)
    assert 700 < len(records) < 1300  # 1000 are to be expected


def test_the_ledgers_know_every_fact_with_its_whole_message(tmp_path: Path) -> None:
    records = list(Plant(FULL))
    with Ledger(tmp_path / "l.csv") as ledger:
        for offset, record in enumerate(records):
            ledger.append(record, 0, f"topic.{record.type}", 1, offset)

    rows = list(read(tmp_path / "l.csv"))
    told = list(fact_ledger.read(fact_ledger.beside(tmp_path / "l.csv")))

    assert sum(row.readings == "{}" for row in rows) == len(told) > 0
    assert [(row.topic, row.partition, row.offset, row.index, row.type, row.body.encode()) for row in told] == [
        (f"topic.{record.type}", 1, offset, 0, record.type, record.body)
        for offset, record in enumerate(records)
        if record.is_fact
    ]
    by_place = {(row.topic, row.offset): row for row in rows}
    for row in told:
        found = by_place[row.topic, row.offset]
        assert (found.machine_id, found.factory_id, found.event_time_ms, found.seq) == (
            row.machine_id,
            row.factory_id,
            row.event_time_ms,
            None,
        )


def test_a_plant_without_facts_has_no_ledger_of_them(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.csv") as ledger:
        for offset, record in enumerate(Plant(replace(PLAIN, messages=10))):
            ledger.append(record, 0, "t", 0, offset)

    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]
    assert list(fact_ledger.read(fact_ledger.beside(tmp_path / "l.csv"))) == []


def test_a_ledger_of_facts_goes_on_where_it_ended(tmp_path: Path) -> None:
    facts = [record for record in Plant(FULL) if record.is_fact][:3]
    for offset, record in enumerate(facts):
        with Ledger(tmp_path / "l.csv") as ledger:
            ledger.append(record, 0, "t", 0, offset)

    assert [row.offset for row in fact_ledger.read(fact_ledger.beside(tmp_path / "l.csv"))] == [0, 1, 2]


def test_devices_are_named_in_the_headers_of_facts_too() -> None:
    options = replace(FULL, device_headers=True)

    assert all(record.headers == (("iothub-connection-device-id", record.key),) for record in Plant(options))
