"""One detector over rows (R33): the scores are those of the estimators, wherever the rows are cut into batches."""

from __future__ import annotations

import math
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings

from pipeline.core.detectors.catalogue import BY_NAME
from pipeline.core.detectors.changes import ChangeDetector
from pipeline.core.detectors.configuration import Choice, DetectorRules
from pipeline.core.detectors.machine_detector import MultivariateDetector
from pipeline.core.detectors.multivariate import MultivariateRules
from pipeline.core.detectors.scoring import BankScorer, Scores, SpikeScorer
from pipeline.core.detectors.stuck import StuckDetector
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.spikes import SpikeDetector, SpikeRules
from pipeline.core.state import PartitionState

NAMES = ("a", "b", "c")
QUICK = {"warm_up": 20, "calm": 2, "refractory_ms": 0}
RULES = DetectorRules(
    choices=(
        Choice("change", threshold=4.0, parameters=QUICK),
        Choice("stuck", threshold=2.0, parameters=QUICK),
        Choice("novelty", threshold=0.1, parameters=QUICK),
        Choice("mixture"),
        Choice("multivariate", threshold=3.0, parameters=QUICK),
    )
)
SCORED_BY = (*BY_NAME, "spike")


def table(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of three columns: a step in one, one that sticks, one that comes late and is missing at times."""
    random = np.random.default_rng(5)
    values = random.normal(size=(rows, 3)) + random.normal(size=(rows, 1))
    values[150:, 0] += 8.0
    values[200:, 1] = 3.0
    values[:30, 2] = math.nan
    values[100:110] = math.nan
    values[random.random(rows) < 0.1, 2] = math.nan
    return 1_790_000_000_000 + 1000 * np.arange(rows), values


TIMES_MS, VALUES = table()


def scorer(name: str) -> BankScorer | SpikeScorer:
    return SpikeScorer(SpikeRules(), 3) if name == "spike" else BankScorer(BY_NAME[name], RULES, NAMES)


def scored(name: str, cuts: list[int]) -> Scores:
    """Scores of the table, cut into batches."""
    by = scorer(name)
    edges = sorted({0, *cuts, len(TIMES_MS)})
    parts = [by.score(TIMES_MS[begin:end], VALUES[begin:end]) for begin, end in pairwise(edges)]
    return Scores(*(np.concatenate(each) for each in zip(*parts, strict=True)))


WHOLE = {name: scored(name, []) for name in SCORED_BY}


@pytest.mark.parametrize("name", SCORED_BY)
def test_rows_with_a_reading_have_a_finite_score_and_the_others_none(name: str) -> None:
    there = ~np.isnan(VALUES).all(axis=1)

    assert np.isfinite(WHOLE[name].scores[there]).all()
    assert (WHOLE[name].scores[there] >= 0).all()
    assert np.isnan(WHOLE[name].scores[~there]).all()
    assert WHOLE[name].anomalies.any()
    assert not WHOLE[name].anomalies[~there].any()


@settings(max_examples=20)
@example([1, 2, 3, 105])
@given(st.lists(st.integers(1, 299), max_size=5))
def test_scores_do_not_depend_on_where_the_rows_are_cut(cuts: list[int]) -> None:
    for name, whole in WHOLE.items():
        found = scored(name, cuts)
        np.testing.assert_array_equal(found.scores, whole.scores)
        np.testing.assert_array_equal(found.anomalies, whole.anomalies)


@pytest.mark.parametrize("name", BY_NAME)
def test_anomalies_begin_where_a_workers_fold_finds_them_and_last_while_they_do(name: str) -> None:
    records = [
        Record(n, int(at), message(n, int(at), row))
        for n, (at, row) in enumerate(zip(TIMES_MS, VALUES, strict=True))
        if not np.isnan(row).all()
    ]
    batch = RecordBatch(SourcePartition("t", 0), "", 0, len(TIMES_MS), records)

    told = fold(PartitionState(), batch, FoldRules(detectors=RULES), Marks()).anomalies

    begins, odd = WHOLE[name].begins, WHOLE[name].anomalies
    assert np.flatnonzero(begins).tolist() == sorted({each.offset for each in told if each.detector[0] == name})
    assert odd[begins].all()
    assert odd.sum() > begins.sum() or name in {"mixture", "novelty"}


def message(seq: int, at_ms: int, values: np.ndarray) -> bytes:
    """The row as a message of a machine."""
    readings = {name: value for name, value in zip(NAMES, values.tolist(), strict=True) if not math.isnan(value)}
    who = {"type": "machine", "factory_id": "f", "machine_id": "m", "machine_type": "t", "seq": seq}
    return orjson.dumps(who | {"time": f"{np.datetime64(at_ms, 'ms')}Z", "readings": readings})


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("change", lambda: ChangeDetector(RULES.variant(BY_NAME["change"], "", "a").rules)),
        ("stuck", lambda: StuckDetector(RULES.variant(BY_NAME["stuck"], "", "a").rules)),
        ("spike", SpikeDetector),
    ],
)
def test_a_row_has_the_largest_score_of_its_columns_by_the_estimators(name: str, estimator) -> None:
    columns = [estimator() for _ in NAMES]
    expected = []
    for time_ms, row in zip(TIMES_MS.tolist(), VALUES.tolist(), strict=True):
        scores = [math.nan]
        for each, value in zip(columns, row, strict=True):
            if not math.isnan(value):
                x = {"x": value} if name == "spike" else {"x": value, "time_ms": time_ms}
                scores.append(each.score_one(x))
                each.learn_one(x)
        expected.append(max(scores[1:], default=math.nan))

    np.testing.assert_array_equal(WHOLE[name].scores, expected)


def test_a_machine_has_the_score_of_the_estimator() -> None:
    detector = MultivariateDetector(RULES.variant(BY_NAME["multivariate"], "", "").rules)
    assert isinstance(detector.rules, MultivariateRules)
    expected = []
    for time_ms, row in zip(TIMES_MS.tolist(), VALUES.tolist(), strict=True):
        x = {name: value for name, value in zip(NAMES, row, strict=True) if not math.isnan(value)}
        expected.append(detector.score_one(x | {"time_ms": time_ms}) if x else math.nan)
        if x:
            detector.learn_one(x | {"time_ms": time_ms})

    np.testing.assert_array_equal(WHOLE["multivariate"].scores, expected)


@pytest.mark.parametrize("name", SCORED_BY)
def test_huge_values_and_times_that_stand_still_or_run_back_give_finite_scores(name: str) -> None:
    random = np.random.default_rng(3)
    values = random.normal(size=(200, 3))
    values[60::7] = 1e140
    values[64::11] = -1e140
    times_ms = np.concatenate([np.zeros(100, np.int64), 10**12 - np.arange(100) * 10**9])

    assert np.isfinite(scorer(name).score(times_ms, values).scores).all()


@pytest.mark.parametrize("name", SCORED_BY)
def test_no_rows_have_no_scores(name: str) -> None:
    found = scorer(name).score(np.empty(0, np.int64), np.empty((0, 3)))

    assert (len(found.scores), len(found.anomalies)) == (0, 0)
