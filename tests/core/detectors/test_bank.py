"""All detectors over a partition (R21, R23, R28, R29): the laws of the fold hold for them, and a configuration can change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from pipeline.core.anomalies import Anomaly
from pipeline.core.detectors import policy, pool
from pipeline.core.detectors.bank import DetectorBank
from pipeline.core.detectors.catalogue import CHANGE, DETECTORS, Detector
from pipeline.core.detectors.census import Census
from pipeline.core.detectors.changes import ChangeDetector
from pipeline.core.detectors.configuration import Choice, DetectorRules, all_on
from pipeline.core.detectors.machine_state import WIDTH
from pipeline.core.errors import SettingsError
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from tables import snapshots
from tests.core.detectors.streams import QUICK, RULES, stream

SOURCE = SourcePartition("t", 0)
RECORDS = stream()


def folded(
    rules: DetectorRules, cuts: Sequence[int] = (), *, restart: bool = False, records: Sequence[Record] = RECORDS
) -> tuple[list[Anomaly], PartitionState]:
    """Return the anomalies of the stream, folded in pieces; with a snapshot that is read again between two of them."""
    state, found = PartitionState(), []
    edges = sorted({0, len(records), *cuts})
    for first, end in pairwise(edges):
        batch = RecordBatch(SOURCE, "", first, end, records[first:end])
        found += fold(state, batch, FoldRules(detectors=rules), Marks()).anomalies
        if restart:
            state.forget_deltas(30_000)
            state = snapshots.decode(snapshots.encode(state.to_arrays())[0])
    return found, state


WHOLE = folded(RULES)[0]


def test_every_detector_finds_something_in_the_stream_that_the_laws_are_tested_with() -> None:
    assert {each.detector[0] for each in WHOLE} >= {each.name for each in DETECTORS}
    assert all(math.isfinite(value) for each in WHOLE for value in (each.value, each.expected, each.score))


@settings(max_examples=15)
@example([1, 2, 3, 200], True)
@given(st.lists(st.integers(1, 399), max_size=6), st.booleans())
def test_alarms_do_not_depend_on_where_batches_are_cut_and_a_worker_starts_again(
    cuts: list[int], restart: bool
) -> None:
    assert folded(RULES, cuts, restart=restart)[0] == WHOLE


def test_a_sensor_in_the_bank_is_scored_as_by_the_estimator() -> None:
    """The estimator and the policy alone, over one sensor, raise the same alarms with the same scores."""
    variant = RULES.variant(CHANGE, "press", "temperature")
    detector, state = ChangeDetector(variant.rules), np.zeros(1, policy.STATE)
    alone = np.zeros(1, pool.STATE)
    expected = []
    for record in RECORDS[::3]:
        time_ms, text = record.timestamp, record.value.decode()
        value = float(text.partition('"temperature":')[2].partition(",")[0].rstrip("}"))
        score = detector.score_one({"temperature": value, "time_ms": time_ms})
        if policy.decide(state[0], alone[0], variant.alarms, time_ms, score):
            expected.append((record.offset, score))
        detector.learn_one({"temperature": value, "time_ms": time_ms})

    found = [each for each in WHOLE if (each.machine_id, each.sensor) == ("m0", "temperature")]
    assert expected
    assert [(each.offset, each.score) for each in found if each.kind == "change_point"] == expected


def test_another_configuration_is_another_version_that_warms_up_while_what_stayed_the_same_goes_on() -> None:
    other = DetectorRules(
        choices=(Choice("change", sensors=("temperature",), threshold=4.5, parameters=QUICK), *RULES.choices)
    )
    _, state = folded(RULES)
    before = {name: array.copy() for name, array in state.detectors.to_arrays().items() if name.endswith("_states")}
    versions = {each.sensor: each.detector[1] for each in WHOLE if each.kind == "change_point"}

    state.detectors.adopt(other, state.census())

    after = state.detectors.to_arrays()
    again = np.array([name == "temperature" for name in state.sensor_names])
    assert (after["change_states"]["seen"][again] == 0).all()
    assert (after["change_states"][~again] == before["change_states"][~again]).all()
    assert (after["stuck_states"] == before["stuck_states"]).all()
    assert (after["multivariate_states"] == before["multivariate_states"]).all()
    found, _ = folded(other)
    others = {each.sensor: each.detector[1] for each in found if each.kind == "change_point"}
    assert others["temperature"] != versions["temperature"]


def test_a_detector_that_is_switched_off_finds_nothing_and_begins_anew_when_it_is_on_again() -> None:
    off = DetectorRules(choices=(Choice("change", is_on=False), *RULES.choices))
    found, state = folded(off)
    assert "change_point" not in {each.kind for each in found}
    assert [each for each in WHOLE if each.kind != "change_point"] == found

    state.detectors.adopt(RULES, state.census())

    assert (state.detectors.to_arrays()["change_states"]["seen"] == 0).all()


def test_records_of_another_version_are_not_taken_for_this_ones() -> None:
    _, state = folded(RULES)
    arrays = state.detectors.to_arrays()
    arrays["change_states"] = np.zeros(len(arrays["change_states"]), [("mean", np.float64)])
    bank = DetectorBank()

    bank.load(arrays)
    bank.adopt(RULES, state.census())

    after = bank.to_arrays()
    assert (after["change_states"]["seen"] == 0).all()
    assert (after["stuck_states"] == arrays["stuck_states"]).all()


def test_a_snapshot_of_a_version_that_kept_more_is_taken_over() -> None:
    _, state = folded(RULES)
    arrays = state.detectors.to_arrays()
    more = arrays | {"mixture_policies": np.zeros(len(arrays["mixture_states"]), policy.STATE)}
    bank = DetectorBank()

    bank.load(more)
    bank.adopt(RULES, state.census())

    after = bank.to_arrays()
    assert after.keys() == arrays.keys()
    assert all((after[f"{each.name}_states"] == arrays[f"{each.name}_states"]).all() for each in DETECTORS)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdefghijkl")), unique=True), st.integers(1, 40))
def test_rows_and_columns_of_sensors_go_by_first_sight_however_many_come_at_once(
    sensors: list[tuple[int, str]], at_once: int
) -> None:
    rules = DetectorRules(
        ("change",), choices=(Choice("stuck", ("press",), ("a", "b")), Choice("multivariate", ("mill",)))
    )
    bank, types = DetectorBank(), ["press", "mill", "press"]
    for end in range(at_once, len(sensors) + at_once, at_once):
        owners = np.array([machine for machine, _ in sensors[:end]], np.int32)
        bank.adopt(rules, Census(types, [name for _, name in sensors[:end]], owners))

    parts = bank.parts()
    stuck = [slot for slot, (machine, name) in enumerate(sensors) if types[machine] == "press" and name in "ab"]
    assert parts.change.rows[: len(sensors)].tolist() == list(range(len(sensors)))
    assert np.flatnonzero(parts.stuck.rows[: len(sensors)] >= 0).tolist() == stuck
    assert parts.stuck.rows[stuck].tolist() == list(range(len(stuck)))
    for machine in {machine for machine, _ in sensors}:
        slots = [slot for slot, (owner, _) in enumerate(sensors) if owner == machine]
        assert parts.columns[slots].tolist() == list(range(len(slots)))
        assert bank.sensors_of(machine) == slots[:WIDTH]
        assert parts.multivariate.rows[machine] == (0 if types[machine] == "mill" else -1)


def test_the_defaults_have_the_versions_of_the_detectors_themselves() -> None:
    assert [all_on().variant(each, "press", "t").version for each in DETECTORS] == [each.version for each in DETECTORS]
    assert all_on(5.0).variant(CHANGE, "press", "t").version == CHANGE.version


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"detector": "chnage"}, "there is no detector 'chnage'; there are change"),
        ({"detector": "change", "parameters": {"fadign": 1.0}}, "'change' has no parameter 'fadign'"),
        (
            {"detector": "change", "parameters": {"fading": math.nan}},
            r"'fading' of the detector 'change' must be a number in \[1e-12, 0.999999\], not nan",
        ),
        (
            {"detector": "stuck", "parameters": {"block": 0}},
            r"'block' of the detector 'stuck' must be a whole number in \[10, ",
        ),
        ({"detector": "change", "parameters": {"warm_up": 20.5}}, "'warm_up' of the detector 'change' must be a whole"),
        ({"detector": "multivariate", "parameters": {"stale_after": 10**6}}, r"must be a whole number in \[1, 32767\]"),
        ({"detector": "stuck", "threshold": 0.0}, "threshold of the detector 'stuck' must be > 0"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Choice(**wrong)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda each: each.name)
def test_the_defaults_are_within_their_bounds(detector: Detector) -> None:
    defaults = detector.alarms._asdict() | detector.rules._asdict()

    assert Choice(detector.name, parameters={name: value for name, value in defaults.items() if name != "enough"})


def test_another_budget_forgets_nothing() -> None:
    one, other = (DetectorRules(("change", "stuck", "multivariate"), budget) for budget in (1.0, 0.25))
    _, state = folded(one)
    before = state.detectors.to_arrays()

    state.detectors.adopt(other, state.census())

    after = state.detectors.to_arrays()
    assert (after["pools"] == before["pools"]).all()
    for name in ("change", "stuck", "multivariate"):
        assert (after[f"{name}_states"] == before[f"{name}_states"]).all()
        assert (after[f"{name}_policies"] == before[f"{name}_policies"]).all()


@pytest.mark.parametrize("restart", [False, True])
def test_a_machine_that_says_another_type_later_is_looked_at_as_before(restart: bool) -> None:
    """Rules go by the type at first sight, whenever the state is kept and read again."""
    rules = DetectorRules(choices=(Choice("change", ("mill",), is_on=False), *RULES.choices))
    renamed = [
        Record(
            each.offset, each.timestamp, each.value.replace(b'"press"', b'"mill"') if each.offset > 150 else each.value
        )
        for each in RECORDS
    ]
    assert folded(rules, [100, 200, 300], restart=restart, records=renamed)[0] == WHOLE


BY_BUDGET = DetectorRules(
    ("change", "multivariate"),
    choices=tuple(Choice(name, parameters={"block": 10, "enough": 10, **QUICK}) for name in ("change", "stuck")),
)


def test_what_a_machines_scores_know_of_one_another_is_kept_over_a_restart() -> None:
    records = stream(1200)
    once, again = (folded(BY_BUDGET, [500, 900], restart=restart, records=records) for restart in (False, True))

    pools = once[1].detectors.to_arrays()["pools"]
    assert (pools["blocks"] > pool.FEW).all()
    assert (pools == again[1].detectors.to_arrays()["pools"]).all()
    assert once[0] == again[0] != []


def test_machines_learn_anew_what_their_scores_have_in_common_where_others_look_at_them() -> None:
    _, state = folded(BY_BUDGET, records=stream(1200))
    before = state.detectors.to_arrays()["pools"]
    fewer = DetectorRules((), choices=(Choice("change", sensors=("humidity",), is_on=False), *BY_BUDGET.choices))

    state.detectors.adopt(fewer, state.census())

    after = state.detectors.to_arrays()["pools"]
    assert (after["blocks"] == pool.FEW).all()
    assert (after["level"] == before["level"]).all()
