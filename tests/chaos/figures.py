"""The figures of a run, as a table for people."""

from __future__ import annotations

from tests.chaos.report import Report, by_kind, counted


def table(report: Report) -> str:
    """Return faults by kind with their recovery, then the tables compared."""
    lines = [
        f"{'fault':<22}{'count':>6}{'no effect':>11}{'failed':>7}{'alone':>7}{'commits again, s':>21}{'caught up, s':>16}",
        f"{'p50':>67}{'max':>7}{'p50':>9}{'max':>7}",
    ]
    for kind, of in by_kind(report.faults).items():
        times = [of[name] or {"p50": "-", "max": "-"} for name in ("commits_again_s", "caught_up_s")]
        lines.append(
            f"{kind:<22}{of['count']:>6}{of['without_effect']:>11}{of['failed']:>7}{of['alone']:>7}"
            f"{times[0]['p50']:>14}{times[0]['max']:>7}{times[1]['p50']:>9}{times[1]['max']:>7}"
        )
    lines.append("(recovery of the faults that were over before the next one began)")
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
    effective = len(counted(report.faults))
    lines.append(
        f"{effective} faults, and {len(report.faults) - effective} without effect; caught up {report.catch_up_s} s after the"
        f" plant stopped; workers that ended by themselves: {len(report.ended) or 'none'}; {report.seconds} s in all"
    )
    return "\n".join(lines)
