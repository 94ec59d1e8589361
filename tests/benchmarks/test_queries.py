"""The benchmark of the dashboards' questions gets the answers that it stored, and cleans up. R34, R81."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import queries
from benchmarks.history import History
from benchmarks.services import Services


def test_each_question_is_answered_in_full_and_nothing_is_left(tmp_path: Path) -> None:
    services = Services(tmp_path, "", "", os.getpid(), os.getpid())

    figures = queries.run(services, machines=40, events=40_000)

    assert [answer["rows"] for answer in figures["answers"]] == [720, 1440, 16]
    assert all(0 < answer["warm_p50"] <= answer["warm_p95"] for answer in figures["answers"])
    assert all(0 < answer["cold_p50"] <= answer["cold_p95"] for answer in figures["answers"])
    filled = figures["filled"]
    assert (filled["events"], filled["windows"], filled["anomalies"]) == (40_000, 28_800, 80)
    assert filled["event bytes"] > 40_000 * 253
    assert all(way["rows/s"] > 0 for way in figures["inserts"].values())
    assert list(tmp_path.iterdir()) == []


def test_a_machines_messages_are_five_seconds_apart_up_to_the_end() -> None:
    history = History(machines=20, events=400)

    (first, *_, last) = (history.block(number) for number in range(history.transactions))

    assert history.transactions == 10
    assert (first[:11], last[-2:]) == (b"PGCOPY\n\xff\r\n\0", b"\xff\xff")
    assert len(first) == len(last)
    assert first != last


def test_more_events_than_the_disk_holds_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    services = Services(tmp_path, "", "", os.getpid(), os.getpid())

    with pytest.raises(SystemExit, match="--events"):
        queries.run(services, machines=10, events=10**13)

    assert list(tmp_path.iterdir()) == []
