"""Episodes of faults (R80): each kind does what it says, the truth says what was done, and without them nothing changes."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import orjson
import pytest

from simulator.episodes import Episode
from simulator.messages import Sent
from simulator.options import FAULT_KINDS, PUMP_FAULTS, SENSOR_FAULTS, PlantOptions
from simulator.plant import Plant
from simulator.pumps import PUMP
from simulator.sensors import LAB
from simulator.series import MACHINES, Series, series

PLAIN = PlantOptions(seed=3, machines=7, messages=3_000, lab_share=0.2, late_share=0.05, duplicate_share=0.02,
                     garbage_share=0.02, array_share=0.1, offline_share=0.002, pump_share=0.3)  # fmt: skip
FAULTY = replace(PLAIN, fault_rate=24.0, fault_ms=600_000)
ALONE = PlantOptions(seed=11, machines=1, spike_share=0.0, dip_share=0.0, fault_rate=6.0, pump_share=0.1)


def digest(options: PlantOptions) -> str:
    found = hashlib.sha256()
    for record in Plant(options):
        found.update(b"%s|%s|%s|%d\n" % (record.key, record.body, record.kind.encode(), record.due_ms))
        found.update(orjson.dumps([message.anomalies for message in record.messages]))
    return found.hexdigest()[:16]


def said(records: list[Sent]) -> dict[tuple[str, int], tuple[str, object]]:
    return {(m.machine_id, m.event_time_ms): (m.readings, m.episode) for r in records for m in r.messages}


def of(kind: str, **options: object) -> Series:
    machine = MACHINES["hvac_pump" if kind in PUMP_FAULTS else "stamping_press"]
    return series(replace(ALONE, fault_kinds=(kind,), **options), machine, days=4)


def scores(found: Series) -> np.ndarray:
    preset = PUMP if found.sensors == PUMP.sensors else LAB
    return (found.values - preset.means) / preset.deviations


def within(found: Series, episode: Episode) -> np.ndarray:
    return (found.times_ms >= episode.start_ms) & (found.times_ms < episode.end_ms)


def normal(found: Series) -> np.ndarray:
    outside = np.ones(len(found.times_ms), bool)
    for episode in found.episodes:
        outside &= ~within(found, episode)
    return outside


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (PlantOptions(machines=50, messages=2_000), "7568e5b91d21bb82"),
        (PLAIN, "361f56f57ae266ff"),
        (replace(PLAIN, seed=4, machines=1_500), "9f64934f4fb3dcdc"),
    ],
)
def test_a_plant_without_faults_sends_the_bytes_that_it_always_sent(options: PlantOptions, expected: str) -> None:
    assert digest(options) == expected


def test_the_same_options_give_the_same_bytes_and_another_seed_other_faults() -> None:
    assert list(Plant(FAULTY)) == list(Plant(FAULTY))
    assert said(list(Plant(FAULTY))) != said(list(Plant(replace(FAULTY, seed=4))))


def test_faults_change_no_other_draw() -> None:
    plain, faulty = list(Plant(PLAIN)), list(Plant(FAULTY))

    assert [(r.key, r.kind, r.due_ms) for r in faulty] == [(r.key, r.kind, r.due_ms) for r in plain]
    before, after = said(plain), said(faulty)
    assert before.keys() == after.keys()
    changed = {key for key, (readings, _) in after.items() if readings != before[key][0]}
    told = {key for key, (_, episode) in after.items() if episode is not None}
    assert changed <= told
    assert len(changed) > 0.9 * len(told) > 100


def test_a_fault_changes_only_its_own_sensors_within_its_own_time() -> None:
    before, after = said(list(Plant(PLAIN))), said(list(Plant(FAULTY)))
    for (machine_id, at_ms), (readings, episode) in after.items():
        was, now = orjson.loads(before[machine_id, at_ms][0]), orjson.loads(readings)
        changed = {sensor for sensor in now if now[sensor] != was[sensor]}
        assert changed <= (set(episode.sensors) if episode else set())
        if episode:
            assert episode.machine_id == machine_id
            assert episode.start_ms <= at_ms < episode.end_ms


def test_faults_come_as_often_and_last_as_long_as_they_are_told_to() -> None:
    found = series(replace(ALONE, fault_ms=1_800_000, interval_ms=60_000), "press-00000", days=100)
    lasting_h = np.array([each.end_ms - each.start_ms for each in found.episodes]) / 3_600_000

    # What would begin while another lasts, half an hour of the four between two, is left out
    assert len(found.episodes) == pytest.approx(100 * 6.0 / (1 + 0.5 / 4), rel=0.1)
    assert lasting_h.mean() == pytest.approx(0.5, rel=0.05)
    assert 0.25 <= lasting_h.min() < 0.27
    assert 0.73 < lasting_h.max() <= 0.75
    assert all(a.end_ms <= b.start_ms for a, b in zip(found.episodes, found.episodes[1:], strict=False))
    assert {each.kind for each in found.episodes} == set(SENSOR_FAULTS)
    assert Counter(each.kind for each in found.episodes).most_common()[-1][1] > 60


def test_pumps_have_every_kind_and_machines_no_fault_of_pumps() -> None:
    options = replace(ALONE, interval_ms=60_000)

    assert {each.kind for each in series(options, "pump-00000", days=60).episodes} == set(FAULT_KINDS)
    assert series(replace(options, fault_kinds=PUMP_FAULTS), "press-00000", days=60).episodes == ()


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_outside_of_episodes_everything_is_as_it_should_be(kind: str) -> None:
    found = of(kind)
    usual = scores(found)[normal(found)]

    assert len(found.episodes) > 5
    assert np.abs(usual.mean(axis=0)).max() < 0.02
    assert usual.std(axis=0) == pytest.approx(np.ones(5), rel=0.02)


@pytest.mark.parametrize("size", [1.5, 3.0])
def test_a_step_moves_one_sensor_by_its_size_both_ways_and_ends_with_the_repair(size: float) -> None:
    found = of("step", fault_size=size)

    assert {episode.size for episode in found.episodes} == {size, -size}
    for episode in found.episodes:
        (column,) = episode.columns
        moved = scores(found)[within(found, episode), column]
        assert moved.mean() == pytest.approx(episode.size, abs=0.15)
        assert moved.std() == pytest.approx(1.0, abs=0.15)


def test_a_drift_goes_on_at_its_speed() -> None:
    found = of("drift", fault_drift=2.5)

    assert {episode.size for episode in found.episodes} == {2.5, -2.5}
    for episode in found.episodes:
        own, (column,) = within(found, episode), episode.columns
        hours = (found.times_ms[own] - episode.start_ms) / 3_600_000
        slope, first = np.polyfit(hours, scores(found)[own, column], 1)
        assert slope == pytest.approx(episode.size, abs=0.3)
        assert first == pytest.approx(0.0, abs=0.3)


def test_a_stuck_sensor_says_one_value_or_flutters_about_it_and_is_never_spiked() -> None:
    found = of("stuck", spike_share=0.03, dip_share=0.03)

    assert {episode.size > 0 for episode in found.episodes} == {True, False}
    for episode in found.episodes:
        own, (column,) = within(found, episode), episode.columns
        values = found.values[own, column]
        assert len(np.unique(values)) <= (3 if episode.size else 1)
        assert np.ptp(values) <= 0.03 * LAB.deviations[column] + 0.011
        assert abs(values[0] - LAB.means[column]) < 2.2 * LAB.deviations[column] + 0.5
        assert not found.marks[own, column].any()
    assert (found.marks != 0).mean() == pytest.approx(0.06, rel=0.1)


def test_noise_grows_by_its_size_and_stays_around_the_mean() -> None:
    found = of("noise", fault_size=4.0)

    for episode in found.episodes:
        (column,) = episode.columns
        moved = scores(found)[within(found, episode), column]
        if found.sensors[column] != "humidity":
            assert moved.std() == pytest.approx(4.0, rel=0.1)
            assert abs(moved.mean()) < 0.5
    assert found.values.min() >= 0.0


@pytest.mark.parametrize("usual", [0.0, 0.8])
def test_correlated_sensors_move_against_one_and_each_alone_is_as_always(usual: float) -> None:
    found = of("correlated", sensor_correlation=usual)
    everywhere = []

    assert {len(episode.columns) for episode in found.episodes} == {2, 3}
    for episode in found.episodes:
        own = scores(found)[within(found, episode)][:, list(episode.columns)]
        assert np.corrcoef(own.T)[0, 1:] == pytest.approx(np.full(own.shape[1] - 1, episode.size), abs=0.04)
        assert abs(np.corrcoef(own[1:, 1], own[:-1, 1])[0, 1]) < 0.12
        everywhere.append(own)
    alone = np.concatenate([own.T.ravel() for own in everywhere])
    assert alone.mean() == pytest.approx(0.0, abs=0.02)
    assert alone.std() == pytest.approx(1.0, abs=0.02)
    assert (np.abs(alone) > 2).mean() == pytest.approx(0.0455, abs=0.006)
    ordinary = scores(found)[normal(found)]
    assert np.corrcoef(ordinary.T)[np.triu_indices(5, 1)] == pytest.approx(np.full(10, usual), abs=0.02)


def test_cavitation_lowers_pressures_and_power_and_makes_them_and_the_vibration_unsteady() -> None:
    power, temperature, suction, discharge, vibration = moved("cavitation")

    assert power.mean() < -1 < -0.5 < temperature.mean() < 1.5
    assert max(suction.mean(), discharge.mean()) < -2.5
    assert vibration.mean() > 4
    assert min(part.std() for part in (power, suction, discharge, vibration)) > 1.8


def test_a_failing_seal_lets_discharge_pressure_fall_and_temperature_rise_slowly_and_leaves_suction_alone() -> None:
    found = of("seal_failure")
    whole = [episode for episode in found.episodes if episode.end_ms < found.times_ms[-1]]
    assert len(whole) > 5
    for episode in whole:
        own = scores(found)[within(found, episode)]
        quarter = len(own) // 4
        for column, sign in ((1, 1.0), (3, -1.0)):
            quarters = [sign * own[at * quarter : (at + 1) * quarter, column].mean() for at in range(4)]
            assert quarters == pytest.approx([0.75, 2.25, 3.0, 3.0], abs=0.35)
        assert own[:, 2].mean() == pytest.approx(0.0, abs=0.15)
        assert "suction_pressure" not in episode.sensors


def test_a_failing_coupling_takes_power_and_pressure_away_and_shakes_the_pump() -> None:
    power, temperature, suction, discharge, vibration = moved("coupling_failure")

    assert power.mean() < -5
    assert discharge.mean() < -4
    assert vibration.mean() > 8
    assert suction.mean() > 2
    assert abs(temperature.mean()) < 0.1


def moved(kind: str) -> np.ndarray:
    """Scores of all episodes, a row per sensor."""
    found = of(kind)
    return np.concatenate([scores(found)[within(found, episode)] for episode in found.episodes]).T


@pytest.mark.parametrize(("kind", "machine_id"), [("stamping_press", "press-00000"), ("hvac_pump", "pump-00000")])
def test_a_series_is_what_the_plant_sends(kind: str, machine_id: str) -> None:
    options = replace(ALONE, fault_rate=50.0, fault_ms=900_000, spike_share=0.03, dip_share=0.03, array_share=0.1)
    found = series(options, MACHINES[kind], days=0.2)
    until_ms = options.start_ms + 0.2 * 86_400_000
    messages = [
        message
        for record in Plant(replace(options, messages=5_000))
        for message in record.messages
        if message.machine_id == machine_id and message.event_time_ms < until_ms
    ]

    assert [message.event_time_ms for message in messages] == found.times_ms.tolist()
    assert [list(orjson.loads(message.readings).values()) for message in messages] == found.values.tolist()
    assert tuple(dict.fromkeys(message.episode for message in messages if message.episode)) == found.episodes
    assert len(found.episodes) > 3
    assert sum(len(message.anomalies) for message in messages) == np.count_nonzero(found.marks)


def test_a_plant_has_a_series_for_each_type_of_machine() -> None:
    options = PlantOptions(machines=2, pump_share=0.1, interval_ms=60_000)

    for machine_id in MACHINES.values():
        assert len(series(options, machine_id).times_ms) == 1_440
    with pytest.raises(KeyError):
        series(options, "press-00099")
