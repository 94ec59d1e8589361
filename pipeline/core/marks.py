"""The marks against the log: what a new owner has to think of what it finds. Decisions only, no SQL and no broker."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class GapReason(StrEnum):
    """Why records cannot be read any more."""

    LOG_START_MOVED = "log_start_moved"
    """The log begins after the marks: retention was faster."""

    LOG_TRUNCATED = "log_truncated"
    """The log ends before the marks: it is another one by the same name, or lost its end."""


class Gap(NamedTuple):
    """Offsets ``[first, end)`` that the log no longer has and the marks have not passed, or have passed in another log."""

    first: int
    end: int
    reason: GapReason


class Reconciled(NamedTuple):
    """Marks that the log can serve.

    Parameters
    ----------
    effects, windows
        The marks to go on with.
    gap
        What is gone, if anything is.
    log_is_ours
        Whether the log still is the one that the marks were made on; if not, no state that was folded from it holds.
    """

    effects: int
    windows: int
    gap: Gap | None
    log_is_ours: bool


def reconcile(effects: int, windows: int, start: int, end: int) -> Reconciled:
    """Return what to go on with when marks meet a log that holds ``[start, end)``.

    Examples
    --------
    >>> reconcile(50, 40, start=0, end=100)
    Reconciled(effects=50, windows=40, gap=None, log_is_ours=True)
    >>> reconcile(50, 40, start=70, end=100)[:2]
    (70, 70)
    >>> reconcile(50, 40, start=0, end=20).log_is_ours
    False
    """
    reached, behind = max(effects, windows), min(effects, windows)
    if reached > end:
        return Reconciled(start, start, Gap(end, reached, GapReason.LOG_TRUNCATED), log_is_ours=False)
    if behind < start:
        gap = Gap(behind, start, GapReason.LOG_START_MOVED)
        return Reconciled(max(effects, start), max(windows, start), gap, log_is_ours=True)
    return Reconciled(effects, windows, None, log_is_ours=True)


def proves_truncation(seen_beyond: int | None, end: int) -> bool:
    """Tell a log that lost its end from one whose end was asked for before the present owner moved the marks.

    Only an end that was asked for after marks beyond it were seen is evidence.

    Parameters
    ----------
    seen_beyond
        Marks that were seen beyond an end before this end was asked for, if any were.
    """
    return seen_beyond is not None and seen_beyond > end
