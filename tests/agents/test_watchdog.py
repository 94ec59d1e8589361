"""What counts as standing still, and who is to blame for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from agents.watchdog import STOP_S, Part, Sight, Standing, Subject, Watch, Watchdog
from pipeline.core.records import SourcePartition

A, B = SourcePartition("t", 0), SourcePartition("t", 1)
STEP_S, LIMIT_S = 1.0, 12.0


@dataclass
class Worker:
    """A worker as the watchdog sees it; tests change it between two looks."""

    beats: int = 1
    refusals: int = 0
    stopping: bool = False
    assigned: set[SourcePartition] = field(default_factory=lambda: {A})
    held: dict[SourcePartition, Standing] = field(default_factory=lambda: {A: Standing(5, 5, 5)})
    ends: dict[SourcePartition, int] | None = field(default_factory=lambda: {A: 9, B: 9})
    blocked: bool = False
    now: float = 100.0
    excuses: dict[Subject, str] = field(default_factory=dict)
    ended: str | None = None

    def __post_init__(self) -> None:
        self.watch = Watch(LIMIT_S)
        self.watchdog = Watchdog(self.watch, self, lambda: self.now)

    def sight(self) -> Sight:
        self.beats += not self.blocked
        return Sight(self.beats, self.refusals, self.stopping, frozenset(self.assigned), dict(self.held), self.ends)

    def excuse(self, subject: Subject, sight: Sight) -> str | None:
        return self.excuses.get(subject)

    def end(self, reason: str) -> None:
        self.ended = reason

    def live(self, seconds: float) -> str | None:
        """Let time pass; return why the watchdog ended the worker, if it did."""
        until = self.now + seconds
        while self.now < until and self.ended is None:
            self.now += STEP_S
            self.watchdog.look()
        return self.ended


def test_an_owned_partition_with_lag_that_does_not_move_ends_the_worker_after_the_limit() -> None:
    worker = Worker()

    assert worker.live(LIMIT_S) is None
    assert "t[0] has records from offset 5 on" in (worker.live(2 * STEP_S) or "")


@pytest.mark.parametrize("moved", [Standing(6, 5, 5), Standing(5, 6, 5), Standing(5, 5, 6)])
def test_a_position_or_a_mark_that_moves_is_progress(moved: Standing) -> None:
    worker = Worker()
    worker.live(LIMIT_S - STEP_S)
    worker.held[A] = moved

    assert worker.live(LIMIT_S) is None


def test_one_partition_that_stands_still_is_found_beside_one_that_moves() -> None:
    worker = Worker(assigned={A, B}, held={A: Standing(5, 5, 5), B: Standing(0, 0, 0)}, ends={A: 9, B: 10**6})

    while worker.ended is None and worker.now < 100 + 2 * LIMIT_S:
        worker.held[B] = Standing(int(worker.now), int(worker.now), 0)
        worker.live(STEP_S)

    assert "t[0]" in (worker.ended or "")


def test_a_partition_whose_log_has_nothing_more_may_stand_still() -> None:
    assert Worker(ends={A: 5}).live(10 * LIMIT_S) is None


def test_a_partition_that_is_assigned_and_never_acquired_ends_the_worker() -> None:
    assert "could not be acquired" in (Worker(held={}, ends={A: 0}).live(2 * LIMIT_S) or "")


def test_while_the_broker_does_not_say_how_long_its_logs_are_nothing_counts() -> None:
    worker = Worker(ends=None)

    assert worker.live(10 * LIMIT_S) is None

    worker.ends = {A: 9}
    assert worker.live(LIMIT_S) is None
    assert worker.live(2 * STEP_S) is not None


def test_a_worker_whose_database_refuses_now_and_then_lives_and_is_ended_when_it_does_nothing_afterwards() -> None:
    worker = Worker()
    for _ in range(10):
        worker.refusals += 1
        assert worker.live(LIMIT_S / 2) is None

    assert worker.live(2 * LIMIT_S) is not None


def test_a_blocked_loop_ends_the_worker_also_when_nothing_waits_and_the_broker_is_away() -> None:
    assert "event loop" in (Worker(blocked=True, ends=None).live(2 * LIMIT_S) or "")


def test_a_blocked_loop_is_the_reason_also_when_partitions_stood_still_before_it() -> None:
    worker = Worker()
    worker.live(LIMIT_S / 2)
    worker.blocked = True

    assert "event loop" in (worker.live(2 * LIMIT_S) or "")


def test_a_worker_that_is_given_no_partition_is_asked_for_and_ended_if_the_group_does_not_know_it() -> None:
    worker = Worker(assigned=set(), held={}, excuses={Part.GROUP: "no partition left"})

    assert worker.live(5 * LIMIT_S) is None

    worker.excuses.clear()
    assert "group" in (worker.live(2 * LIMIT_S) or "")


def test_an_excuse_holds_for_one_limit() -> None:
    worker = Worker(excuses={A: "the database is at work"})

    assert worker.live(3 * LIMIT_S) is None

    worker.excuses.clear()
    assert worker.live(LIMIT_S + 2 * STEP_S) is not None


def test_a_stop_that_does_not_end_ends_the_worker_and_nothing_else_counts_meanwhile() -> None:
    worker = Worker(stopping=True, blocked=True, assigned=set())

    assert worker.live(max(LIMIT_S, STOP_S) - STEP_S) is None
    assert "stopping" in (worker.live(4 * STEP_S) or "")


def test_a_short_limit_leaves_a_stop_the_time_to_store_what_waits() -> None:
    worker = Worker(stopping=True)
    worker.watch.limit_s = STOP_S / 4

    assert worker.live(STOP_S - STEP_S) is None


def test_time_in_which_the_whole_process_was_stopped_does_not_count() -> None:
    worker = Worker()
    worker.live(LIMIT_S / 2)

    worker.now += 1000

    assert worker.live(2 * STEP_S) is None


def test_without_a_limit_nothing_ends_the_worker() -> None:
    worker = Worker()
    worker.watch.limit_s = 0

    assert worker.live(100 * LIMIT_S) is None
    assert worker.watch.longest() is not None


def test_what_is_excused_is_no_verdict_and_what_ends_the_worker_is() -> None:
    worker = Worker(excuses={A: "the database is at work"})
    worker.live(3 * LIMIT_S)
    assert worker.watchdog.verdict is None

    worker.excuses.clear()

    assert worker.live(3 * LIMIT_S) == worker.watchdog.verdict is not None
