"""A plant that cannot be is refused, and the error names the key."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from simulator.options import PlantOptions


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("seed", {"seed": -1}),
        ("machines", {"machines": 0}),
        ("machines", {"machines": 100_001}),
        ("factories", {"factories": ()}),
        ("factories", {"factories": ("aurora", 'a"b')}),
        ("factories", {"factories": ("a,b",)}),
        ("interval_ms", {"interval_ms": 0}),
        ("interval_ms", {"interval_ms": float("inf")}),
        ("rate", {"rate": -1.0}),
        ("rate", {"rate": float("nan")}),
        ("messages", {"messages": -1}),
        ("start_ms", {"start_ms": -1}),
        ("late_max_ms", {"late_max_ms": 0}),
        ("offline_ms", {"offline_ms": 0}),
        ("array_length", {"array_length": 1}),
        ("duplicate_share", {"duplicate_share": 1.1}),
        ("late_share", {"late_share": -0.1}),
        ("lab_share", {"lab_share": float("nan")}),
        ("spike_share", {"spike_share": 0.6, "dip_share": 0.6}),
        ("pump_share", {"pump_share": 1.5}),
        ("quality_interval_ms", {"quality_interval_ms": 0.5}),
        ("quality_interval_ms", {"quality_interval_ms": float("inf")}),
        ("maintenance_interval_ms", {"maintenance_interval_ms": -1}),
        ("skus", {"skus": 0}),
        ("skus", {"skus": 100_000}),
        ("sensor_correlation", {"sensor_correlation": 1.0}),
        ("fault_rate", {"fault_rate": -1.0}),
        ("fault_rate", {"fault_rate": float("inf")}),
        ("fault_kinds", {"fault_kinds": ()}),
        ("fault_kinds", {"fault_kinds": ("step", "rust")}),
        ("fault_ms", {"fault_ms": 0}),
        ("fault_size", {"fault_size": 0.0}),
        ("fault_drift", {"fault_drift": float("nan")}),
        ("wear_machines", {"wear_machines": -1}),
        ("wear_machines", {"wear_machines": 100_001}),
        ("wear_pace", {"wear_pace": 0.0}),
        ("wear_pace", {"wear_pace": float("inf")}),
        ("wear_age_share", {"wear_age_share": 1.1}),
        ("wear_planned_ms", {"wear_planned_ms": 0.5}),
        ("wear_unplanned_ms", {"wear_unplanned_ms": float("nan")}),
        ("garbage_share", {"garbage_share": 0.5, "late_share": 0.4, "out_of_order_share": 0.2}),
    ],
)
def test_the_error_names_the_key_that_is_wrong(key: str, wrong: dict) -> None:
    with pytest.raises(SettingsError, match=rf"^{key} is .*; it must be "):
        PlantOptions(**wrong)


def test_the_defaults_are_a_plant_of_fifty_thousand_sensors_with_six_per_cent_odd_readings() -> None:
    options = PlantOptions()

    assert options.machines * 5 == 50_000
    assert options.spike_share + options.dip_share == pytest.approx(0.06)


@pytest.mark.parametrize("key", [field.name for field in fields(PlantOptions)])
def test_every_key_is_documented(key: str) -> None:
    assert f"\n| `{key}` |" in (Path(__file__).parents[2] / "docs/simulator.md").read_text()
