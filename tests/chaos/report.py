"""What a run is like and what it found, as plain values."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.comparison import Comparison
from tests.chaos.pool import End
from tests.chaos.side import SideReport


@dataclass(frozen=True)
class Options:
    """What a run is like.

    Parameters
    ----------
    seed
        Of everything that is drawn.
    seconds, messages, faults
        The plant sends at least so long and so much, and until so many faults had an effect.
    rate, machines, partitions, workers
        Of plant, topic and group.
    only
        Kinds to choose from; empty: all.
    calm
        Share of the faults that the next one waits for, until everything is well again.
    disk_gb
        Size of the database's file system.
    """

    seed: int
    seconds: float = 180.0
    messages: int = 0
    faults: int = 0
    rate: float = 2_500.0
    machines: int = 600
    partitions: int = 8
    workers: int = 2
    only: tuple[str, ...] = ()
    calm: float = 0.6
    disk_gb: int = 30


@dataclass
class Injected:
    """A fault as it happened; seconds since the run began unless said otherwise.

    Parameters
    ----------
    without_effect
        It hit nothing, and does not count.
    ends
        Of the workers that it told to end, or that were to end by themselves.
    committed_s, caught_up_s
        How long it took until every partition committed again, and until what had come in by then was stored, s.
    disturbed
        Another fault was at work before that was over.
    """

    number: int
    kind: str
    at_s: float
    ended_s: float | None = None
    facts: list[str] = field(default_factory=list)
    error: str = ""
    without_effect: bool = False
    ends: list[End] = field(default_factory=list)
    committed_s: float | None = None
    caught_up_s: float | None = None
    disturbed: bool = False
    seen: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        recovered = (
            f"commits again {self.committed_s} s, caught up {self.caught_up_s} s"
            if self.committed_s is not None
            else "-"
        )
        seen = ", ".join(f"{event} × {count}" for event, count in sorted(self.seen.items()))
        effect = "WITHOUT EFFECT" if self.without_effect else ""
        parts = [f"at {self.at_s:.1f}", *self.facts, effect, self.error, recovered, seen]
        return f"#{self.number} {self.kind}: " + "; ".join(part for part in parts if part)


@dataclass
class Report:
    """What a run found.

    Parameters
    ----------
    ended
        Workers that ended though nobody had told them to.
    stopped
        How the last workers ended, which were told to.
    """

    options: Options
    faults: list[Injected]
    ended: list[str]
    stopped: list[End]
    catch_up_s: float | None
    comparison: Comparison | None
    side: SideReport | None
    verified: dict[str, Any]
    seconds: float
    trouble: list[str]

    @property
    def holds(self) -> bool:
        """Whether nothing is lost, doubled or wrong, and all that was promised about workers and recovery was kept."""
        return not self.trouble

    @property
    def summary(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return {
            "holds": self.holds,
            "without_effect": len(self.faults) - len(counted(self.faults)),
            "kinds": by_kind(self.faults),
            **asdict(self),
        }


def counted(faults: Collection[Injected]) -> list[Injected]:
    """Return those that count: they are over, and had an effect."""
    return [fault for fault in faults if fault.ended_s is not None and not fault.without_effect]


def by_kind(faults: Collection[Injected]) -> dict[str, dict[str, Any]]:
    """Return for each kind how often it had an effect and had none, how often it failed, and recovery times, s.

    Of the recovery times only those count that were over before the next fault began: their number, median and maximum.
    """
    found: dict[str, dict[str, Any]] = {}
    for kind in sorted({fault.kind for fault in faults}):
        mine = [fault for fault in faults if fault.kind == kind]
        effective = counted(mine)
        alone = [fault for fault in effective if not fault.disturbed and fault.caught_up_s is not None]
        found[kind] = {
            "count": len(effective),
            "without_effect": len(mine) - len(effective),
            "failed": sum(1 for fault in mine if fault.error),
            "alone": len(alone),
            "commits_again_s": _spread([fault.committed_s or 0.0 for fault in alone]),
            "caught_up_s": _spread([fault.caught_up_s or 0.0 for fault in alone]),
        }
    return found


def _spread(values: list[float]) -> dict[str, float] | None:
    return {"p50": statistics.median(values), "max": max(values)} if values else None
