"""Latency while workers come and go: one of two is killed, and both are restarted in turn."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks import report
from benchmarks.latency import Site, Stretch, show, under_load, wait
from benchmarks.services import Services

RATE = 10_000
SESSION_TIMEOUT_S = 6
_VARIABLES = {
    "PIPELINE_BROKER__SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
    "PIPELINE_BROKER__HEARTBEAT_INTERVAL_S": "2",
}
_SETTLE_S = 5.0
# What a worker had sent may be committed after its death; nobody else has its partitions before its session ends
_LAST_WORDS_S = SESSION_TIMEOUT_S / 2

Commits = Mapping[int, Sequence[float]]
"""When transactions stored events of each partition, in order, s since the epoch."""


def run(services: Services, *, machines: int, seconds: float, rate: float = RATE) -> dict[str, Any]:
    """Kill and restart under load; return the figures.

    Parameters
    ----------
    seconds
        How long load goes on after the kill, s; 0: 25.
    """
    seconds = seconds or 25.0
    with under_load(services, 2, machines, rate, seconds + _SETTLE_S, _VARIABLES) as site:
        killed, moved_s = _kill_one(site, seconds)
    with under_load(services, 2, machines, rate, 10 * seconds, _VARIABLES) as site:
        restarted, pauses_s = _restart_both(site)
    show([killed, restarted])
    figures = {
        f"kill -9 of one of two: its {len(moved_s)} partitions commit again after s": max(moved_s),
        "rolling restart of two: longest time between two commits of a partition, s": max(pauses_s),
    }
    report.show("", ("recovery", ""), list(figures.items()))
    return {"stretches": [killed, restarted], "moved_s": moved_s, "restart_pauses_s": pauses_s}


def _kill_one(site: Site, seconds: float) -> tuple[Stretch, list[float]]:
    began = site.now()
    partitions = site.owned(0)
    killed_s = time.time()
    site.workers.all[0].kill()
    site.workers.all[0].wait()
    time.sleep(seconds)
    stretch = site.stretch(f"kill -9, session {SESSION_TIMEOUT_S} s", began, site.now())
    return stretch, resumed_after_s(site.commits(), partitions, killed_s)


def _restart_both(site: Site) -> tuple[Stretch, list[float]]:
    """Stop a worker, start it again, wait until it owns partitions; then the other."""
    began = site.now()
    for number in range(2):
        site.workers.all[number].terminate()
        site.workers.all[number].wait(30)
        restarted_s = time.time()
        site.workers.start(number)
        wait(f"partitions of worker {number} after its restart", partial(site.owned, number, restarted_s))
        time.sleep(_SETTLE_S)
    stretch = site.stretch("rolling restart of 2", began, site.now())
    return stretch, longest_pauses_s(site.commits(), began.at_s)


def resumed_after_s(commits: Commits, partitions: Collection[int], killed_s: float) -> list[float]:
    """Return how long after a kill each of some partitions commits again, s."""
    silent_from_s = killed_s + _LAST_WORDS_S
    return [_from(commits, partition, silent_from_s)[1] - killed_s for partition in sorted(partitions)]


def longest_pauses_s(commits: Commits, began_s: float) -> list[float]:
    """Return each partition's longest time between two commits that ended after a moment, s."""
    found = [_from(commits, partition, began_s) for partition in sorted(commits)]
    return [max(end_s - begin_s for begin_s, end_s in pairwise(each)) for each in found]


def _from(commits: Commits, partition: int, at_s: float) -> Sequence[float]:
    """Return the last commit of a partition up to a moment, and those after it; there must be both."""
    after = bisect_right(commits[partition], at_s)
    if not 0 < after < len(commits[partition]):
        when = "after" if after else "before"
        raise SystemExit(f"partition {partition} committed nothing {when} the workers were disturbed")
    return commits[partition][after - 1 :]
