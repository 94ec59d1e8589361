"""Every kind of trouble is noticed, and a fault that hit nothing is not counted."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.chaos.comparison import Compared, Comparison
from tests.chaos.faults import KINDS
from tests.chaos.figures import table
from tests.chaos.judging import judge
from tests.chaos.pool import End
from tests.chaos.report import Injected, Options, Report, by_kind, counted
from tests.chaos.side import SideReport


def fault(kind: str = "worker_kill", **more: Any) -> Injected:
    return Injected(1, kind, at_s=1.0, **{"ended_s": 2.0, "committed_s": 7.5, "caught_up_s": 8.0, **more})


def end(number: int, exit_code: int, *, had_begun: bool = True) -> End:
    return End("worker-001", number, exit_code, had_begun)


def comparison(**more: Any) -> Comparison:
    numbers = dict.fromkeys(("messages", "accepted", "garbage", "poisoned", "duplicates", "undecided"), 9)
    sound: dict[str, Any] = {"lost": 0, "doubled": 0, "skips": 0, "skips_otherwise": 0, "tables": {}, "seconds": 1.0}
    return Comparison(**numbers | sound | more)


def side(*wrong: str) -> SideReport:
    return SideReport(9, 9, 0, 0, 0, 1, 0, [], list(wrong))


def report(*faults: Injected, **more: Any) -> Report:
    sound: dict[str, Any] = {
        "ended": [], "stopped": [end(signal.SIGTERM, 0)], "catch_up_s": 1.0, "comparison": comparison(), "side": side(),
        "verified": {}, "seconds": 9.0, "trouble": [],
    }  # fmt: skip
    return Report(Options(1), list(faults), **sound | more)


def test_a_run_in_which_all_is_well_is_no_trouble() -> None:
    faults = [fault(kind) for kind in KINDS]

    assert list(judge(report(*faults))) == []


@pytest.mark.parametrize(
    ("number", "exit_code", "had_begun", "is_due"),
    [
        (signal.SIGTERM, 0, True, True),
        (signal.SIGTERM, -signal.SIGTERM, False, True),
        (signal.SIGTERM, -signal.SIGTERM, True, False),
        (signal.SIGTERM, 75, True, False),
        (signal.SIGTERM, 1, False, False),
        (signal.SIGTERM, -signal.SIGKILL, True, False),
        (signal.SIGKILL, -signal.SIGKILL, True, True),
        (signal.SIGKILL, 70, True, False),
        # By itself, before it was told
        (0, 0, True, False),
        (0, 75, True, False),
    ],
)
def test_how_a_worker_may_end(number: int, exit_code: int, had_begun: bool, is_due: bool) -> None:
    one = end(number, exit_code, had_begun=had_begun)

    found = list(judge(report(fault(ends=[end(signal.SIGTERM, 0), one]))))
    at_the_end = list(judge(report(stopped=[one])))

    assert (found == [], at_the_end == []) == (is_due, is_due)
    assert is_due or (f"exit code {exit_code}" in found[0] and "worker-001" in at_the_end[0])


def test_a_worker_that_ended_by_itself_is_trouble() -> None:
    how = "worker-003 ended by itself with exit code 75: no progress"

    assert list(judge(report(fault("database_stop"), ended=[how]))) == [how]


def test_a_fault_that_failed_is_trouble_once() -> None:
    failed = fault(error="TimeoutError: not within 120 s", committed_s=None, caught_up_s=None)

    assert list(judge(report(failed))) == ["fault 1 worker_kill: TimeoutError: not within 120 s"]


@pytest.mark.parametrize(
    ("kind", "limit_s"),
    [
        ("worker_kill", 10.0),
        ("worker_dies_inside", 10.0),
        *((kind, 15.0) for kind in KINDS if kind.startswith(("broker_", "database_"))),
        ("worker_freeze", None),
        ("topic_recreated", None),
    ],
)
def test_recovery_that_took_longer_than_promised_is_trouble(kind: str, limit_s: float | None) -> None:
    over_s = (limit_s or 40.0) + 0.1
    in_time, late = fault(kind, committed_s=limit_s or 40.0), fault(kind, committed_s=over_s)

    assert list(judge(report(in_time))) == []
    assert bool(list(judge(report(late)))) == (limit_s is not None)
    assert list(judge(report(fault(kind, committed_s=over_s, disturbed=True)))) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_never_recovered_is_trouble_if_nothing_disturbed_it(kind: str) -> None:
    no_commit, behind = fault(kind, committed_s=None, caught_up_s=None), fault(kind, caught_up_s=None)

    assert ["no commit" in text for text in judge(report(no_commit))] == [True]
    assert ["not caught up" in text for text in judge(report(behind))] == [True]
    assert list(judge(report(fault(kind, committed_s=None, caught_up_s=None, disturbed=True)))) == []


@pytest.mark.parametrize(
    "wrong",
    [{"lost": 1}, {"doubled": 1}, {"tables": {"event": Compared(9, {"changed": 1}, ["changed 0:1:0"])}}],
)
def test_tables_that_differ_are_trouble(wrong: dict[str, Any]) -> None:
    assert list(judge(report(comparison=comparison(**wrong)))) == ["the tables differ from the ledger"]


def test_the_side_topics_trouble_is_the_runs() -> None:
    assert list(judge(report(side=side("doubled: 1")))) == ["doubled: 1"]


def test_no_more_records_may_be_set_aside_than_were_poisoned() -> None:
    poisoned = [fault("fold_fails_for_ever"), fault("fold_fails_for_ever"), fault("fold_fails_once")]

    assert list(judge(report(*poisoned, comparison=comparison(skips=2)))) == []
    (found,) = judge(report(*poisoned, comparison=comparison(skips=3)))
    assert found == "3 records were set aside, of which faults poisoned at most 2"


def test_a_record_may_be_set_aside_only_because_the_fold_failed() -> None:
    (found,) = judge(report(fault("fold_fails_for_ever"), comparison=comparison(skips=1, skips_otherwise=1)))

    assert "for another reason" in found


def test_a_fault_without_effect_is_shown_and_not_counted() -> None:
    hit, missed, at_work = fault(), fault(without_effect=True, committed_s=0.1), fault(ended_s=None)

    assert counted([hit, missed, at_work]) == [hit]
    kill = by_kind([hit, missed])["worker_kill"]
    assert (kill["count"], kill["without_effect"], kill["alone"]) == (1, 1, 1)
    assert kill["commits_again_s"] == {"p50": 7.5, "max": 7.5}
    assert report(hit, missed).summary["without_effect"] == 1
    assert "1 faults, and 1 without effect" in table(report(hit, missed))
    assert "WITHOUT EFFECT" in str(missed)
    assert "WITHOUT EFFECT" not in str(hit)
