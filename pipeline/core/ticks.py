"""Ticks: control records that let a partition's event time go on when nothing comes from it.

A tick stands between two records, like a message of no machine that was measured and received at its time. It moves the
watermark, closes operating cycles and finds silent machines. What it brings to light is placed behind the record before it.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.core import silence
from pipeline.core.anomalies import Anomaly
from pipeline.core.controls import FIRST_INDEX, TICK, Control, PlacedControl
from pipeline.core.fold import FoldRules
from pipeline.core.forecasts import forecasts, learn
from pipeline.core.kernel import pass_time
from pipeline.core.predictions import Prediction
from pipeline.core.silent_machines import Moment, silent_machines
from pipeline.core.state import PartitionState
from pipeline.core.windowing import cycles

NEVER_MS = 2**62

_WINDOWS_MS = (30_000, 60_000, 300_000, 3_600_000, 86_400_000)
"""Lengths of the windows that are shown as complete or provisional, ms."""


def tick(number: int, at_ms: int) -> Control:
    """Return the tick of a moment, ms since the epoch, UTC."""
    return Control(number, TICK, {"at_ms": at_ms})


def due_ms(state: PartitionState, rules: FoldRules) -> int:
    """Return the watermark at which something ends that is open now, ms since the epoch, UTC; :data:`NEVER_MS`: nothing is.

    Parameters
    ----------
    state
        Anything that has no more to end than its windows, cycles and machines costs no further ticks: a partition that is
        silent for days has a handful of them.
    """
    used = state.machines.used
    if used == 0:
        return NEVER_MS
    heard = state.silence.heard.rows[:used]
    # A device whose clock is ahead has windows that end later than those of all others
    newest_ms = {int(state.machines.rows["last_seen_ms"][:used].max()), int(heard["heard_ms"].max())}
    due = [(each // size + 1) * size for each in newest_ms for size in _WINDOWS_MS]
    due = [each for each in due if each > state.watermark_ms]
    opened = state.cycles.open.rows[:used]
    ends_ms = opened["ended_ms"][opened["messages"] > 0]
    if rules.cycle_gap_ms and len(ends_ms):
        due.append(_next(int(ends_ms.min()) + rules.cycle_gap_ms + 1, cycles.SWEEP_MS, state.watermark_ms))
    heard_ms = heard["heard_ms"][heard["is_silent"] == 0]
    if rules.silence_ms and len(heard_ms):
        due.append(_next(int(heard_ms.min()) + rules.silence_ms, silence.LOOK_MS, state.watermark_ms))
    return min(due, default=NEVER_MS)


def _next(least_ms: int, step_ms: int, watermark_ms: int) -> int:
    """Return the first multiple of a step from a moment on that the watermark has not come to."""
    return max(-(-least_ms // step_ms), watermark_ms // step_ms + 1) * step_ms


class Found(NamedTuple):
    """What a control record brought to light."""

    anomalies: list[Anomaly]
    predictions: list[Prediction]


NOTHING = Found([], [])


def apply(state: PartitionState, placed: PlacedControl, rules: FoldRules, *, counted: bool) -> Found:
    """Let a state know a control record where it is placed, and return what that brings to light.

    Parameters
    ----------
    counted
        Whether the sink lacks what this changes about cycles and machines.
    """
    learn(state, placed.control)
    if placed.control.kind != TICK:
        return NOTHING
    at_ms = int(placed.control.body["at_ms"])
    memory = state.memory(0, 0, tells=rules.predicts)
    state.watermark_ms = pass_time(memory, rules.numbers(), state.watermark_ms, at_ms, counted)
    found = Moment(placed.offset - 1, FIRST_INDEX + placed.ordinal, at_ms, at_ms)
    silent = silent_machines(state, state.silence.take(), lambda _: found, rules.silence_ms)
    return Found(silent, forecasts(state, lambda _: found) if rules.predicts else [])
