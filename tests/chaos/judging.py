"""What of a report is trouble: not only tables that differ, but every promise about workers and recovery that was not kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from tests.chaos.pool import End
from tests.chaos.report import Injected, Report

AFTER_KILL_S = 10.0
"""In which every partition commits again after a kill -9 of its worker; the stand's session timeout is 6 s of it."""

AFTER_SERVICE_S = 15.0
"""In which every partition commits again once broker or database are back."""

RECOVERED_WITHIN_S = 45.0
"""How long the recovery of a fault is watched; what has not recovered by then is trouble, whatever the fault was."""

_KILLS = ("worker_kill", "worker_dies_inside")
_SERVICES = ("broker_", "database_")


def judge(report: Report) -> Iterator[str]:
    """Yield what is wrong, each in one line."""
    for fault in report.faults:
        yield from _wrong_of(fault)
    # A worker that a fault ends is taken out before: no fault, of services least of all, may end one of the others
    yield from report.ended
    yield from (f"at the end of the run: {_how(end)}" for end in report.stopped if not end.is_due)
    yield from _wrong_tables(report)


def _wrong_of(fault: Injected) -> Iterator[str]:
    name = f"fault {fault.number} {fault.kind}"
    yield from (f"{name}: {_how(end)}" for end in fault.ends if not end.is_due)
    if fault.error:
        # Its recovery was not measured
        yield f"{name}: {fault.error}"
    elif not fault.disturbed:
        yield from (f"{name}: {wrong}" for wrong in _slow(fault))


def _slow(fault: Injected) -> Iterator[str]:
    limit = _limit_s(fault.kind)
    if fault.committed_s is None:
        yield f"no commit of every partition within {RECOVERED_WITHIN_S:.0f} s"
    elif fault.caught_up_s is None:
        yield f"not caught up within {RECOVERED_WITHIN_S:.0f} s"
    if fault.committed_s is not None and limit is not None and fault.committed_s > limit:
        yield f"commits again after {fault.committed_s} s, more than {limit:.0f} s"


def _limit_s(kind: str) -> float | None:
    if kind in _KILLS:
        return AFTER_KILL_S
    return AFTER_SERVICE_S if kind.startswith(_SERVICES) else None


def _how(end: End) -> str:
    told = f"after {signal.Signals(end.number).name}" if end.number else "by itself"
    return f"{end.worker} ended {told} with exit code {end.exit_code}"


def _wrong_tables(report: Report) -> Iterator[str]:
    comparison = report.comparison
    if comparison is not None:
        poisoned = sum(1 for fault in report.faults if fault.kind == "fold_fails_for_ever")
        if not comparison.holds:
            yield "the tables differ from the ledger"
        if comparison.skips > poisoned:
            yield f"{comparison.skips} records were set aside, of which faults poisoned at most {poisoned}"
        if comparison.skips_otherwise:
            yield f"{comparison.skips_otherwise} records were set aside for another reason than that the fold failed"
    if report.side is not None:
        yield from report.side.wrong
