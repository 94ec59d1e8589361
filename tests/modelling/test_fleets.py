"""Fleets that work side by side: features as a partition has them, and no life known before it ended."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.prognosis.features import MACHINE_FEATURES, feature_names
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.modelling.fleets import Life, features_of, starts, teach
from tests.modelling.degrading import SENSORS, lives

FEATURES = feature_names(SENSORS, ["fast", "last"], MACHINE_FEATURES)


def test_a_cycle_is_an_hour_of_operation_also_where_some_are_missing() -> None:
    life = Life("1", np.array([3.0, 4.0, 7.0]), np.array([[1.0], [2.0], [9.0]]))

    found = features_of(life, ["oil"], ["age", "oil.last"])

    assert found.tolist() == [[3.0, 1.0], [4.0, 2.0], [7.0, 9.0]]


def test_features_of_a_row_know_nothing_of_later_rows() -> None:
    (life,) = lives(1)
    whole = features_of(life, SENSORS, FEATURES)

    for end in (1, 7, 40):
        part = Life("1", life.cycles[:end], life.readings[:end])
        assert np.array_equal(features_of(part, SENSORS, FEATURES), whole[:end])


def test_lives_are_learned_in_the_order_of_failure_and_the_map_is_of_what_was_seen_by_then() -> None:
    fleet = lives(4)
    rows = [features_of(life, SENSORS, FEATURES) for life in fleet]
    began = np.array([500.0, 0.0, 300.0, 1000.0])
    learner = RemainingLifeLearner(FEATURES, 60.0, cosines=4)

    judged = teach(learner, fleet, rows, began)

    assert [float(each.remaining[0]) for each in judged] == [float(fleet[i].cycles[-1] - 1.0) for i in (1, 2, 0, 3)]
    assert np.isnan(judged[0].estimates.points).all()
    assert all(np.isfinite(each.estimates.points).all() for each in judged[1:])
    assert learner.to_arrays()["means"] == pytest.approx(rows[1].mean(axis=0))


def test_a_fleets_beginning_is_the_seeds() -> None:
    fleet = lives(5)

    assert np.array_equal(starts(fleet, 1), starts(fleet, 1))
    assert not np.array_equal(starts(fleet, 1), starts(fleet, 2))
    assert (starts(fleet, 1) >= 0.0).all()
