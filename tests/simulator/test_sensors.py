"""What the sensors of the lab preset show, and the truth about it."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from simulator.messages import SENSORS
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.sensors import DEVIATIONS, DIP_FACTOR, MEANS, SPIKE_FACTOR, draw, named


def test_the_lab_preset_has_its_means_and_deviations() -> None:
    values, marks = draw(np.random.default_rng(5), 40_000, 0.0, 0.0)

    assert not marks.any()
    assert dict(zip(SENSORS, MEANS.tolist(), strict=True)) == {
        "temperature": 55.0,
        "pressure": 7539.0,
        "electricity": 29.36,
        "ambient_temperature": 22.6,
        "humidity": 20.0,
    }
    assert DEVIATIONS.tolist() == [2.4, 14.0, 1.1, 1.1, 3.5]
    assert values.mean(axis=0) == pytest.approx(MEANS, abs=0.1)
    assert values.std(axis=0) == pytest.approx(DEVIATIONS, rel=0.02)


def test_three_per_cent_of_the_readings_are_spiked_and_three_dipped_and_the_truth_says_which() -> None:
    values, marks = draw(np.random.default_rng(6), 40_000, 0.03, 0.03)
    clean, _ = draw(np.random.default_rng(6), 40_000, 0.0, 0.0)
    factors = np.where(marks > 0, SPIKE_FACTOR, np.where(marks < 0, DIP_FACTOR, 1.0))

    assert (marks > 0).mean() == pytest.approx(0.03, rel=0.05)
    assert (marks < 0).mean() == pytest.approx(0.03, rel=0.05)
    assert values == pytest.approx(clean * factors)
    assert sum(map(len, named(marks))) == np.count_nonzero(marks)


def test_a_plant_sends_the_lab_preset() -> None:
    messages = [m for record in Plant(PlantOptions(machines=50, messages=8_000)) for m in record.messages]
    odd = [anomaly for message in messages for anomaly in message.anomalies]
    normal = [orjson.loads(m.readings)["temperature"] for m in messages if not m.anomalies]

    assert len(odd) / (5 * len(messages)) == pytest.approx(0.06, rel=0.1)
    assert np.mean(normal) == pytest.approx(55.0, abs=0.15)
    assert np.std(normal) == pytest.approx(2.4, rel=0.05)
