"""One partition as its owner holds it: state, position, marks, and what waits to be stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.crash_points import CrashPoint, reached


@dataclass(slots=True)
class OwnedPartition:
    """A partition under one lease.

    Parameters
    ----------
    owner
        Token of the lease.
    state, position
        The state holds exactly the records before ``position``.
    marks
        What the sink had when the lease was taken: the fold has no effects before.
    effects_mark, windows_mark
        What the sink has now, as far as is known here.
    skip
        Offsets that become dead letters.
    unstored
        Rows that were folded and are not known to be stored.
    """

    source: SourcePartition
    owner: str
    state: PartitionState
    position: int
    marks: Marks
    effects_mark: int
    windows_mark: int
    skip: Mapping[int, tuple[DeadLetterReason, str]] = field(default_factory=dict)
    pending: deque[Effects] = field(default_factory=deque)
    unstored: int = 0
    refolded: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether the sink has everything that was folded."""
        return self.position == self.effects_mark == self.windows_mark

    def fold(self, batch: RecordBatch, rules: FoldRules) -> Effects:
        """Fold a batch that begins at the position; its effects wait in ``pending``."""
        effects = fold(self.state, batch, rules, self.marks, self.skip)
        reached(CrashPoint.FOLDING)
        self.position = batch.next
        if batch.next > self.marks.effects:
            self.pending.append(effects)
            self.unstored += effects.weight
        else:
            self.refolded += len(batch.records)
        return effects

    def take(self, limit: int) -> UnitOfWork | None:
        """Return a unit of work with at least one batch's effects and about ``limit`` rows; ``None`` if nothing waits."""
        taken: list[Effects] = []
        rows = 0
        while self.pending and (rows < limit or not taken):
            taken.append(self.pending.popleft())
            rows += taken[-1].weight
        if not taken:
            return None
        return UnitOfWork(self.source, self.owner, self.effects_mark, taken[-1].next, taken)

    def take_all(self, rules: FoldRules) -> UnitOfWork | None:
        """Return a unit of work with all that waits, window deltas and machines included.

        It may be empty, and is stored all the same: its compare-and-set is how the owner of a silent partition learns that
        the database was restored, or that somebody else took the partition. ``None`` while records are folded again.
        """
        unit = self.take(2**62) or UnitOfWork(self.source, self.owner, self.effects_mark, self.effects_mark, [])
        if self.position >= self.windows_mark:
            unit = replace(unit, projections=project(self.state, self.windows_mark, self.position, rules))
        return unit if unit.effects or unit.projections else None

    def stored(self, unit: UnitOfWork) -> None:
        """Note that a unit of work took effect."""
        self.effects_mark = unit.next
        self.unstored -= sum(effects.weight for effects in unit.effects)
        if unit.projections is not None:
            self.windows_mark = unit.projections.next
