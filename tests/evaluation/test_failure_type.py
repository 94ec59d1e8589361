"""Failure types on simulated fleets: what is evaluated is what the pipeline would have, and the oracle knows the odds."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from benchmarks.evaluation.failure_type import Oracle, chance_of_failure, classes, figures, online
from benchmarks.evaluation.fleets import Lived, lived
from pipeline.core.fold import FoldRules
from pipeline.core.prognosis.failure_type import HORIZON, UNKNOWN, FailureType, default_features
from pipeline.core.prognosis.failure_type_learner import FailureTypeLearner
from pipeline.core.records import Record
from simulator.compressors import compressor_records
from simulator.options import PlantOptions
from simulator.wear import COMPONENTS, SENSORS
from tests.core.prognosis.models_in_force import folded, maintained, partition, spoken_of

FLEET = PlantOptions(seed=7, wear_machines=1, wear_pace=10.0)
FEATURES = default_features(SENSORS)


@pytest.fixture(scope="module")
def fleet() -> list[list[Lived]]:
    return [list(lived(FLEET, number, 8, FEATURES)) for number in range(12)]


@pytest.fixture(scope="module")
def model(fleet: list[list[Lived]]) -> FailureType:
    learner = FailureTypeLearner(FEATURES, COMPONENTS)
    for one in (one for some in fleet[1:] for one in some):
        learner.learn(one.rows, classes(one))
    return learner.model()


def test_a_partition_is_given_and_answers_what_the_evaluation_is_and_does(
    fleet: list[list[Lived]], model: FailureType
) -> None:
    sent = list(islice(compressor_records(FLEET), 9_000))
    told = {0: [spoken_of(1, "live", model, machine_type="compressor")]}
    for n, each in enumerate(sent):
        if each.is_fact:
            told[n + 1] = [maintained(2 + n, each.messages[0].machine_id, each.due_ms)]
    records = [Record(n, each.due_ms, each.body) for n, each in enumerate(sent)]
    found = folded(partition(), records, [500, 501, 4_000], FoldRules(silence_ms=45_000), told)

    rows = np.concatenate([one.rows for one in fleet[0]])
    ends_ms = np.concatenate([one.ends_ms for one in fleet[0]])
    # The last cycle has not ended yet
    assert [each.time_ms for each in found] == ends_ms[ends_ms < found[-1].time_ms + 1].tolist()
    assert sum(ends_ms < sent[-1].due_ms) - 1 <= len(found) <= sum(ends_ms <= sent[-1].due_ms)
    assert len(told) >= 3
    assert np.array([each.inputs for each in found]) == pytest.approx(rows[: len(found)], abs=0.01)
    told_classes = model.choose(model.predict(np.array([each.inputs for each in found])))
    assert [each.label for each in found] == [("none", *COMPONENTS)[each] for each in told_classes.tolist()]
    assert len({each.label for each in found}) > 1


def test_the_class_of_a_cycle_is_that_of_the_failure_in_one_of_the_next_seven(fleet: list[list[Lived]]) -> None:
    for one in fleet[3]:
        true = classes(one)
        assert true[-1] == UNKNOWN
        assert np.count_nonzero(true > 0) == min(HORIZON, len(true) - 1)
        assert (true > 0)[-HORIZON - 1 : -1].all()
        assert set(true[true > 0]) <= {1 + COMPONENTS.index(one.life.component)}


def test_what_is_left_at_the_end_of_a_cycle_is_what_the_ledger_says(fleet: list[list[Lived]]) -> None:
    for one in fleet[2]:
        assert one.left_s.min(axis=1).tolist() == [one.life.left_s(end_ms) for end_ms in one.ends_ms.tolist()]


@pytest.mark.parametrize(
    ("left_s", "chance"),
    [(0, 1.0), (420, 1.0), (421, 1 - 5**-7), (1_260, 0.5), (2_100, 5**-7), (2_101, 0.0), (90_000, 0.0)],
)
def test_the_chance_of_failure_is_that_seven_cycles_of_one_to_five_minutes_take_so_long(
    left_s: int, chance: float
) -> None:
    # Half of the odds that they take exactly 21 minutes, the mean, are beyond a half
    assert chance_of_failure(np.array([float(left_s)]))[0] == pytest.approx(chance, abs=0.06 if chance == 0.5 else 1e-9)


def test_the_chance_of_failure_agrees_with_cycles_drawn_at_random() -> None:
    minutes = np.random.default_rng(0).integers(1, 6, (20_000, HORIZON)).sum(axis=1)
    left_s = np.array([600.0, 1_000.0, 1_230.0, 1_500.0])

    assert chance_of_failure(left_s) == pytest.approx([np.mean(60 * minutes >= each) for each in left_s], abs=0.012)


def test_figures_count_only_what_is_known() -> None:
    true = np.array([1, 1, 0, 0, UNKNOWN, 2])
    told = np.array([1, 0, 1, 0, 1, 2])

    assert figures(told, true, 1) == (0.5, 0.5, 0.5)
    assert figures(told, true, 2) == (1.0, 1.0, 1.0)
    assert figures(np.zeros(6, int), true, 1) == (0.0, 0.0, 0.0)


def test_nothing_is_told_online_before_something_was_learned_and_no_machine_is_judged_by_its_own_lives(
    fleet: list[list[Lived]],
) -> None:
    learned, judged = [one for some in fleet[4:] for one in some], [one for some in fleet[:4] for one in some]
    told, last, failures = online(learned, judged)
    ends_ms = np.concatenate([one.ends_ms for one in judged])
    repaired_ms = sorted(one.life.repaired_ms for one in learned)

    assert failures.tolist() == np.searchsorted(repaired_ms, ends_ms).tolist()
    assert (told[failures == 0] == 0).all()
    assert len(last) == len(told)


def test_the_oracle_tells_both_modes_as_well_as_chance_lets_it(fleet: list[list[Lived]]) -> None:
    learned, judged = [one for some in fleet[4:] for one in some], [one for some in fleet[:4] for one in some]
    told, true = Oracle(learned).tell(judged), np.concatenate([classes(one) for one in judged])

    assert figures(told, true, 1).f1 > 0.85
    assert 0.0 < np.mean(told[true != UNKNOWN] != true[true != UNKNOWN]) < 0.2
