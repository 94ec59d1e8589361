"""R46, R19: the plant from factory to sensor, how lines and factories are doing, and machines beside their pumps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pipeline.store.connect import Connection, connect
from tests.store.quality import entity, one, rows

PUMP = {"power": 4.1, "temperature": 41.5, "suction_pressure": 90.0, "discharge_pressure": 310.0, "vibration": 0.7}


@pytest.fixture
def plant(database) -> Iterator[Connection]:
    """The owner's connection to a database without machines."""
    with connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


def seen(
    connection: Connection, machine: str, factory: str = "f", ago_s: float = 5, kind: str = "", **readings: float
) -> None:
    """Store a machine's state, last seen some seconds ago."""
    connection.execute(
        "INSERT INTO machine_state (machine_id, factory_id, machine_type, readings, last_seen, last_offset, source_id,"
        " messages, duplicates, late, unverified) VALUES (%s, %s, %s, %s, now() - %s * interval '1 s', 0, 0, 1, 0, 0, 0)",
        [machine, factory, kind, json.dumps(readings or {"temperature": 55.0}), ago_s],
    )


def anomaly(connection: Connection, machine: str, ago_min: float, offset: int = 0) -> None:
    """Store an anomaly of some minutes ago."""
    connection.execute(
        "INSERT INTO anomaly (machine_id, cluster, source_topic, source_partition, source_offset, source_index, sensor, kind,"
        " factory_id, event_time, value, expected, score, detector, detector_version, worker, event_id, message_id) VALUES"
        " (%s, 'c', 't', 0, %s, 0, 'temperature', 'spike', 'f', now() - %s * interval '1 min', 1, 0, 9, 'd', 1, 'w',"
        " gen_random_uuid(), gen_random_uuid())",
        [machine, offset, ago_min],
    )


def test_the_hierarchy_goes_from_the_factory_to_the_sensor_with_whatever_is_known(plant: Connection) -> None:
    entity(plant, "factory", "f", name="Aurora", time_zone="Europe/Berlin")
    entity(plant, "factory", "empty", name="Boreal")
    entity(plant, "line", "l", factory_id="f", name="Pressing")
    entity(plant, "line", "bare", factory_id="f", name="Bare")
    entity(plant, "line", "gone", factory_id="f", name="Gone", removed=True)
    entity(plant, "machine", "m", factory_id="f", line_id="l", machine_type="cnc")
    entity(plant, "machine", "new", factory_id="f", line_id="l")
    seen(plant, "m", temperature=55.0, pressure=7539.0)
    seen(plant, "stranger", "g", kind="press")

    names = "factory_name, line_name, machine_id, machine_type, registered, condition, sensor, last_value"
    found = rows(
        plant, f"SELECT factory_id, line_id, {names} FROM dashboard.hierarchy ORDER BY 1, 2, machine_id, sensor"
    )

    assert [tuple(row.values()) for row in found] == [
        ("empty", None, "Boreal", None, None, None, None, None, None, None),
        ("f", "bare", "Aurora", "Bare", None, None, None, None, None, None),
        ("f", "l", "Aurora", "Pressing", "m", "cnc", True, "normal", "pressure", 7539.0),
        ("f", "l", "Aurora", "Pressing", "m", "cnc", True, "normal", "temperature", 55.0),
        ("f", "l", "Aurora", "Pressing", "new", "", True, "unseen", None, None),
        ("g", "", None, None, "stranger", "press", False, "normal", "temperature", 55.0),
    ]


def test_a_machine_is_disabled_unseen_silent_warning_or_normal(plant: Connection) -> None:
    entity(plant, "machine", "unseen", factory_id="f")
    entity(plant, "machine", "disabled", factory_id="f", status="disabled")
    seen(plant, "disabled")
    seen(plant, "silent", ago_s=61)
    seen(plant, "warning")
    seen(plant, "normal")
    anomaly(plant, "warning", 59)
    anomaly(plant, "normal", 61)

    found = rows(plant, "SELECT DISTINCT machine_id, condition FROM dashboard.hierarchy")

    assert len(found) == 5
    assert [row for row in found if row["machine_id"] != row["condition"]] == []


def test_lines_and_factories_count_their_machines_and_tell_how_they_are_doing(plant: Connection) -> None:
    entity(plant, "factory", "f", name="Aurora", time_zone="Europe/Berlin")
    entity(plant, "line", "l", factory_id="f", name="Pressing")
    entity(plant, "line", "k", factory_id="f", name="Turning")
    for machine in ("a", "b", "c", "new"):
        entity(plant, "machine", machine, factory_id="f", line_id="l")
    entity(plant, "machine", "d", factory_id="f", line_id="k")
    seen(plant, "a")
    seen(plant, "b", ago_s=600)
    seen(plant, "c", ago_s=20)
    seen(plant, "d", ago_s=300)
    seen(plant, "stray", ago_s=900)
    anomaly(plant, "a", 10)
    anomaly(plant, "a", 20, 1)
    anomaly(plant, "d", 30)

    pressing, turning, none = (
        one(plant, "SELECT * FROM dashboard.line_state WHERE line_id = %s", line) for line in ("l", "k", "")
    )
    factory = one(plant, "SELECT * FROM dashboard.factory_state")

    assert (pressing["name"], pressing["condition"], pressing["machines"], pressing["machines_seen"]) == (
        "Pressing",
        "warning",
        4,
        3,
    )
    assert [pressing[f"machines_{each}"] for each in ("normal", "warning", "silent", "disabled")] == [1, 1, 1, 0]
    assert pressing["anomalies_last_hour"] == 2
    assert (turning["condition"], turning["anomalies_last_hour"]) == ("silent", 1)
    assert (none["factory_id"], none["name"], none["machines"]) == ("f", None, 1)
    assert (factory["name"], factory["time_zone"], factory["condition"]) == ("Aurora", "Europe/Berlin", "warning")
    assert [factory[f"machines{each}"] for each in ("", "_seen", "_normal", "_warning", "_silent")] == [6, 5, 1, 1, 3]
    assert factory["last_seen"] == pressing["last_seen"]
    assert factory["anomalies_last_hour"] == 3


