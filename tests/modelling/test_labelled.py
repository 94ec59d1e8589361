"""Lives, their ends and their labels, from cycles and maintenance records (R33)."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pipeline.modelling.classed import ClassedMessages, classed
from pipeline.modelling.labelled import LabelledLife, MachineCycles, Maintenance, in_order, lives_of
from pipeline.modelling.machine_split import is_judge


def cycles(*ends_ms: int, ages_h: list[float] | None = None) -> MachineCycles:
    ages = np.array(ages_h or range(1, 1 + len(ends_ms)), np.float64)
    return MachineCycles(np.array(ends_ms, np.int64), ages.reshape(-1, 1), ages)


def record(time_ms: int, kind: str = "failure", component: str = "seal", requirement: int = -1) -> Maintenance:
    return Maintenance("m", time_ms, kind, component, requirement)


def test_a_life_ends_in_failure_or_is_censored_as_its_record_says() -> None:
    known = [record(50, "unplanned"), record(30), record(70, "planned")]
    found = lives_of("m", cycles(10, 20, 40, 60, 80), known)

    assert [(life.ended_ms, life.failed, life.ends_ms.tolist()) for life in found] == [
        (30, "seal", [10, 20]),
        (50, None, [40]),
        (70, None, [60]),
        (80, None, [80]),
    ]


def test_a_cycle_that_ends_with_the_record_is_of_the_old_life_and_lives_without_cycles_are_none() -> None:
    found = lives_of("m", cycles(30, 31), [record(10), record(30), record(30, "planned"), record(99)])

    assert [(life.failed, life.ends_ms.tolist()) for life in found] == [("seal", [30]), ("seal", [31])]


def test_of_two_records_of_one_time_the_failure_counts() -> None:
    (life,) = lives_of("m", cycles(10), [record(20, "planned", "a"), record(20, "failure", "b")])

    assert life.failed == "b"


def test_that_somebody_looked_and_did_nothing_ends_no_life() -> None:
    (life,) = lives_of("m", cycles(10, 30), [record(20, "planned", requirement=0)])

    assert life.ends_ms.tolist() == [10, 30]


def test_operating_time_goes_on_where_an_age_began_anew_within_a_life() -> None:
    (life,) = lives_of("m", cycles(1, 2, 3, 4, ages_h=[5.0, 6.0, 0.5, 1.5]), [record(9)])

    assert life.remaining_h.tolist() == [2.5, 1.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("between_ms", "expected"),
    [
        ((15, 2**60), [("seal", [20]), (None, [40])]),
        ((0, 30), [(None, [10, 20])]),
        ((0, 31), [("seal", [10, 20])]),
        ((50, 60), []),
    ],
)
def test_what_is_outside_the_bounds_is_not_known(between_ms, expected) -> None:
    found = lives_of("m", cycles(10, 20, 40), [record(30)], between_ms)

    assert [(life.failed, life.ends_ms.tolist()) for life in found] == expected


@given(st.sets(st.integers(0, 60), min_size=1), st.lists(st.integers(0, 60), max_size=8))
def test_every_cycle_is_of_one_life_and_nothing_remains_at_the_end(ends: set[int], repairs: list[int]) -> None:
    found = lives_of("m", cycles(*sorted(ends)), [record(each) for each in repairs])

    assert [each for life in found for each in life.ends_ms.tolist()] == sorted(ends)
    for life in found:
        assert life.remaining_h[-1] == 0.0
        assert (np.diff(life.operated_h) >= 0.0).all()
        assert (life.ends_ms <= life.ended_ms).all()


def test_lives_are_learned_by_their_ends_then_by_machine() -> None:
    nothing = np.zeros(1)
    lives = [
        LabelledLife(machine, ended_ms, None, nothing.astype(np.int64), nothing.reshape(1, 1), nothing)
        for machine, ended_ms in (("b", 5), ("a", 9), ("a", 5))
    ]
    assert [(life.machine_id, life.ended_ms) for life in in_order(lives)] == [("a", 5), ("b", 5), ("a", 9)]


def test_one_machine_in_five_judges() -> None:
    judges = sum(is_judge(f"machine-{number}") for number in range(5000))

    assert 900 < judges < 1100


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 99))), st.sets(st.integers(0, 30)))
def test_a_class_is_of_the_newest_message_before_its_record(sent: list[tuple[int, int]], said: set[int]) -> None:
    newest = ClassedMessages([record(at_ms, requirement=at_ms % 6) for at_ms in said])
    for at_ms, body in sent if said else ():
        newest.take("m", at_ms, b"%d" % body)

    expected = []
    for at_ms in sorted(said):
        before = [each for each in enumerate(sent) if each[1][0] <= at_ms]
        if before:
            expected.append((at_ms, b"%d" % max(before, key=lambda each: (each[1][0], each[0]))[1][1]))
    assert [(found.time_ms, body) for found, body in newest.labelled()] == expected


def test_nobody_is_labelled_by_records_without_a_class() -> None:
    assert ClassedMessages([record(1)]).machines == frozenset()
    assert classed([], ["a"]).rows.shape == (0, 1)
