"""The figures of a run, as a table for people."""

from __future__ import annotations

import statistics
from collections import defaultdict

from tests.chaos.run import Injected, Report


def table(report: Report) -> str:
    """Return faults by kind with their recovery, then the tables compared."""
    lines = [
        f"{'fault':<22}{'count':>6}{'failed':>7}   commits again, s          caught up, s",
        " " * 38 + "p50    max   n       p50    max",
    ]
    by_kind: dict[str, list[Injected]] = defaultdict(list)
    for fault in report.faults:
        by_kind[fault.kind].append(fault)
    for kind, faults in sorted(by_kind.items()):
        failed = sum(1 for fault in faults if fault.error)
        lines.append(f"{kind:<22}{len(faults):>6}{failed:>7}   {recovery(faults)}")
    lines.append("(recovery of faults that ended before the next one began)")
    compared = report.comparison
    if compared is not None:
        lines += [
            f"messages {compared.messages:,}: accepted {compared.accepted:,}, duplicates {compared.duplicates:,}, garbage"
            f" {compared.garbage:,}, poisoned {compared.poisoned:,}; lost {compared.lost}, doubled {compared.doubled}",
            *(
                f"{name:<22}{judged.rows:>12,} rows{judged.differing:>8,} differ  {'; '.join(judged.examples[:3])}"
                for name, judged in compared.tables.items()
            ),
        ]
    if report.side is not None:
        lines.append(
            f"side topic: sent {report.side.sent:,}, lost {report.side.lost}, of which in gaps {report.side.in_gaps}"
        )
    lines.append(
        f"{len(report.faults)} faults; caught up {report.catch_up_s} s after the plant stopped; workers that ended by"
        f" themselves: {report.ended or 'none'}; {report.seconds} s in all"
    )
    return "\n".join(lines)


def recovery(faults: list[Injected]) -> str:
    """Return median and maximum of the undisturbed faults' recovery times."""
    undisturbed = [fault for fault in faults if not fault.disturbed and not fault.error]
    committed = [fault.committed_s for fault in undisturbed if fault.committed_s is not None]
    caught_up = [fault.caught_up_s for fault in undisturbed if fault.caught_up_s is not None]
    return f"{_spread(committed)} {len(committed):>3}    {_spread(caught_up)}"


def _spread(values: list[float]) -> str:
    if not values:
        return f"{'-':>6} {'-':>6}"
    return f"{statistics.median(values):>6.1f} {max(values):>6.1f}"