@pytest.mark.parametrize(
    ("machines", "condition"),
    [
        ({}, "unseen"),
        ({"a": None}, "unseen"),
        ({"a": 5, "b": None}, "normal"),
        ({"a": 5, "b": 600}, "warning"),
        ({"a": 600, "b": 600}, "silent"),
    ],
)
def test_a_line_is_as_its_machines_are(plant: Connection, machines: dict[str, float | None], condition: str) -> None:
    entity(plant, "line", "l", factory_id="f")
    for machine, ago_s in machines.items():
        entity(plant, "machine", machine, factory_id="f", line_id="l")
        if ago_s is not None:
            seen(plant, machine, ago_s=ago_s)

    for view in ("line_state", "factory_state"):
        assert one(plant, f"SELECT * FROM dashboard.{view}")["condition"] == condition


def test_a_line_of_disabled_machines_is_disabled(plant: Connection) -> None:
    entity(plant, "machine", "a", factory_id="f", line_id="l", status="disabled")
    seen(plant, "a", ago_s=600)

    assert one(plant, "SELECT condition FROM dashboard.line_state")["condition"] == "disabled"


def test_a_machines_temperature_stands_beside_its_pumps_state(plant: Connection) -> None:
    for machine, pump in (("m", "p"), ("n", "p"), ("o", "missing"), ("without", None)):
        entity(plant, "machine", machine, factory_id="f", line_id="l", pump_id=pump)
        seen(plant, machine, temperature=71.25, pressure=1.0)
    entity(plant, "machine", "p", factory_id="f", machine_type="hvac_pump")
    seen(plant, "p", kind="hvac_pump", **PUMP)
    anomaly(plant, "p", 2)

    found = {row["machine_id"]: row for row in rows(plant, "SELECT * FROM dashboard.machine_pump")}

    assert set(found) == {"m", "n", "o"}
    for machine in ("m", "n"):
        row = found[machine]
        assert (row["temperature"], row["condition"], row["line_id"]) == (71.25, "normal", "l")
        assert (row["pump_id"], row["pump_condition"], row["pump_anomalies_last_hour"]) == ("p", "warning", 1)
        assert {name: row[f"pump_{name}"] for name in PUMP} == PUMP
    assert (found["o"]["pump_condition"], found["o"]["pump_last_seen"], found["o"]["pump_temperature"]) == (
        "unseen",
        None,
        None,
    )


def test_an_anomaly_stands_beside_what_its_machines_pump_had_in_the_ten_minutes_before(plant: Connection) -> None:
    entity(plant, "machine", "m", factory_id="f", pump_id="p")
    entity(plant, "machine", "n", factory_id="f", pump_id="q")
    entity(plant, "machine", "without", factory_id="f")
    for machine in ("m", "n", "without"):
        anomaly(plant, machine, 30)
    for offset, ago_min in enumerate((29, 31, 36, 41)):
        anomaly(plant, "p", ago_min, offset)

    found = rows(
        plant, "SELECT *, event_time - pump_anomaly_time AS before FROM dashboard.anomaly_pump ORDER BY machine_id"
    )

    assert [(row["machine_id"], row["pump_id"], row["pump_anomalies"], row["pump_sensors"]) for row in found] == [
        ("m", "p", 2, ["temperature"]),
        ("n", "q", 0, None),
    ]
    assert found[0]["before"].total_seconds() == pytest.approx(60, abs=5)


def test_an_anomaly_stands_beside_machine_line_and_pump_with_whatever_is_known(plant: Connection) -> None:
    entity(plant, "line", "l", factory_id="f", name="Pressing")
    entity(plant, "machine", "m", factory_id="f", line_id="l", machine_type="cnc", pump_id="p")
    seen(plant, "m", kind="press", temperature=71.25)
    seen(plant, "stranger", kind="press", temperature=55.0)
    seen(plant, "p", kind="hvac_pump", **PUMP)
    anomaly(plant, "m", 30)
    anomaly(plant, "stranger", 20)
    anomaly(plant, "p", 31)

    found = {row["machine_id"]: row for row in rows(plant, "SELECT * FROM dashboard.anomaly_context")}

    known, stranger = found["m"], found["stranger"]
    assert (known["machine_type"], known["line_id"], known["line_name"]) == ("cnc", "l", "Pressing")
    assert (known["readings"], known["pump_id"], known["pump_readings"]) == ({"temperature": 71.25}, "p", PUMP)
    assert (known["pump_anomalies"], known["pump_kinds"]) == (1, ["spike"])
    assert (known["kind"], known["observed"], known["expected"], known["score"]) == ("spike", 1, 0, 9)
    assert (stranger["machine_type"], stranger["line_id"], stranger["line_name"]) == ("press", "", None)
    assert (stranger["pump_id"], stranger["pump_anomalies"]) == (None, None)
