"""Latency while workers come and go: one of two is killed, and both are restarted in turn."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import report
from benchmarks.latency import Site, Stretch, show, under_load, wait
from benchmarks.services import PARTITIONS, Services

RATE = 10_000
SESSION_TIMEOUT_S = 6
_VARIABLES = {
    "PIPELINE_BROKER__SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
    "PIPELINE_BROKER__HEARTBEAT_INTERVAL_S": "2",
}
_SETTLE_S = 5.0


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
    partitions = site.owned(0)
    killed_s = time.time()
    site.workers.all[0].kill()
    site.workers.all[0].wait()
    time.sleep(seconds)
    ended_s = time.time()
    # What was appended last is still on its way
    time.sleep(_SETTLE_S)
    stretch = site.stretch(f"kill -9, session {SESSION_TIMEOUT_S} s", killed_s, ended_s)
    return stretch, [end_s - killed_s for _, end_s in site.longest_pauses(killed_s, partitions)]


def _restart_both(site: Site) -> tuple[Stretch, list[float]]:
    """Stop a worker, start it again, wait until it owns partitions; then the other."""
    began_s = time.time()
    for number in range(2):
        site.workers.all[number].terminate()
        site.workers.all[number].wait(30)
        restarted_s = time.time()
        site.workers.start(number)
        wait(lambda number=number, since_s=restarted_s: bool(site.owned(number, since_s)))
        time.sleep(_SETTLE_S)
    ended_s = time.time()
    time.sleep(_SETTLE_S)
    stretch = site.stretch("rolling restart of 2", began_s, ended_s)
    return stretch, [end_s - begin_s for begin_s, end_s in site.longest_pauses(began_s, set(range(PARTITIONS)))]
