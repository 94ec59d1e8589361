"""What the sensors of the lab preset show, and the truth about it."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from simulator.instruments import Instruments, Measured
from simulator.messages import SENSORS
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.sensors import DIP_FACTOR, LAB, SPIKE_FACTOR, named

COUNT = 40_000


def measured(seed: int, **options: float) -> Measured:
    random, common = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    instruments = Instruments(PlantOptions(**options), LAB, random, common, None)
    return instruments.measure(np.zeros(COUNT, np.int64), np.arange(COUNT))


def test_the_lab_preset_has_its_means_and_deviations() -> None:
    values, marks, _ = measured(5, spike_share=0.0, dip_share=0.0)

    assert not marks.any()
    assert dict(zip(SENSORS, LAB.means.tolist(), strict=True)) == {
        "temperature": 55.0,
        "pressure": 7539.0,
        "electricity": 29.36,
        "ambient_temperature": 22.6,
        "humidity": 20.0,
    }
    assert LAB.deviations.tolist() == [2.4, 14.0, 1.1, 1.1, 3.5]
    assert values.mean(axis=0) == pytest.approx(LAB.means, abs=0.1)
    assert values.std(axis=0) == pytest.approx(LAB.deviations, rel=0.02)


def test_three_per_cent_of_the_readings_are_spiked_and_three_dipped_and_the_truth_says_which() -> None:
    values, marks, _ = measured(6, spike_share=0.03, dip_share=0.03)
    clean = measured(6, spike_share=0.0, dip_share=0.0).values
    factors = np.where(marks > 0, SPIKE_FACTOR, np.where(marks < 0, DIP_FACTOR, 1.0))

    assert (marks > 0).mean() == pytest.approx(0.03, rel=0.05)
    assert (marks < 0).mean() == pytest.approx(0.03, rel=0.05)
    assert values == pytest.approx(clean * factors)
    assert sum(map(len, named(marks))) == np.count_nonzero(marks)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test_sensors_are_as_correlated_as_they_are_told_to_be_and_keep_their_deviations(correlation: float) -> None:
    values = measured(7, spike_share=0.0, dip_share=0.0, sensor_correlation=correlation).values
    pairs = np.corrcoef(values.T)[np.triu_indices(5, 1)]

    assert pairs == pytest.approx(np.full(10, correlation), abs=0.03)
    assert values.std(axis=0) == pytest.approx(LAB.deviations, rel=0.02)


def test_a_plant_sends_the_lab_preset() -> None:
    messages = [m for record in Plant(PlantOptions(machines=50, messages=8_000)) for m in record.messages]
    odd = [anomaly for message in messages for anomaly in message.anomalies]
    normal = [orjson.loads(m.readings)["temperature"] for m in messages if not m.anomalies]

    assert len(odd) / (5 * len(messages)) == pytest.approx(0.06, rel=0.1)
    assert np.mean(normal) == pytest.approx(55.0, abs=0.15)
    assert np.std(normal) == pytest.approx(2.4, rel=0.05)
