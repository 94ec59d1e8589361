"""What figures are made of: nothing that is late, or missing, makes them better. R81."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import latency, memory, outcome, soak
from benchmarks.contestants import Contestant, Task
from benchmarks.latency import Moment, Site
from benchmarks.measure import Processes
from benchmarks.outcome import Committed
from benchmarks.recovery import longest_pauses_s, resumed_after_s

BEGIN, END = Moment(100.0, {0: 10, 1: 20}), Moment(102.0, {0: 15, 1: 27})


class Database:
    """Answers with one set of marks after the other, and then with percentiles of some rows."""

    def __init__(self, marks: list[list[tuple[int, int]]], rows: int) -> None:
        self.marks, self._rows = marks, rows

    def execute(self, query: str, parameters: object = None) -> list[Any]:
        if "effects_next" in query:
            return self.marks.pop(0) if len(self.marks) > 1 else self.marks[0]
        assert parameters == [[0, 1], [10, 20], [15, 27]]
        return [([1.0, 2.0, 3.0, 4.0], self._rows)]


def site(database: Any) -> Site:
    nothing: Any = None
    return Site(nothing, database, 6.0, (0.0,), nothing, "topic", nothing)


def test_a_stretch_waits_until_all_that_was_appended_in_it_is_stored() -> None:
    database = Database([[(0, 15), (1, 26)], [(0, 14), (1, 27)], [(0, 15), (1, 30)]], rows=12)

    stretch = site(database).stretch("x", BEGIN, END)

    assert database.marks == [[(0, 15), (1, 30)]]
    assert (stretch.messages, stretch.sent_rate, stretch.p50_ms, stretch.max_ms) == (12, 6.0, 1.0, 4.0)


def test_a_stretch_whose_messages_are_never_stored_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_PATIENCE_S", 0.0)

    with pytest.raises(SystemExit, match="in vain for all messages of the stretch 'x'"):
        site(Database([[(0, 15), (1, 26)]], rows=11)).stretch("x", BEGIN, END)


def test_a_stretch_of_which_a_row_is_missing_has_no_figures() -> None:
    with pytest.raises(SystemExit, match="11 rows for the 12 messages"):
        site(Database([[(0, 15), (1, 27)]], rows=11)).stretch("x", BEGIN, END)


def test_recovery_is_from_the_kill_to_the_first_commit_of_whoever_is_next() -> None:
    # Both had something under way when they were killed; the other's longest pause came only later
    commits = {0: [99.8, 99.9, 100.1, 109.0, 109.1], 1: [99.9, 100.3, 107.0, 140.0], 2: [99.9, 100.0, 100.1]}

    assert resumed_after_s(commits, {0, 1}, 100.0) == pytest.approx([9.0, 7.0])


def test_a_partition_that_never_commits_again_has_no_recovery() -> None:
    commits = {0: [99.8, 99.9, 109.0], 1: [90.0, 99.9, 100.1]}

    with pytest.raises(SystemExit, match="partition 1 committed nothing after"):
        resumed_after_s(commits, {0, 1}, 100.0)


def test_a_pause_counts_from_the_last_commit_before_the_restart() -> None:
    commits = {0: [80.0, 97.0, 104.0, 105.0], 1: [99.0, 101.0, 104.0]}

    assert longest_pauses_s(commits, 100.0) == pytest.approx([7.0, 3.0])
    with pytest.raises(SystemExit, match="partition 1 committed nothing after"):
        longest_pauses_s(commits, 104.5)


def test_the_rate_to_the_last_window_takes_the_time_until_then_into_account() -> None:
    found = Committed(rows=110, distinct=110, first_rows=10, first_s=100.0, last_s=110.0)

    assert (found.per_second, found.per_second_until(120.0)) == (10.0, 5.0)
    assert found.per_second_until(0.0) == found.per_second_until(109.0) == 10.0


def test_a_second_worker_comes_every_minute_but_the_last_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    ticking = SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now, sleep=lambda s: _forward(clock, s))
    monkeypatch.setattr(memory, "time", ticking)
    told: list[tuple[str, float]] = []

    def tell(what: str) -> Callable[..., None]:
        return lambda *_: told.append((what, clock.now - 1000.0))

    def start(number: int) -> SimpleNamespace:
        tell(f"start {number}")()
        return SimpleNamespace(terminate=tell("terminate"), wait=tell("wait"))

    workers: Any = SimpleNamespace(all=[SimpleNamespace(pid=os.getpid())], start=start)
    watched: Any = SimpleNamespace(workers=workers, owned=lambda *_: set(range(8)))

    samples, visits = memory.watch(watched, 180.0)

    starts = [("start 1", 60.0), ("terminate", 75.0), ("wait", 75.0)]
    assert told == [*starts, *((what, at_s + 60.0) for what, at_s in starts)]
    assert (visits, len(samples), samples[-1][0]) == (2, 180, 179.0)


def _forward(clock: SimpleNamespace, seconds: float) -> None:
    clock.now += seconds


def test_one_more_process_joins_the_group(tmp_path: Path) -> None:
    said = "import sys, time; print(sys.argv[1:], flush=True); time.sleep(60)"
    contestant = Contestant("x", lambda task: (["-c", said, task.group, str(task.number)], {}), ours=True)
    started = Processes(contestant, [Task("address", "topic", "group", "dsn", 0, 1, tmp_path)])
    try:
        first = started.all[0]
        second = started.start(1)
        assert started.all == [first, second]
        assert second.args == [sys.executable, "-c", said, "group", "1"]
    finally:
        started.stop()


def test_a_line_through_samples_has_a_slope_and_an_error_per_minute() -> None:
    at_s = np.arange(0.0, 120.0, 30.0)

    assert memory.line(at_s, 100 + at_s / 30) == pytest.approx((2.0, 0.0))
    # By hand: residuals -0.2, 0.4, -0.2 … of the points 0, 1, 0, 1 at 0, 0.5, 1 and 1.5 min
    assert memory.line(at_s, np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx((0.4, 0.8**0.5 / 2**0.5 / 1.25**0.5))
    assert np.isnan(memory.line(at_s[:2], at_s[:2])).all()


def soaked(code: int, stored: int, distinct: int, readings: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what a soak of 100 messages finds wrong."""
    monkeypatch.setattr(outcome, "committed", lambda *_, **__: Committed(stored, distinct, 1, 0.0, 1.0))
    monkeypatch.setattr(outcome, "readings", lambda *_: readings)
    database: Any = SimpleNamespace(execute=lambda _: [(0, 60), (1, 40)])
    server: Any = SimpleNamespace(ends=lambda _: {0: 60, 1: 40})
    sender: Any = SimpleNamespace(returncode=code)
    return soak.wrong(Site(database, database, 6.0, (0.0,), server, "topic", sender), 100, 3.0)


def test_a_soak_notices_what_was_lost_or_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert soaked(0, 100, 100, 500, monkeypatch) == []
    assert soaked(1, 100, 100, 500, monkeypatch) == ["the sender ended with code 1"]
    assert soaked(0, 99, 99, 500, monkeypatch) == ["99 rows of 99 messages for 100 sent"]
    assert soaked(0, 101, 100, 500, monkeypatch) == ["101 rows of 100 messages for 100 sent"]
    assert [each.split(" in ")[0] for each in soaked(0, 100, 100, 501, monkeypatch)] == ["501 readings"] * 2
