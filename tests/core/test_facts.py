"""What the codec accepts beside machines' telemetry (R2, R3, R4): pumps, reports of the MES, maintenance records."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.decoding.messages import PUMP_SENSORS
from pipeline.core.facts import (
    INGESTED,
    MAINTENANCE_PERFORMED,
    QUALITY_REPORTED,
    MaintenanceRecord,
    QualityReport,
)
from pipeline.core.records import Record, StoredEvents
from tests.core.raw_messages import LAB, NOW_MS, RULES, canonical, maintenance, pump, quality, raw, read, refused

TIME_KEYS = ("period_start", "period_end")
COUNTS = ("good", "snag", "reject")
SECONDS = ("planned_s", "run_s", "ideal_cycle_s")


def test_a_report_of_the_mes_is_a_fact_of_the_end_of_its_period() -> None:
    body = raw(quality())

    columns, letters = read(body)

    assert letters == []
    assert columns.bodies == []
    assert columns.facts == [
        QualityReport(
            offset=10, index=0, machine_id="press-00042", factory_id="aurora", time_ms=NOW_MS, ingest_ms=NOW_MS, body=body,
            sku="A-10001", start_ms=NOW_MS - 900_000, good=170, snag=6, reject=4, planned_s=900.0, run_s=812.5,
            ideal_cycle_s=4.0,
        )
    ]  # fmt: skip


def test_a_maintenance_record_is_a_fact() -> None:
    body = raw(maintenance())

    columns, letters = read(body)

    assert letters == []
    assert columns.facts == [
        MaintenanceRecord(
            offset=10, index=0, machine_id="press-00042", factory_id="aurora", time_ms=NOW_MS - 110 * 60_000,
            ingest_ms=NOW_MS, body=body, kind="planned", component="spindle", note="grease",
        )
    ]  # fmt: skip


def test_the_example_in_the_docs_sends_a_maintenance_record_to_the_demos_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str, str]] = []

    class Producer:
        def __init__(self, settings: dict[str, str]) -> None:
            assert settings == {"bootstrap.servers": "broker:9092"}

        def produce(self, topic: str, value: str, key: str) -> None:
            sent.append((topic, value, key))

        def flush(self) -> None:
            assert sent

    monkeypatch.setattr("confluent_kafka.Producer", Producer)
    monkeypatch.setenv("PIPELINE_BROKER__ADDRESS", "broker:9092")
    monkeypatch.setenv("PIPELINE_BROKER__TOPIC_PREFIX", "demo-1.")
    lines = (Path(__file__).parents[2] / "docs/data-contract.md").read_text().partition("    import datetime")[2]

    exec("import datetime" + lines.partition("\n\n")[0].replace("\n    ", "\n"), {})

    (topic, value, key) = sent[0]
    columns, letters = decode([Record(0, int(time.time() * 1000), value.encode())], CodecRules(), {})
    assert (topic, len(sent), letters) == ("demo-1.telemetry.machine", 1, [])
    assert [(type(each), each.machine_id) for each in columns.facts] == [(MaintenanceRecord, key)]


def test_event_types_of_what_comes_in_are_said_once() -> None:
    commands = {"Metadata changed", "Metadata unchanged"}
    assert {"Telemetry Ingest", QualityReport.event_type, MaintenanceRecord.event_type} | commands == set(INGESTED)


@pytest.mark.parametrize(
    "message",
    [
        quality(good=0, snag=0, reject=0, planned_s=0, run_s=0, ideal_cycle_s=0),
        quality(run_s=1000.0, planned_s=900),
        quality(good=10**12, planned_s=1e12, run_s=1e-9),
        quality(line="L7", nested={"x": [1]}),
        quality(sku=128 * "x"),
        quality(sku='a"b\\c'),
        maintenance(note=...),
        maintenance(note=""),
        maintenance(kind="failure"),
        maintenance(kind="unplanned", component="süd"),
        maintenance(**{"class": 0}),
        maintenance(**{"class": 5}),
    ],
)
def test_what_else_is_accepted_as_a_fact(message: dict[str, Any]) -> None:
    columns, letters = read(message)

    assert (letters, len(columns.facts), columns.facts[0].body) == ([], 1, raw(message))


@pytest.mark.parametrize(
    ("reason", "word", "message"),
    [
        *[
            ("wrong_shape", key, quality(**{key: value}))
            for key in ("factory_id", "machine_id", "sku", *TIME_KEYS)
            for value in (..., "", 5, None, True, ["x"])
        ],
        *[
            ("wrong_shape", key, quality(**{key: value}))
            for key in COUNTS
            for value in (..., -1, 1.5, 3.0, "5", None, True, [], -(10**30))
        ],
        *[("value_out_of_range", key, quality(**{key: 10**12 + 1})) for key in COUNTS],
        *[
            ("wrong_shape", key, quality(**{key: value}))
            for key in SECONDS
            for value in (..., -1, -0.5, "900", None, False, {})
        ],
        *[("value_out_of_range", key, quality(**{key: value})) for key in SECONDS for value in (2e12, 1e-10, 5e-324)],
        *[("time_without_zone", f"{key} is", quality(**{key: "2026-11-21T21:50:00"})) for key in TIME_KEYS],
        *[("wrong_shape", f"{key} is 'x'", quality(**{key: "x"})) for key in TIME_KEYS],
        ("time_out_of_range", "period_start", quality(period_start="1969-12-31T23:59:59Z")),
        ("time_in_future", "period_end", quality(period_end="2026-11-21T23:00:01Z")),
        ("wrong_shape", "period_end is '2026-11-21T21:45:00Z', not after", quality(period_end="2026-11-21T21:45:00Z")),
        ("wrong_shape", "not after period_start", quality(period_start="2026-11-21T22:00:00Z")),
        *[
            ("identifier_too_long", f"{key} has 129", quality(**{key: 129 * "x"}))
            for key in ("factory_id", "machine_id", "sku")
        ],
        ("nul_character", "u0000", quality(sku="a\0")),
        ("value_out_of_range", "1e400", raw(quality(run_s="~")).replace(b'"~"', b"1e400")),
        *[
            ("wrong_shape", key, maintenance(**{key: value}))
            for key in ("factory_id", "machine_id", "kind", "component", "time")
            for value in (..., "", 5, None, ["x"])
        ],
        ("wrong_shape", "planned, unplanned or failure", maintenance(kind="Planned")),
        *[("wrong_shape", "note", maintenance(note=value)) for value in (5, None, [])],
        *[("wrong_shape", "class is", maintenance(**{"class": value})) for value in (-1, 6, 2.0, "3", None, True, [])],
        ("identifier_too_long", "component has 129", maintenance(component=129 * "x")),
        ("time_in_future", "time is", maintenance(time="2026-11-22T22:00:00Z")),
        *[
            ("wrong_shape", key, pump(**{key: value}))
            for key in ("factory_id", "pump_id", "time")
            for value in (..., "", 5)
        ],
        *[("wrong_shape", key, pump(**{key: value})) for key in PUMP_SENSORS for value in ("1", None, True)],
        ("value_out_of_range", "vibration", pump(vibration=1e141)),
        ("wrong_shape", "none of power, temperature", pump(**dict.fromkeys(PUMP_SENSORS, ...))),
        ("wrong_shape", "seq", pump(seq=-1)),
        ("wrong_shape", "machine_type", pump(machine_type="")),
        ("identifier_too_long", "pump_id has 129", pump(pump_id=129 * "x")),
        ("time_without_zone", "time", pump(time="2026-11-21T22:00:00")),
        ("wrong_shape", "pump_id is missing", LAB | {"type": "pump", "factory_id": "aurora"}),
        ("wrong_shape", "readings", pump(type="machine")),
        ("unknown_type", "this version reads machine, pump, quality, maintenance", quality(type="oee")),
    ],
)
def test_facts_and_pumps_that_are_refused(reason: str, word: str, message: object) -> None:
    letter = refused(message)

    assert letter.reason == reason
    assert word in letter.detail


@pytest.mark.parametrize(
    "message",
    [
        pump(),
        pump(extra=1),
        canonical(
            type="pump", machine_id="pump-00007", machine_type=..., seq=3,
            readings={key: value for key, value in pump().items() if key in PUMP_SENSORS},
        ),
    ],
)  # fmt: skip
def test_a_pump_is_a_machine_of_its_own_type_in_either_form(message: dict[str, Any]) -> None:
    columns, letters = read(message)

    assert (letters, columns.facts) == ([], [])
    assert columns.shapes == [("pump-00007", "aurora", "hvac_pump", PUMP_SENSORS)]
    assert columns.values.tolist() == [11.5, 41, 1.2, 3.9, 0.8]
    assert (columns.seqs.tolist(), columns.times_ms.tolist()) == ([3], [NOW_MS + 123])


def test_a_pump_may_leave_readings_out_and_name_its_own_type() -> None:
    columns, letters = read(pump(power=..., vibration=..., seq=..., machine_type="coolant_pump"))

    assert letters == []
    assert columns.machine_types == ["coolant_pump"]
    assert columns.sensors == [("temperature", "suction_pressure", "discharge_pressure")]
    assert columns.seqs.tolist() == [-1]


@pytest.mark.parametrize("message", [quality, maintenance, pump])
def test_headers_say_the_type_where_the_body_does_not(message: Any) -> None:
    said = message()["type"]

    whole, _ = read(message())
    columns, letters = read(message(type=...), headers=[("type", said.encode())])

    assert letters == []
    assert [fact.event_type for fact in columns.facts] == [fact.event_type for fact in whole.facts]
    assert columns.shapes == whole.shapes


def test_the_body_is_believed_before_the_headers() -> None:
    columns, letters = read(maintenance(), headers=[("type", b"quality")])

    assert (letters, len(columns.facts)) == ([], 1)


def test_a_fact_is_checked_against_the_device_that_sent_it() -> None:
    device = [("iothub-connection-device-id", b"mes-1")]

    letter = refused(quality(), headers=device)
    columns, letters = read(quality(), headers=device, rules=CodecRules(gateways=frozenset({"mes-1"})))

    assert letter.reason == "device_mismatch"
    assert (letters, len(columns.facts)) == ([], 1)


def test_an_array_may_mix_everything_and_each_keeps_its_place() -> None:
    body = raw([quality(), canonical(), maintenance(), quality(good=-1), pump()])

    columns, letters = read(body)

    assert [(fact.index, fact.event_type) for fact in columns.facts] == [
        (0, QUALITY_REPORTED),
        (2, MAINTENANCE_PERFORMED),
    ]
    assert columns.indexes.tolist() == [1, 4]
    assert [(letter.index, letter.detail) for letter in letters] == [
        (3, "good is -1; send a whole number from 0 to 1000000000000")
    ]


@pytest.mark.parametrize("message", [quality, maintenance, pump])
def test_what_is_stored_is_read_again_without_its_headers(message: Any) -> None:
    """The type that only the headers had said is not in the stored body; what it was stored as tells."""
    body = raw(message(type=...))
    live, _ = decode([Record(4, NOW_MS, body, headers=[("type", message()["type"].encode())])], RULES, {})
    event_type = live.facts[0].event_type if live.facts else INGESTED[0]

    again, letters = decode(StoredEvents.of([(4, 0, NOW_MS, body, event_type)]), RULES, {})

    assert letters == []
    assert (again.facts, again.shapes, again.values.tolist()) == (live.facts, live.shapes, live.values.tolist())


def test_a_canonical_pump_is_read_again_without_its_headers() -> None:
    body = raw(canonical(type=..., machine_type=...))
    live, _ = decode([Record(4, NOW_MS, body, headers=[("type", b"pump")])], RULES, {})

    again, letters = decode(StoredEvents.of([(4, 0, NOW_MS, body)]), RULES, {})

    assert (letters, again.shapes) == ([], live.shapes)
    assert again.machine_types == ["hvac_pump"]
