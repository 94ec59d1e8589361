"""R28: any River model as a detector, by its import path: the laws of the fold hold, and nothing else is called."""

from __future__ import annotations

import os
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pipeline.core.anomalies import Anomaly
from pipeline.core.detectors.configuration import Choice, DetectorRules
from pipeline.core.detectors.models import SensorModel
from pipeline.core.errors import SettingsError
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from tables import snapshots
from tests.core.detectors.streams import stream

RECORDS = stream()
TREES, GAUSSIAN, ADWIN = "river.anomaly.HalfSpaceTrees", "river.anomaly.GaussianScorer", "river.drift.ADWIN"
ABSOLUTE = "river.anomaly.StandardAbsoluteDeviation"
RULES = DetectorRules(
    choices=(
        Choice(GAUSSIAN, sensors=("temperature",), threshold=0.999, parameters={"grace_period": 20, "calm": 2}),
        Choice(ADWIN, sensors=("press*",), threshold=0.5, parameters={"delta": 0.1, "calm": 1, "refractory_ms": 0}),
        Choice(ABSOLUTE, sensors=("pressure",), threshold=2.5, parameters={"calm": 1, "refractory_ms": 0}),
        Choice(
            TREES, ("pr?ss",), ("humidity",), parameters={"n_trees": 3, "height": 4, "window_size": 20, "enough": 10}
        ),
        Choice(TREES, ("mill",), ("temperature",)),
    )
)


def folded(rules: DetectorRules, edges: list[int], *, restart: bool = False) -> tuple[list[Anomaly], PartitionState]:
    state, found = PartitionState(), []
    for first, end in pairwise(edges):
        batch = RecordBatch(SourcePartition("t", 0), "", first, end, RECORDS[first:end])
        found += [
            each
            for each in fold(state, batch, FoldRules(detectors=rules), Marks()).anomalies
            if each.detector[0].startswith("river.")
        ]
        if restart:
            state.forget_deltas(30_000)
            state = snapshots.decode(snapshots.encode(state.to_arrays())[0])
    return found, state


WHOLE = folded(RULES, [0, 400])[0]


def test_a_model_is_born_where_a_choice_fits_and_finds_something() -> None:
    found = {(each.detector[0], each.sensor, each.kind) for each in WHOLE}

    assert (GAUSSIAN, "temperature", "GaussianScorer") in found
    assert (ABSOLUTE, "pressure", "StandardAbsoluteDeviation") in found
    assert {sensor for path, sensor, _ in found if path == TREES} <= {"humidity"}
    assert [(each.offset, each.index) for each in WHOLE] == sorted((each.offset, each.index) for each in WHOLE)


@pytest.mark.parametrize("edges", [[0, 1, 2, 150, 151, 400], list(range(0, 401, 50))])
@pytest.mark.parametrize("restart", [False, True])
def test_models_find_the_same_wherever_batches_are_cut_and_a_worker_starts_again(
    edges: list[int], restart: bool
) -> None:
    assert folded(RULES, edges, restart=restart)[0] == WHOLE


def test_a_model_with_other_parameters_begins_anew_under_another_version_and_the_others_go_on() -> None:
    other = DetectorRules(
        choices=(Choice(ADWIN, sensors=("press*",), threshold=0.5, parameters={"delta": 0.2}), *RULES.choices)
    )
    _, state = folded(RULES, [0, 399])
    before = {key: kept for _, key, kept in state.models.to_plain()}
    batch = RecordBatch(SourcePartition("t", 0), "", 399, 400, RECORDS[399:])

    fold(state, batch, FoldRules(detectors=other), Marks())

    after = {key for _, key, _ in state.models.to_plain()}
    assert len(after - before.keys()) == 1
    (new,) = after - before.keys()
    assert ADWIN in new
    one, two = (SensorModel(ADWIN, {"delta": delta}, 0.5, 1.0).version for delta in (0.1, 0.2))
    assert one != two


def test_a_model_that_cannot_score_yet_scores_0_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_soon(*_: Any) -> float:
        raise IndexError("nothing was learned yet")

    model = SensorModel(ABSOLUTE, {}, 2.5, 1.0)
    with monkeypatch.context() as broken:
        broken.setattr("river.anomaly.StandardAbsoluteDeviation.score_one", too_soon)
        assert [model.observe("t", 0, value)[0] for value in (1.0, 2.0, 3.0)] == [0.0, 0.0, 0.0]

    assert model.observe("t", 0, 50.0)[0] > 2.5


def test_a_drift_detector_finds_where_the_level_changed() -> None:
    model = SensorModel(ADWIN, {}, 0.5, 1.0)
    random = np.random.default_rng(1)

    begins = [
        model.observe("t", n, value)[1] for n, value in enumerate([*random.normal(0, 1, 300), *random.normal(9, 1, 60)])
    ]

    assert not any(begins[:300])
    assert any(begins[300:])


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"detector": "river.anomaly.Nothing"}, "there is no model 'river.anomaly.Nothing'"),
        ({"detector": "river.linear_model.LinearRegression"}, "neither an anomaly detector nor a drift detector"),
        ({"detector": TREES, "parameters": {"trees": 3}}, "is not made from {'trees': 3"),
        ({"detector": "river.drift.PageHinkley"}, "cannot be kept over a restart"),
    ],
)
def test_a_model_that_cannot_be_is_refused_in_words(choice: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Choice(**choice)


class _Evil:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self._what = call, arguments

    def __reduce__(self) -> Any:
        return self._what


@pytest.mark.parametrize("call", [os.system, eval, getattr, np.load])
def test_a_snapshot_calls_nothing_that_is_no_part_of_a_model(call: Any) -> None:
    state = pickle.dumps((_Evil(call, "true"), b""))

    with pytest.raises(pickle.UnpicklingError, match="is no part of a model"):
        SensorModel(ADWIN, {}, None, 1.0).load(state)


def test_a_snapshot_reaches_nothing_through_the_modules_of_river() -> None:
    # As pickle has it: the global "importlib.import_module" of the module "river.base.base"
    state = b"\x80\x04\x8c\x0friver.base.base\x8c\x07inspect\x93."

    with pytest.raises(pickle.UnpicklingError, match="is no part of a model"):
        SensorModel(ADWIN, {}, None, 1.0).load(state)
