"""One partition as its owner holds it: state, position, marks, and what waits to be stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from pipeline.core import ticks
from pipeline.core.controls import Control, PlacedControl, cut
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.forecasts import learn
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.identity import control_id

log = structlog.get_logger(__name__)


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
    effects_mark, windows_mark, controls_mark, windows_controls
        What the sink has now, as far as is known here; of control records, how many.
    recorded
        Control records that were applied before, in this order and at these places; the state does not hold them yet.
    horizon
        Control records that came with a transaction before it are known, or wait; see :class:`pipeline.core.controls.Polled`.
    known
        Numbers of the others that are.
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
    controls_mark: int = 0
    windows_controls: int = 0
    recorded: deque[PlacedControl] = field(default_factory=deque)
    horizon: int = 0
    known: set[int] = field(default_factory=set)
    pending: deque[Effects] = field(default_factory=deque)
    unstored: int = 0
    refolded: int = 0
    _waiting: dict[int, Control] = field(default_factory=dict)

    @property
    def is_stored(self) -> bool:
        """Whether the sink has everything that was folded, and every control record that was applied."""
        is_even = self.position == self.effects_mark == self.windows_mark
        return is_even and self.controls_mark == self.windows_controls == self.state.registry.applied

    def fold(self, batch: RecordBatch, rules: FoldRules) -> None:
        """Fold a batch that begins at the position; its effects wait in ``pending``."""
        for part in cut(batch, [each.offset for each in self.recorded]):
            effects = fold(self.state, part, rules, self.marks, self.skip)
            reached(CrashPoint.FOLDING)
            if part.next > self.marks.effects:
                self._keep(effects)
            else:
                self.refolded += len(part.records)
            self.move_to(part.next, rules)

    def refold(self, batch: RecordBatch, rules: FoldRules) -> None:
        """Fold stored events again, whose effects the sink has; only the windows mark may be behind them."""
        for part in cut(batch, [each.offset for each in self.recorded]):
            fold(self.state, part, rules, self.marks)
            self.move_to(part.next, rules)

    def move_to(self, position: int, rules: FoldRules) -> None:
        """Note that the state holds what is before a position, and apply the control records that are due there."""
        self.position = position
        while self.recorded and self.recorded[0].offset <= position:
            placed, marks = self.recorded.popleft(), self.marks
            found = ticks.apply(self.state, placed, rules, counted=placed.ordinal >= marks.windows_controls)
            if placed.ordinal >= marks.controls:
                self._keep_controls(max(position, marks.effects), (placed,), found)
        self._tell_refusals()
        self._apply_waiting()

    def pass_controls(self, end: int, rules: FoldRules) -> None:
        """Apply the control records that stand behind the last record, up to an end before which there is no other."""
        while self.recorded and self.recorded[0].offset <= end:
            self.move_to(max(self.position, self.recorded[0].offset), rules)

    def tell(self, controls: Iterable[Control]) -> None:
        """Apply what somebody was told who looked for control records, as far as the partition does not know it."""
        self.take_in(control for control in controls if control.xid >= self.horizon)

    def take_in(self, controls: Iterable[Control]) -> None:
        """Apply control records that the partition does not know yet, where it stands; at once, or when it has come so far.

        What a partition applied is stored with the offset: no later than any record from there on, so that whoever folds
        these again knows of it. While records are folded again that others had the effects of, it is too early.
        """
        self._waiting |= {control.id: control for control in controls if control.id not in self.known}
        self.known |= self._waiting.keys()
        self._apply_waiting()

    def is_due(self, at_ms: int, rules: FoldRules) -> bool:
        """Return whether a tick at a moment would end anything; while records are folded again it is too early."""
        if self.recorded or self._waiting or self.position < max(self.marks.effects, self.marks.windows):
            return False
        return at_ms - rules.watermark_delay_ms >= ticks.due_ms(self.state, rules)

    def tick(self, at_ms: int, rules: FoldRules) -> bool:
        """Let event time go on to a moment, if that ends anything, and note it as a control record; return whether it does.

        The caller has seen that the log had nothing behind the position at that moment, ms since the epoch, UTC.
        """
        if not self.is_due(at_ms, rules):
            return False
        ordinal = self.state.registry.applied
        control = ticks.tick(control_id(f"{self.owner}\0{ordinal}\0{at_ms}"), at_ms)
        placed = PlacedControl(control, self.position, ordinal)
        self.known.add(control.id)
        self._keep_controls(self.position, (placed,), ticks.apply(self.state, placed, rules, counted=True))
        return True

    def _apply_waiting(self) -> None:
        if not self._waiting or self.recorded or self.position < self.marks.effects:
            return
        placed = []
        for control in self._waiting.values():
            placed.append(PlacedControl(control, self.position, self.state.registry.applied))
            learn(self.state, control)
        self._waiting = {}
        self._tell_refusals()
        self._keep_controls(self.position, tuple(placed), ticks.NOTHING)

    def _keep_controls(self, position: int, placed: tuple[PlacedControl, ...], found: ticks.Found) -> None:
        self._keep(Effects.of_controls(position, placed, found.anomalies, found.predictions, self.state.watermark_ms))

    def _tell_refusals(self) -> None:
        for reason in self.state.prognosis.take_refusals():
            log.error("model.refused", source=str(self.source), position=self.position, reason=reason)

    def _keep(self, effects: Effects) -> None:
        self.pending.append(effects)
        self.unstored += effects.weight

    def take(self, limit: int) -> UnitOfWork | None:
        """Return a unit of work with at least one batch's effects and about ``limit`` rows; ``None`` if nothing waits."""
        taken: list[Effects] = []
        rows = 0
        while self.pending and (rows < limit or not taken):
            taken.append(self.pending.popleft())
            rows += taken[-1].weight
        if not taken:
            return None
        return UnitOfWork(
            self.source, self.owner, self.effects_mark, taken[-1].next, taken, controls=self.controls_mark
        )

    def take_all(self, rules: FoldRules) -> UnitOfWork | None:
        """Return a unit of work with all that waits, window deltas and machines included.

        It may be empty, and is stored all the same: its compare-and-set is how the owner of a silent partition learns that
        the database was restored, or that somebody else took the partition. ``None`` while records are folded again.
        """
        mark = self.effects_mark
        unit = self.take(2**62) or UnitOfWork(self.source, self.owner, mark, mark, [], controls=self.controls_mark)
        if self.position >= self.windows_mark:
            before = self.windows_mark, self.position
            unit = replace(unit, projections=project(self.state, *before, rules, self.windows_controls))
        return unit if unit.effects or unit.projections else None

    def stored(self, unit: UnitOfWork) -> None:
        """Note that a unit of work took effect."""
        self.effects_mark, self.controls_mark = unit.next, unit.controls_next
        self.unstored -= sum(effects.weight for effects in unit.effects)
        if unit.projections is not None:
            self.windows_mark, self.windows_controls = unit.projections.next, unit.projections.controls
