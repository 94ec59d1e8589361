"""Watching a machine's sensors together (R23): what is scored, what is learned, and what neither may be."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.detectors.chi_square import chi_square_places
from pipeline.core.detectors.machine_detector import MachineShiftDetector, MultivariateDetector
from pipeline.core.detectors.multivariate import (
    STATE,
    WIDTH,
    MultivariateRules,
    multivariate_inspect,
    multivariate_learn,
    multivariate_observe,
    multivariate_score,
    shift_score,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RULES = MultivariateRules(warm_up=200)
ALL = np.ones(WIDTH, np.bool_)
LOUD = 10.0


class Machine:
    """One row of state, and messages a second apart."""

    def __init__(self, rules: MultivariateRules = RULES) -> None:
        self.rows = np.zeros(1, STATE)
        self.rules = rules
        self.time_ms = 0

    def observe(self, values: Floats, present: Bools = ALL) -> float:
        self.time_ms += 1_000
        return float(multivariate_observe(self.rows[0], self.rules, self.time_ms, values, present)[0])

    def score(self, values: Floats, present: Bools = ALL) -> float:
        return float(multivariate_score(self.rows[0], self.rules, self.time_ms + 1_000, values, present)[0])

    def shift(self, values: Floats, present: Bools = ALL) -> float:
        return float(shift_score(self.rows[0], self.rules, self.time_ms + 1_000, values, present)[0])

    def widest(self, values: Floats) -> int:
        return int(multivariate_score(self.rows[0], self.rules, self.time_ms + 1_000, values, ALL)[1])


def normal(rows: int, seed: int = 0) -> Floats:
    """Messages of a sound machine: eight sensors of different scales, of which 0 and 1 go together (correlation 0.98)."""
    random = np.random.default_rng(seed)
    free = random.normal(size=(rows, WIDTH))
    free[:, 1] = 0.98 * free[:, 0] + 0.2 * free[:, 1]
    return np.asarray(100.0 + free * 10.0 ** np.arange(-3, 5))


def off(sensor: int, deviations: float) -> Floats:
    """Return what a reading is off by."""
    step = np.zeros(WIDTH)
    step[sensor] = deviations * 10.0 ** (sensor - 3)
    return step


def warm(rules: MultivariateRules = RULES, readings: Floats | None = None) -> Machine:
    machine = Machine(rules)
    for values in normal(rules.warm_up) if readings is None else readings:
        machine.observe(values)
    return machine


def test_the_score_is_hotellings_t2_of_the_smoothed_readings() -> None:
    rules = RULES._replace(drifting=0.0, steady=1.0, shrinkage=1e-12, quiet=0.0, clip=1e9, adapting=0.0)
    learned, after = normal(rules.warm_up), normal(30, seed=1)
    machine = warm(rules)
    covariance = np.cov(learned.T, bias=True) * rules.fading / (2 - rules.fading)
    smoothed = np.zeros(WIDTH)

    for values in after:
        smoothed += rules.fading * (values - learned.mean(axis=0) - smoothed)
        t2 = smoothed @ np.linalg.solve(covariance, smoothed)
        assert machine.observe(values) == pytest.approx(chi_square_places(t2, WIDTH), rel=1e-6)


@pytest.mark.parametrize(
    ("statistic", "freedom", "probability"),
    # χ² tables: the values exceeded with the probability
    [(3.841459, 1, 0.05), (7.814728, 3, 0.05), (15.507313, 8, 0.05), (26.124482, 8, 0.001), (18.467, 4, 0.001)],
)
def test_decimal_places_agree_with_printed_tables(statistic: float, freedom: int, probability: float) -> None:
    assert chi_square_places(statistic, freedom) == pytest.approx(-np.log10(probability), abs=1e-4)


@pytest.mark.parametrize("freedom", range(1, WIDTH + 1))
def test_decimal_places_grow_without_end_and_without_a_step(freedom: int) -> None:
    statistics = np.concatenate([np.linspace(0.0, 400.0, 4_001), 10.0 ** np.arange(3, 61)])

    places = [chi_square_places(statistic, freedom) for statistic in statistics]

    assert np.isfinite(places).all()
    assert (np.diff(places) > 0).all()
    assert np.diff(places[10:4_001]).max() < 0.05, "no jump where one form takes over from another"


def test_a_combination_is_found_of_which_every_reading_is_usual() -> None:
    machine = warm()
    fault = off(0, 1.6) + off(1, -1.6)
    readings = normal(40, seed=2)
    typical = normal(2_000, seed=3)

    scores = [machine.observe(values + fault) for values in 0.5 * (readings - 100.0) + 100.0]

    deviations = (0.5 * (readings - 100.0) + fault) / typical.std(axis=0)
    assert np.abs(deviations).max() < 3.0, "no sensor alone is beyond three deviations"
    assert max(scores[20:]) > LOUD


def test_it_tells_the_sensor_that_is_most_off() -> None:
    machine = warm()
    for values in normal(10, seed=4):
        machine.observe(values + off(5, 6.0))

    assert machine.widest(normal(1, seed=5)[0] + off(5, 6.0)) == 5


def test_nothing_is_scored_while_warming_up() -> None:
    machine = Machine()

    assert [machine.observe(values) for values in normal(RULES.warm_up)] == [0.0] * RULES.warm_up
    assert machine.score(np.full(WIDTH, 1e9)) > LOUD


def test_a_sound_machine_stays_below_a_loud_score() -> None:
    machine = warm()

    assert max(machine.observe(values) for values in normal(2_000, seed=6)) < LOUD


def test_a_fault_is_not_learned_and_a_lasting_regime_is() -> None:
    rules = RULES._replace(accept_after=300)
    machine, fault = warm(rules), off(3, 5.0)
    for values in normal(250, seed=7):
        machine.observe(values + fault)
    mean = machine.rows[0]["mean"][3]
    assert mean == pytest.approx(100.0, abs=0.5), "as before the fault"

    for values in normal(600, seed=8):
        machine.observe(values + fault)

    usual = normal(1, seed=9)[0]
    assert machine.rows[0]["mean"][3] == pytest.approx(105.0, abs=0.5)
    assert machine.score(usual + fault) < 3.0
    for values in normal(20, seed=10):
        machine.observe(values)
    assert machine.score(usual) > LOUD, "what was normal once is the deviation now"


def test_a_change_is_told_at_its_onset_and_at_the_return_and_not_between() -> None:
    machine, fault = warm(), off(3, 5.0)
    shifts = []
    for n, values in enumerate(normal(450, seed=11)):
        reading = values + fault * (150 <= n < 300)
        shifts.append(machine.shift(reading))
        machine.observe(reading)

    assert max(shifts[:150]) < LOUD
    assert max(shifts[150:170]) > LOUD
    assert max(shifts[270:300]) < LOUD
    assert max(shifts[300:320]) > LOUD


def test_a_sensor_that_carries_mostly_drift_is_left_out() -> None:
    readings = normal(RULES.warm_up)
    readings[:, 6] = np.cumsum(readings[:, 6] - 100.0)
    machine = warm(readings=readings)

    assert machine.rows[0]["scale"][6] == 0.0
    assert np.count_nonzero(machine.rows[0]["scale"]) == WIDTH - 1
    assert machine.score(readings[-1] + off(6, 1e3)) == machine.score(readings[-1])


def test_a_sensor_that_drifts_a_little_weighs_less() -> None:
    readings = normal(RULES.warm_up)
    readings[:, 3] += np.repeat([0.5, -0.5, 0.4, -0.4], RULES.warm_up // 4)
    fault = np.full((10, 1), 1.0) * off(3, 3.0) + readings[:10]
    scores = {}
    for drifting in (0.0, 1.0):
        machine = warm(RULES._replace(drifting=drifting, steady=0.5, quiet=0.0), readings)
        scores[drifting] = [machine.observe(values) for values in fault][-1]

    assert 1.0 < scores[1.0] < 0.7 * scores[0.0]


def test_a_single_wild_reading_is_over_soon() -> None:
    machine = warm()
    assert machine.observe(normal(1, seed=19)[0] + off(3, 1e9)) > LOUD

    assert [machine.observe(values) for values in normal(60, seed=20)][-1] < LOUD


def test_a_machine_of_which_every_sensor_drifts_is_not_scored() -> None:
    machine = warm(readings=np.cumsum(normal(RULES.warm_up) - 100.0, axis=0))

    assert machine.score(np.full(WIDTH, 1e9)) == 0.0
    assert machine.widest(np.full(WIDTH, 1e9)) == -1


def test_a_constant_sensor_counts_nothing_until_it_has_moved() -> None:
    readings = normal(RULES.warm_up)
    readings[:, 2] = 7.0
    machine = warm(readings=readings)

    assert machine.score(normal(1, seed=12)[0] + off(2, 1e6)) == machine.score(normal(1, seed=12)[0])


def test_sensors_that_repeat_one_another_do_no_harm() -> None:
    readings = normal(RULES.warm_up)
    readings[:, 4:] = readings[:, :1]
    machine = warm(readings=readings)
    after = normal(300, seed=13)
    after[:, 4:] = after[:, :1]

    assert max(machine.observe(values) for values in after) < LOUD
    for values in after[:20]:
        machine.observe(values + off(3, 5.0))
    assert machine.score(after[20] + off(3, 5.0)) > LOUD


def test_a_missing_sensor_keeps_its_deviation_for_a_while_and_is_then_left_out() -> None:
    machine, present = warm(), ALL.copy()
    present[1] = False
    values = normal(RULES.stale_after + 20, seed=14)
    for reading in values[:5]:
        machine.observe(reading)
    held = machine.rows[0]["fast"][1]

    for reading in values[5 : RULES.stale_after + 4]:
        reading[1] = 1e100
        machine.observe(reading, present)
    assert machine.rows[0]["fast"][1] == held != 0.0
    machine.observe(values[-1], present)
    assert machine.rows[0]["scale"][1] == 0.0
    assert machine.observe(values[-2], present) < LOUD

    machine.observe(values[-3])
    assert machine.rows[0]["scale"][1] > 0.0, "it is back"


def test_one_wild_reading_while_warming_up_hides_no_fault() -> None:
    readings = normal(RULES.warm_up)
    readings[100, 3] = 1e12
    machine = warm(readings=readings)

    for values in normal(30, seed=15):
        machine.observe(values + off(3, 8.0))

    assert machine.score(normal(1, seed=16)[0] + off(3, 8.0)) > LOUD


def test_the_recent_past_is_forgotten_after_a_long_silence() -> None:
    machine = warm()
    for values in normal(20, seed=17):
        machine.observe(values + off(3, 5.0))
    usual = normal(1, seed=18)[0]
    assert machine.score(usual) > LOUD

    machine.time_ms += RULES.gap_ms

    assert machine.score(usual) < 3.0


_numbers = st.one_of(st.floats(-1e140, 1e140), st.sampled_from([0.0, 1.0, 1e140, -1e140, 1e-140]))
_messages = st.lists(
    st.tuples(st.integers(-(1 << 60), 1 << 60), st.lists(_numbers, min_size=3, max_size=3), st.integers(0, 7)),
    max_size=40,
)
SMALL = MultivariateRules(warm_up=4, accept_after=8, stale_after=3)


@given(_messages)
@example([(0, [1.0, 1.0, 1.0], 7)] * 40)
@example([(-n, [1e140, -1e140, 0.0], 7) for n in range(40)])
@example([(n, [1e140 * (-1) ** n, 1e-140 * n, 3.0], n % 8) for n in range(40)])
def test_whatever_comes_scores_are_finite_pure_and_the_same_in_one_pass_or_two(
    messages: list[tuple[int, list[float], int]],
) -> None:
    once, twice = np.zeros(1, STATE), np.zeros(1, STATE)
    for time_ms, readings, there in messages:
        values, present = np.zeros(WIDTH), np.zeros(WIDTH, np.bool_)
        values[:3], present[:3] = readings, [bool(there >> bit & 1) for bit in range(3)]
        before = twice.tobytes()
        score, widest = multivariate_score(twice[0], SMALL, time_ms, values, present)
        shift, _ = shift_score(twice[0], SMALL, time_ms, values, present)
        assert twice.tobytes() == before

        multivariate_learn(twice[0], SMALL, time_ms, values, present)

        assert multivariate_observe(once[0], SMALL, time_ms, values, present) == (score, shift, widest)
        assert once.tobytes() == twice.tobytes()
        assert 0.0 <= score < np.inf
        assert 0.0 <= shift < np.inf
    assert all(np.isfinite(once[name]).all() for name in STATE.names or ())


def test_the_state_of_a_machine_is_small() -> None:
    assert STATE.itemsize <= 1_200


def test_the_estimator_gives_the_kernels_numbers_and_takes_no_missing_reading_for_one() -> None:
    machine, detector, shift = Machine(), MultivariateDetector(RULES), MachineShiftDetector(RULES)
    for values in normal(RULES.warm_up + 20):
        x = {f"sensor {i}": float(value) for i, value in enumerate(values)} | {"time_ms": machine.time_ms + 1_000}
        assert detector.score_one(x) == machine.score(values)
        assert shift.score_one(x) == machine.shift(values)
        detector.learn_one({**x, "of no room": 1.0})
        shift.learn_one(x)
        machine.observe(values)

    x["sensor 3"] = np.nan
    present = ALL.copy()
    present[3] = False
    assert detector.score_one(x) == machine.score(values, present)
    assert detector.clone().score_one(x) == 0.0


def test_a_sensor_that_is_given_up_with_the_very_message_in_which_it_is_most_off_is_told_with_finite_numbers() -> None:
    rules = MultivariateRules(warm_up=50, stale_after=5)
    state, deviations = np.zeros(1, STATE), np.zeros(WIDTH)
    random = np.random.default_rng(3)
    values, present = np.zeros(WIDTH), np.zeros(WIDTH, np.bool_)
    told = []
    for n in range(120):
        values[:2] = random.normal(50.0, 1.0, 2)
        values[0] += 6.0 if n >= 80 else 0.0
        present[:2] = n < 100, True
        watched = state["scale"][0, 0] > 0.0
        score, column, expected, value = multivariate_inspect(state[0], rules, n * 1000, values, present, deviations)
        if column == 0 and n >= 100:
            told.append((watched, state["scale"][0, 0] > 0.0))
            assert math.isfinite(score + expected + value)
            assert 48.0 < expected < 52.0 < value < 58.0

    assert (True, False) in told, "given up with this message"
