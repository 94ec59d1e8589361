"""Laws of monitoring: sums add up in any order, labels are those of a plain count, distributions know no order."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pipeline.modelling.monitoring.input_drift import BINS, Reference, by_chance, counted, described, stability_index
from pipeline.modelling.monitoring.labels import HOUR_MS, EndedLife, Said, Sums, judged, remaining_ms
from pipeline.modelling.monitoring.trigger import Limits, reasons
from pipeline.store.model_drift import Drift
from pipeline.store.model_quality import Quality
from tests.core.prognosis.models_in_force import maintenance_class, remaining_life
from tests.modelling.monitored import at, failure_type

LIMITS = Limits(least_labels=20, least_inputs=1_000, rmse_factor=1.5, coverage_drop=0.1, score_drop=0.1, psi=0.25)
VALUES = st.lists(st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=60)
FEW = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3_600_000)), max_size=12, unique_by=lambda each: each[0])


def life(cycles: list[tuple[int, int]], failed: str | None) -> EndedLife:
    ordered = sorted(cycles)
    return EndedLife(
        failed,
        np.array([end * HOUR_MS for end, _ in ordered], np.int64),
        np.array([length for _, length in ordered], np.int64),
    )


def said(times: list[int], value: float = 3.0, label: str = "seal") -> Said:
    n = len(times)
    values = np.full(n, value)
    return Said(np.array(times, np.int64) * HOUR_MS, values, values - 1, values + 1, [label] * n)


@given(FEW, st.lists(st.integers(-3, 45), max_size=10))
def test_remaining_life_is_what_the_later_cycles_took(cycles, times) -> None:
    found = remaining_ms(life(cycles, "seal"), np.array(times, np.int64) * HOUR_MS)

    for time, left in zip(times, found.tolist(), strict=True):
        if any(end <= time for end, _ in cycles):
            assert left == sum(length for end, length in cycles if end > time)
        else:
            assert math.isnan(left)


@given(FEW, st.lists(st.integers(-3, 45), max_size=10), st.sampled_from(["seal", "belt", None]))
def test_types_of_failure_are_those_of_a_plain_count(cycles, times, failed) -> None:
    expected: dict[str, int] = {}
    for time in times:
        later = sum(end > time for end, _ in cycles)
        if len(cycles) == later:
            continue
        truth = "none"
        if later <= 7 and failed is not None:
            truth = failed if later else ""
        elif later < 7:
            truth = ""
        if truth:
            expected[truth] = expected.get(truth, 0) + 1

    found = judged(failure_type(), said(times), life(cycles, failed))

    assert {each.truth: each.predictions for each in found} == expected


@given(FEW, st.lists(st.integers(0, 45), min_size=1, max_size=10), st.integers(0, 10), st.booleans())
def test_sums_of_parts_in_any_order_are_those_of_the_whole(cycles, times, cut, fails) -> None:
    ended = life(cycles, "seal" if fails else None)
    parts = [
        each for some in (times[cut:], times[:cut]) if some for each in judged(remaining_life(), said(some), ended)
    ]

    whole = judged(remaining_life(), said(times), ended)

    assert len(whole) <= 1
    for name in Sums._fields[3:]:
        total = math.fsum(getattr(each, name) for each in parts)
        assert total == pytest.approx(math.fsum(getattr(each, name) for each in whole))


def test_errors_count_up_to_the_horizon_and_intervals_by_the_truth_itself() -> None:
    model = remaining_life()
    far = int(model.horizon) + 100
    ended = EndedLife("seal", np.array([0, far]) * HOUR_MS, np.array([0, far]) * HOUR_MS)

    (found,) = judged(model, said([0], value=model.horizon + 5), ended)

    assert found == Sums("failure", "", "", 1, 0.0, 0.0, 0.0, 0)
    assert judged(maintenance_class(1.0), said([0]), ended) == []


@given(VALUES, VALUES, st.randoms(use_true_random=False))
def test_counts_of_days_add_up_in_any_order_and_lose_nothing(first, second, random) -> None:
    reference = Reference.of(np.array(first, np.float64))
    both = [*first, *second]
    random.shuffle(both)

    total = counted(reference.edges, np.array(first)) + counted(reference.edges, np.array(second))

    assert total.tolist() == counted(reference.edges, np.array(both)).tolist()
    assert len(total) == BINS + 1
    assert total.sum() == len(both)
    assert total[0] == sum(not math.isfinite(each) for each in both)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=12), st.integers(1, 1_000))
def test_the_index_is_nothing_for_equal_counts_never_negative_and_the_same_both_ways(counts, factor) -> None:
    other = [each * factor for each in reversed(counts)]

    assert stability_index(counts, counts) == 0.0
    assert stability_index(counts, other) >= 0.0
    assert stability_index(counts, other) == pytest.approx(stability_index(other, counts))


def test_a_shift_by_one_deviation_is_drift_and_another_sample_is_none() -> None:
    random = np.random.default_rng(0)
    reference = Reference.of(random.normal(size=5_000))

    same, moved, gone = (
        stability_index(reference.counts, counted(reference.edges, values))
        for values in (random.normal(size=2_000), random.normal(1.0, size=2_000), np.full(2_000, np.nan))
    )

    assert same < 0.02
    assert moved > 0.25
    assert gone > 1.0


@given(VALUES)
def test_what_training_tells_is_read_as_it_was(values) -> None:
    rows = np.array(values, np.float64).reshape(-1, 1)
    told = described(["heat"], rows)["heat"]

    found = Reference.read(told)

    assert (found is None) == (not values)
    if found is not None:
        assert found.described() == {name: told[name] for name in ("edges", "counts")}


@pytest.mark.parametrize(
    "told",
    [None, {}, [], "x", {"edges": [1.0]}, {"edges": [0.0] * 9, "counts": [1] * 10}, {"edges": [0.0] * 9, "counts": [0] * 11},
     {"edges": [None] * 9, "counts": [1] * 11}, {"edges": [*range(9, 0, -1)], "counts": [1] * 11},
     {"edges": [0.0] * 9, "counts": [-1, 2, *[0] * 9]}],
)  # fmt: skip
def test_what_is_no_distribution_is_none(told) -> None:
    assert Reference.read(told) is None


def measured(kind: str, **figures: float) -> Quality:
    nothing = dict.fromkeys(("rmse", "mae", "bias", "coverage", "accuracy", "f1", "rules_accuracy"))
    whole = {"labels": 20, "predictions": 99, "censored": 0, "contradicted": 0} | nothing | figures
    return Quality(model_id=1, kind=kind, machine_type="press", version=1, newest=at(0.0), **whole)


@pytest.mark.parametrize(
    ("quality", "metrics", "coverage", "told"),
    [
        (measured("remaining_life", rmse=1.51), {"test": {"rmse": 1.0}}, 0.9, ["rmse 1.510 > 1.5 * 1.000"]),
        (measured("remaining_life", rmse=1.5, coverage=0.8), {"test": {"rmse": 1.0}}, 0.9, []),
        (measured("remaining_life", coverage=0.79), {}, 0.9, ["coverage 0.790 < 0.9 - 0.1"]),
        (measured("remaining_life", coverage=0.1, labels=19), {}, 0.9, []),
        (measured("remaining_life", rmse=9.0), {"test": {"rmse": None}, "prequential": "?"}, 0.9, []),
        (measured("failure_type", f1=0.59, accuracy=0.0),
         {"test": {"accuracy": 1.0, "modes": {"seal": {"f1": 0.7, "rows": 3}, "belt": {"f1": 0.0, "rows": 0}}}}, None,
         ["f1 0.590 < 0.700 - 0.1"]),
        (measured("maintenance_class", accuracy=0.5, f1=0.0), {"prequential": {"accuracy": 0.75}}, None,
         ["accuracy 0.500 < 0.750 - 0.1"]),
        (None, {"test": {"rmse": 1.0}}, 0.9, []),
    ],
)  # fmt: skip
def test_a_model_is_learned_anew_for_what_got_worse_than_it_was_measured(quality, metrics, coverage, told) -> None:
    assert reasons(quality, [], metrics, coverage, LIMITS) == told


@pytest.mark.parametrize(
    ("feature", "psi", "machines", "inputs", "is_told"),
    [("heat.last", 0.6, 100, 1_000, True), ("heat.last", 0.24, 10**6, 1_000, False), ("heat.last", 0.6, 100, 999, False),
     ("heat.last", 0.6, 50, 1_000, False), ("age", 9.0, 10**6, 1_000, False), ("log_age", 9.0, 10**6, 1_000, False)],
)  # fmt: skip
def test_inputs_are_a_reason_if_they_moved_further_than_chance_moves_them(
    feature, psi, machines, inputs, is_told
) -> None:
    drift = Drift(1, feature, at(0.0).date(), psi, by_chance(100, machines), inputs, machines)

    assert bool(reasons(None, [drift], {}, None, LIMITS)) == is_told


def test_machines_of_one_kind_that_wear_at_random_hardly_ever_exceed_what_chance_comes_to() -> None:
    random = np.random.default_rng(0)

    def worn(machines: int) -> np.ndarray:
        return (random.normal(size=(machines, 1)) + random.normal(0.0, 0.3, (machines, 50))).ravel()

    exceeded = 0
    for _ in range(200):
        reference = Reference.of(worn(40))
        exceeded += stability_index(reference.counts, counted(reference.edges, worn(30))) > by_chance(40, 30)

    assert exceeded <= 2
