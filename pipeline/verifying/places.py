"""Whole source partitions in the order of their offsets: what is at one place twice, late, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.core.records import SourcePartition
from pipeline.core.windowing.watermark import BEGINNING_MS
from pipeline.verifying.figures import EXAMPLES, Figures
from pipeline.verifying.intake import RANGE_BITS, Intake
from pipeline.verifying.question import Question
from pipeline.verifying.spill import Array, groups

_LOG_BITS = 63 - RANGE_BITS
_RANGES = (1 << _LOG_BITS) - 1


@dataclass(frozen=True, slots=True)
class Accounts:
    """What whole source partitions tell.

    Parameters
    ----------
    unaccounted
        Offsets before the windows marks that have no event, no dead letter and no gap, beyond the dropped duplicates;
        ``None``: retention may have dropped what was there.
    are_whole
        Whether everything that ever came is stored: all from offset 0 on, and no log was lost.
    uncounted
        Where offsets have nothing, and nobody knows how many duplicates were dropped.
    """

    unaccounted: int | None
    are_whole: bool
    uncounted: tuple[SourcePartition, ...]


class _Late:
    """Which messages of one source partition came after their window was complete."""

    def __init__(self, window_ms: int, delay_ms: int) -> None:
        self._window_ms, self._delay_ms, self._watermark_ms = window_ms, delay_ms, BEGINNING_MS

    def of(self, rows: Array) -> Array:
        """Return which of the next messages did, shape (n,)."""
        heard = np.minimum(rows["time_ms"], rows["ingest_ms"]) - self._delay_ms
        after = np.maximum.accumulate(np.append(self._watermark_ms, heard))
        self._watermark_ms = int(after[-1])
        late: Array = (rows["time_ms"] // self._window_ms + 1) * self._window_ms <= after[:-1]
        return late


class Offsets:
    """Which offsets of one source partition have nothing, from the first that is known to the windows mark.

    Parameters
    ----------
    known
        Stretches ``[from, to)`` that are explained by a dead letter or a gap, by their starts; shape (n, 2).
    end
        The windows mark.
    """

    def __init__(self, known: Array, end: int) -> None:
        self._known, self._end = known, end
        self._reached: int | None = None
        self.missing, self.first = 0, list[int]()
        self.begins: int | None = None

    def add(self, offsets: Array, before: int) -> None:
        """Take all offsets of events that lie before an offset and were not taken yet, rising; shape (n,)."""
        cut = int(np.searchsorted(self._known[:, 0], before))
        taken, self._known = self._known[:cut], self._known[cut:]
        starts = np.append(offsets, taken[:, 0])
        ends = np.append(offsets + 1, taken[:, 1])
        order = np.argsort(starts, kind="stable")[: int(np.count_nonzero(starts < self._end))]
        self._pass(starts[order], ends[order])

    def finish(self) -> int:
        """Return how many have nothing."""
        self.add(np.empty(0, np.int64), self._end)
        if self._reached is not None:
            self._pass(np.array([self._end]), np.array([self._end]))
        return self.missing

    def _pass(self, starts: Array, ends: Array) -> None:
        if not len(starts):
            return
        if self._reached is None:
            self.begins = self._reached = int(starts[0])
        reached = np.maximum.accumulate(np.append(self._reached, ends))
        holes = starts - reached[:-1]
        self.missing += int(holes[holes > 0].sum())
        for at in np.flatnonzero(holes > 0)[: EXAMPLES - len(self.first)].tolist():
            self.first.append(int(reached[at]))
        self._reached = int(reached[-1])


def judge_places(
    intake: Intake, question: Question, figures: Figures, told: Callable[[str, int, int | None], None]
) -> Accounts:
    """Count late messages, places that hold two messages, and offsets of which nothing is known.

    A duplicate inside of an array leaves no offset without an event, so as many more offsets may be unaccounted for as
    duplicates were dropped; where those were not all counted, none is said to be.
    """
    keys = intake.places.keys()
    by_source: dict[SourcePartition, list[int]] = {source: [] for source in intake.marks.marks}
    for key in keys:
        by_source.setdefault(intake.source_name(key >> (_LOG_BITS + 1)), []).append(key)
    unaccounted, is_all, are_whole, done = 0, question.retained.is_all, question.retained.is_all, 0
    uncounted: list[SourcePartition] = []
    for source, own in by_source.items():
        mark = intake.marks.marks.get(source)
        offsets = Offsets(intake.marks.explained(source), mark.windows if mark and mark.is_known else 0)
        late = _Late(question.window_ms, question.delay_ms or 0)
        for key in own:
            rows, is_current = _sorted(intake.places.take(key)), bool(key >> _LOG_BITS & 1)
            telemetry = rows[~rows["fact"]]
            figures.add("late", telemetry["machine"][late.of(telemetry)])
            if question.ledger is None and (mark is None or (mark.is_known and (is_current or not mark.had_other_log))):
                _count_shared(intake, rows, source, figures)
            if is_current:
                offsets.add(rows["offset"], ((key & _RANGES) + 1) << RANGE_BITS)
            done += 1
            told("judging places", done, len(keys))
        if question.ledger is None and is_all and mark and mark.is_known:
            missing = max(0, offsets.finish() - mark.duplicates)
            are_whole &= not missing and not mark.had_other_log and offsets.begins in {0, None}
            if missing and not mark.is_exact:
                uncounted.append(source)
            elif missing:
                unaccounted += missing
                figures.example(
                    "unaccounted", [((*source, at), f"{source.topic}:{source.partition}:{at}") for at in offsets.first]
                )
    return Accounts(unaccounted if is_all else None, are_whole, tuple(uncounted))


def has_shared_places(intake: Intake) -> bool:
    """Return whether a ledger says of two messages that they lie at the same place."""
    for key in intake.sent_places.keys():  # noqa: SIM118  # it is no mapping
        rows = intake.sent_places.take(key)
        _, number = groups(rows["offset"], rows["index"])
        if len(rows) and int(number[-1]) + 1 < len(rows):
            return True
    return False


def _sorted(rows: Array) -> Array:
    """Return rows by their place, each message once."""
    rows = rows[np.lexsort((rows["time_ms"], rows["machine"], rows["index"], rows["offset"]))]
    new = np.ones(len(rows), np.bool_)
    new[1:] = (
        rows[["offset", "index", "machine", "time_ms"]][1:] != rows[["offset", "index", "machine", "time_ms"]][:-1]
    )
    kept: Array = rows[new]
    return kept


def _count_shared(intake: Intake, rows: Array, source: SourcePartition, figures: Figures) -> None:
    """Count the messages that lie where another one lies."""
    again = rows[1:][(np.diff(rows["offset"]) == 0) & (np.diff(rows["index"]) == 0)]
    figures.add("doubled", again["machine"])
    figures.example("doubled", intake.named(again, source))
