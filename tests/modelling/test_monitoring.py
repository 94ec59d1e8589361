"""Monitoring (R31) on the real database: labels joined exactly, whenever they come; drift; candidates, no promotions."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.modelling.monitoring.input_drift import described
from pipeline.modelling.monitoring.inputs import FIRST_INPUTS
from pipeline.modelling.monitoring.monitor import Monitor, Round
from pipeline.modelling.monitoring.trigger import Limits
from pipeline.store import model_drift, model_stages, models
from pipeline.store.connect import connect
from pipeline.store.model_drift import last_day
from pipeline.store.models import ModelVersion
from tests.core.prognosis.models_in_force import maintenance_class, remaining_life
from tests.modelling.monitored import GROUP, Stored, at, failure_type

LIMITS = Limits(least_labels=2, least_inputs=100, rmse_factor=1.5, coverage_drop=0.1, score_drop=0.1, psi=0.25)
DAY_S = 86_400.0
LIFE, TYPE, CLASS = "remaining_life", "failure_type", "maintenance_class"


@pytest.fixture
def plant(admin) -> Stored:
    return Stored(admin)


def nothing_learned(version: ModelVersion, note: str) -> tuple[int, bool]:
    raise AssertionError(f"{version.name} was to be learned anew: {note}")


def monitored(
    admin: psycopg.Connection, train: Callable[[ModelVersion, str], tuple[int, bool]] = nothing_learned, **changed: Any
) -> Round:
    return Monitor(admin, GROUP, KNOWN, train, replace(LIMITS, **changed), 30 * DAY_S).once()


def sums(admin: psycopg.Connection) -> list[tuple[Any, ...]]:
    return admin.execute(
        "SELECT model_id, machine_id, ended, truth, said, by_rules, predictions, off, off_absolute, off_squares, covered"
        " FROM model_quality ORDER BY 1, 2, 3, 4, 5, 6"
    ).fetchall()


def wearing(plant: Stored, model: int, machine: str, seed: int) -> list[tuple[float, float, float, float]]:
    """Store ten cycles of an hour or less, two hours apart, with what the model said; return (end, said, lower, upper)."""
    random = np.random.default_rng(seed)
    lengths = random.uniform(0.2, 1.0, 10).round(2).tolist()
    plant.machine(machine, [(2 * n, 2 * n + length) for n, length in enumerate(lengths)])
    told = []
    for n, length in enumerate(lengths):
        value = float(random.uniform(0.0, 8.0))
        told.append((2 * n + length, value, value - 1.0, value + 2.0))
        plant.says(model, LIFE, machine, 2 * n + length, value=value, lower=value - 1.0, upper=value + 2.0)
    return [(*each, length) for each, length in zip(told, lengths, strict=True)]


def test_remaining_life_is_held_against_operating_hours_to_the_failure(admin, dashboard, plant) -> None:
    model = plant.model(remaining_life())
    told = {machine: wearing(plant, model, machine, seed) for seed, machine in enumerate(("a", "b"))}
    plant.record("a", 30.0)
    plant.record("b", 13.5)

    assert monitored(admin, least_labels=3).machines == 2

    off, covered = [], 0
    for machine, end in (("a", 30.0), ("b", 13.5)):
        mine = [each for each in told[machine] if each[0] <= end]
        for n, (_, value, lower, upper, _) in enumerate(mine):
            true = math.fsum(length for *_, length in mine[n + 1 :])
            off.append(value - true)
            covered += lower <= true <= upper
    row = dashboard.execute(
        "SELECT kind, machine_type, labels, predictions, rmse, mae, bias, coverage, censored, f1 FROM dashboard.model_quality"
    ).fetchall()
    mean = math.fsum(off) / len(off)
    rmse = math.sqrt(math.fsum(each * each for each in off) / len(off))
    mae = math.fsum(abs(each) for each in off) / len(off)
    assert row == [
        (LIFE, "press", 2, len(off), pytest.approx(rmse), pytest.approx(mae), pytest.approx(mean),
         pytest.approx(covered / len(off)), 0, None)
    ]  # fmt: skip
    by_day = dashboard.execute("SELECT sum(labels), sum(predictions) FROM dashboard.model_quality_day").fetchall()
    assert by_day == [(2, len(off))]


def test_a_round_done_again_changes_nothing(admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 1)
    plant.record("a", 30.0)
    monitored(admin)
    before = sums(admin)

    again = monitored(admin)

    assert again.machines == 0
    assert sums(admin) == before != []


@pytest.mark.parametrize("order", [(5.5, 13.5, 30.0), (30.0, 13.5, 5.5), (13.5, 30.0, 5.5)])
def test_records_out_of_order_come_to_the_same_as_all_at_once(admin, plant, order) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 2)
    kinds = {5.5: "planned", 13.5: "failure", 30.0: "unplanned"}
    for hours in order:
        plant.record("a", hours, kinds[hours])
        monitored(admin)
    found = sums(admin)
    admin.execute("TRUNCATE model_quality, labelled_record")

    monitored(admin)

    assert sums(admin) == found
    assert [(ended, truth) for _, _, ended, truth, *_ in found] == [
        (at(5.5), "censored"), (at(13.5), "failure"), (at(30.0), "censored")
    ]  # fmt: skip


def test_maintenance_before_a_failure_says_only_how_long_it_lasted_at_least(admin, dashboard, plant) -> None:
    model = plant.model(remaining_life())
    plant.machine("a", [(0, 1), (2, 3), (4, 5)])
    plant.says(model, LIFE, "a", 1.0, value=1.0, lower=0.5, upper=1.5)
    plant.says(model, LIFE, "a", 3.0, value=2.0, lower=1.0, upper=3.0)
    plant.record("a", 6.0, "planned")

    monitored(admin)

    row = dashboard.execute(
        "SELECT labels, predictions, rmse, censored, contradicted FROM dashboard.model_quality"
    ).fetchall()
    assert row == [(0, 0, None, 2, 1)]


def test_looking_at_a_machine_ends_no_life(admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 3)
    plant.record("a", 9.5, "planned", class_=0)
    plant.record("a", 30.0)

    monitored(admin)

    assert [(ended, truth, count) for _, _, ended, truth, _, _, count, *_ in sums(admin)] == [(at(30.0), "failure", 10)]


def test_a_record_waits_until_its_partition_has_come_past_it(admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 4)
    plant.record("a", 30.0)
    plant.fold_to(30.0)
    assert monitored(admin).machines == 0
    plant.fold_to(30.1)

    assert monitored(admin).machines == 1
    assert len(sums(admin)) == 1


def test_failure_and_repair_of_one_time_are_a_failure_and_what_comes_after_has_its_own_life(admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 5)
    plant.record("a", 30.0, "unplanned")
    plant.record("a", 30.0)
    plant.record("a", 31.0, "planned")

    monitored(admin)

    assert [(ended, truth) for _, _, ended, truth, *_ in sums(admin)] == [(at(30.0), "failure")]


def test_types_of_failure_are_those_of_the_next_seven_cycles(admin, dashboard, plant) -> None:
    model = plant.model(failure_type())
    plant.machine("a", [(n, n + 0.5) for n in range(12)])
    said = ["none", "seal", "none", "none", "none", "governor", "seal", "seal", "seal", "seal", "seal", "none"]
    for n, label in enumerate(said):
        plant.says(model, TYPE, "a", n + 0.5, label=label)
    plant.record("a", 12.0)
    plant.machine("b", [(n, n + 0.5) for n in range(9)])
    for n in range(9):
        plant.says(model, TYPE, "b", n + 0.5, label="governor")
    plant.record("b", 9.0, "planned")

    monitored(admin)

    # of a: cycles 0 to 3 are followed by none, 4 to 10 by the seal, of the last one nothing is known; of b two are known
    assert [row[3:7] for row in sums(admin)] == [
        ("none", "none", "", 3), ("none", "seal", "", 1), ("seal", "governor", "", 1), ("seal", "none", "", 1),
        ("seal", "seal", "", 5), ("none", "governor", "", 2),
    ]  # fmt: skip
    labels = dashboard.execute(
        "SELECT label, hits, told, came, precision, recall, f1 FROM dashboard.model_quality_label ORDER BY 1"
    ).fetchall()
    assert labels == [
        ("governor", 0, 3, 0, 0.0, None, 0.0),
        ("none", 3, 4, 6, 0.75, 0.5, 0.6),
        ("seal", 5, 6, 7, pytest.approx(5 / 6), pytest.approx(5 / 7), pytest.approx(10 / 13)),
    ]
    row = dashboard.execute("SELECT labels, predictions, accuracy, f1, rmse FROM dashboard.model_quality").fetchall()
    assert row == [(1, 13, pytest.approx(8 / 13), pytest.approx(5 / 13), None)]


def test_the_class_of_maintenance_is_that_of_the_last_word_before_the_record(admin, dashboard, plant) -> None:
    model = plant.model(maintenance_class(50.0))
    plant.machine("a")
    for hours, label, by_rules in ((1, "0", "0"), (5, "2", "0"), (8, "0", "2"), (20, "2", "2")):
        plant.says(model, CLASS, "a", hours, label=label, by_rules=by_rules)
    for hours, class_ in ((6, 2), (9, 2), (0.5, 0)):
        plant.record("a", hours, "planned", class_=class_)
    plant.record("a", 7, "planned")

    monitored(admin)

    assert [row[2:7] for row in sums(admin)] == [(at(6), "2", "2", "0", 1), (at(9), "2", "0", "2", 1)]
    row = dashboard.execute("SELECT labels, accuracy, rules_accuracy FROM dashboard.model_quality").fetchall()
    assert row == [(2, 0.5, 0.5)]


def test_a_retired_model_is_judged_by_what_it_said_and_asked_for_no_class_any_more(admin, plant) -> None:
    lives, classes = plant.model(remaining_life()), plant.model(maintenance_class(50.0))
    wearing(plant, lives, "a", 6)
    plant.says(classes, CLASS, "a", 1, label="0")
    for each in (lives, classes):
        model_stages.retire(admin, GROUP, each)
    plant.fold_to(200.0)
    plant.record("a", 199.0, class_=3)

    monitored(admin)

    assert [(row[0], row[6]) for row in sums(admin)] == [(lives, 10)]


def test_what_is_not_a_number_is_no_prediction_and_no_cycle_no_truth(admin, plant) -> None:
    model = plant.model(remaining_life())
    plant.machine("a", [(1, 2), (3, 4)])
    for hours, value in ((2.0, math.nan), (4.0, math.inf), (0.5, 1.0)):
        plant.says(model, LIFE, "a", hours, value=value, lower=value, upper=value)
    plant.machine("bare")
    plant.says(model, LIFE, "bare", 1.0)
    for machine in ("a", "bare", "never seen"):
        plant.record(machine, 5.0)

    assert monitored(admin).machines == 2
    assert sums(admin) == []


def test_nothing_at_all_is_no_reason_for_anything(admin) -> None:
    assert monitored(admin) == Round(True, 0, 0, [], [], [])


def test_of_two_monitors_one_works(database, admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 7)
    plant.record("a", 30.0)
    with connect(database.admin_dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('pipeline models monitor', 0))")
        assert not monitored(admin).is_alone
        assert sums(admin) == []
        # The server notices a closed connection a moment later
        other.execute("SELECT pg_advisory_unlock_all()")

    assert monitored(admin).machines == 1


def test_a_login_that_may_not_change_models_changes_none(database, admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 8)
    plant.record("a", 30.0)
    with connect(database.dsn, autocommit=True) as worker, pytest.raises(SettingsError, match="may not change models"):
        monitored(worker)
    assert sums(admin) == []


def test_an_engineer_may_monitor(database, admin, plant) -> None:
    wearing(plant, plant.model(remaining_life()), "a", 9)
    plant.record("a", 30.0)
    admin.execute("SET ROLE pipeline_engineer")
    found = monitored(admin)
    admin.execute("RESET ROLE")

    assert found.machines == 1
    assert len(sums(admin)) == 1


def failing(plant: Stored, **about: Any) -> int:
    """Store a live model that is far off, of two machines that failed."""
    model = plant.model(remaining_life(), **about)
    for seed, machine in enumerate(("a", "b")):
        wearing(plant, model, machine, seed)
        plant.record(machine, 30.0)
    return model


def test_a_live_model_that_does_worse_gets_a_candidate_once_a_day_and_stays_live(admin, dashboard, plant) -> None:
    model = failing(plant, metrics={"test": {"rmse": 0.1}})
    notes = []

    def train(version: ModelVersion, note: str) -> tuple[int, bool]:
        notes.append(note)
        return plant.model(remaining_life(1), stage="candidate", note=note), True

    first, second = monitored(admin, train), monitored(admin, train)

    (trigger,) = first.triggers
    assert second.triggers == []
    assert notes == [f"drift: {trigger.reason}"]
    assert trigger.reason.startswith("rmse ")
    assert [(each.model_id, each.stage) for each in models.all_of(admin, GROUP)] == [
        (model, "live"),
        (trigger.candidate_id, "candidate"),
    ]
    rows = dashboard.execute("SELECT model_id, reason, candidate_id, outcome FROM dashboard.model_trigger").fetchall()
    assert rows == [(model, trigger.reason, trigger.candidate_id, "candidate")]


def test_a_candidate_that_cannot_be_learned_is_noted_and_not_tried_again_today(admin, plant) -> None:
    failing(plant, metrics={"prequential": {"rmse": 0.1}})

    def refuse(version: ModelVersion, note: str) -> tuple[int, bool]:
        raise PipelineError("too few lives")

    (trigger,) = monitored(admin, refuse).triggers

    assert (trigger.candidate_id, trigger.outcome) == (None, "too few lives")
    assert monitored(admin).triggers == []


@pytest.mark.parametrize(
    ("about", "limits"),
    [
        ({"metrics": {"test": {"rmse": 0.1}}}, {"least_labels": 3}),
        ({"metrics": {"test": {"rmse": 100.0}}}, {}),
        ({}, {}),
    ],
    ids=["too few labels", "as good as before", "never measured"],
)
def test_no_candidate_is_learned_without_a_reason(admin, plant, about, limits) -> None:
    failing(plant, **about)

    assert monitored(admin, coverage_drop=1.0, **limits).triggers == []


def test_a_shadow_that_does_worse_is_judged_and_gets_no_candidate(admin, plant) -> None:
    model = failing(plant, stage="shadow", metrics={"test": {"rmse": 0.1}})

    found = monitored(admin)

    assert [each.model_id for each in found.quality] == [model]
    assert found.triggers == []


def days_inputs(plant: Stored, model: int, day: dt.date, values: np.ndarray) -> None:
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
    with plant.admin.transaction():
        for n, row in enumerate(values.tolist()):
            plant.says(model, TYPE, f"m{n % 60}", noon + dt.timedelta(seconds=n), inputs=row, label="none")


def test_inputs_that_are_not_those_of_training_are_drift(admin, dashboard, plant) -> None:
    random = np.random.default_rng(0)
    taught = random.normal(50.0, 5.0, (2_000, 1))
    model = plant.model(failure_type(), training={"inputs": described(("heat.last",), taught)})
    last = last_day(admin)
    days_inputs(plant, model, last - dt.timedelta(days=1), random.normal(50.0, 5.0, (300, 1)))
    assert monitored(admin).days == 1
    days_inputs(plant, model, last, random.normal(70.0, 5.0, (600, 1)))

    found = monitored(admin, lambda version, _: (version.model_id, False))

    assert found.days == 1
    assert [each.reason.split(" ")[:4] for each in found.triggers] == [["inputs:", "psi", "of", "heat.last"]]
    rows = dashboard.execute(
        "SELECT model_id, feature, inputs, machines, reference, psi > 0.25 FROM dashboard.model_drift ORDER BY day"
    ).fetchall()
    assert rows == [(model, "heat.last", 300, 60, "training", False), (model, "heat.last", 600, 60, "training", True)]
    assert monitored(admin).days == 0


def test_without_inputs_of_training_the_first_day_with_enough_is_the_reference(admin, dashboard, plant) -> None:
    model = plant.model(failure_type())
    last = last_day(admin)
    random = np.random.default_rng(1)
    days_inputs(plant, model, last - dt.timedelta(days=2), random.normal(size=(FIRST_INPUTS - 1, 1)))
    days_inputs(plant, model, last - dt.timedelta(days=1), random.normal(size=(FIRST_INPUTS, 1)))
    days_inputs(plant, model, last, np.full((FIRST_INPUTS, 1), np.nan))

    assert monitored(admin, lambda version, _: (version.model_id, False)).days == 2

    origin = f"predictions of {last - dt.timedelta(days=1)}"
    rows = dashboard.execute("SELECT day, reference, psi > 0.25 FROM dashboard.model_drift ORDER BY day").fetchall()
    assert rows == [(last - dt.timedelta(days=1), origin, False), (last, origin, True)]


def test_of_many_predictions_a_part_is_looked_at_of_all_machines(admin, plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_drift, "MOST_ROWS", 200)
    values = np.arange(1_200.0).reshape(-1, 1)
    model = plant.model(failure_type(), training={"inputs": described(("heat.last",), values)})
    days_inputs(plant, model, last_day(admin), values)

    monitored(admin)

    ((inputs, machines, psi),) = admin.execute("SELECT inputs, machines, psi FROM model_drift").fetchall()
    assert 120 < inputs < 280
    assert machines > 45
    assert psi < 0.25
