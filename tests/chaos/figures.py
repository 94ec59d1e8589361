"""The figures of a run, as a table for people."""

from __future__ import annotations

from tests.chaos.run import Report, by_kind


def table(report: Report) -> str:
    """Return faults by kind with their recovery, then the tables compared."""
    lines = [
        f"{'fault':<22}{'count':>6}{'failed':>7}{'alone':>7}   commits again, s   caught up, s",
        f"{'p50':>49}{'max':>7}{'p50':>9}{'max':>7}",
    ]
    for kind, of in by_kind(report.faults).items():
        times = [of[name] or {"p50": "-", "max": "-"} for name in ("commits_again_s", "caught_up_s")]
        lines.append(
            f"{kind:<22}{of['count']:>6}{of['failed']:>7}{of['alone']:>7}"
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
    lines.append(
        f"{len(report.faults)} faults; caught up {report.catch_up_s} s after the plant stopped; workers that ended by"
        f" themselves: {report.ended or 'none'}; {report.seconds} s in all"
    )
    return "\n".join(lines)
