"""The marks against the log: what a new owner has to think of what it finds. Decisions only, no SQL and no broker."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pipeline.core.errors import StaleEvidence


class LogRange(NamedTuple):
    """Positions the broker can still deliver: ``[start, end)``."""

    start: int
    end: int


class StoredMarks(NamedTuple):
    """The progress of a source partition as it was stored at some moment.

    Parameters
    ----------
    owner
        Token of whoever owned it; ``None`` if nobody ever did.
    effects, windows
        The marks.
    checksum, checksum_offset
        CRC-32 of the body of the last record whose effects are stored, and its offset; ``None`` if there is none.
    """

    owner: str | None
    effects: int
    windows: int
    checksum: int | None = None
    checksum_offset: int | None = None

    @property
    def last_record(self) -> int | None:
        """Offset of a record that the log must still have as it was, or not at all."""
        at = self.checksum_offset
        return at if at is not None and self.checksum is not None and at < self.effects else None


class Evidence(NamedTuple):
    """What a log was seen to hold after its partition's marks were seen.

    Parameters
    ----------
    seen
        The marks that the log was asked about; ``None`` if there were none yet.
    held
        What the log held afterwards.
    checksum
        CRC-32 of the body that the log has at :attr:`StoredMarks.last_record`; ``None`` if it has no such record (any more):
        then nothing can be told.
    """

    seen: StoredMarks | None
    held: LogRange
    checksum: int | None = None


class GapReason(StrEnum):
    """Why records cannot be read any more."""

    LOG_START_MOVED = "log_start_moved"
    """The log begins after the marks: retention was faster."""

    LOG_TRUNCATED = "log_truncated"
    """The log ends before the marks: it is another one by the same name, or lost its end."""

    LOG_RECREATED = "log_recreated"
    """The log has come as far as the marks, but with other records: it is another one by the same name."""


class Gap(NamedTuple):
    """Offsets ``[first, end)`` that nobody can read any more, or that the marks have passed in another log."""

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
    settle_first
        Whether windows of a lost log are still to be merged, from what is stored of it; the marks are still its own then. The
        new log is begun when the marks are even.
    """

    effects: int
    windows: int
    gap: Gap | None = None
    log_is_ours: bool = True
    settle_first: bool = False

    @property
    def begins_anew(self) -> bool:
        """Whether reading begins in a new log, with nothing of the lost one."""
        return not self.log_is_ours and not self.settle_first


def reconcile(evidence: Evidence, present: StoredMarks) -> Reconciled:
    """Return what to go on with, given what the log was seen to hold.

    Records that were stored are not missed in the log: what the windows mark has not passed yet is folded from there. So only
    what the effects mark had not passed is a gap.

    Evidence must be younger than what it is evidence about: a log that was asked before marks moved says nothing against
    the marks as they are now. If it said nothing against them as they were, their owner may have moved them on since.

    Parameters
    ----------
    present
        The marks as they are now, under lock.

    Raises
    ------
    StaleEvidence
        If somebody moved the marks since: see them and ask the log again.

    Examples
    --------
    >>> marks = StoredMarks("mine", effects=50, windows=40, checksum=7, checksum_offset=49)
    >>> reconcile(Evidence(marks, LogRange(0, 100), checksum=7), marks)
    Reconciled(effects=50, windows=40, gap=None, log_is_ours=True, settle_first=False)
    >>> reconcile(Evidence(marks, LogRange(70, 100)), marks)[:3]
    (70, 40, Gap(first=50, end=70, reason=<GapReason.LOG_START_MOVED: 'log_start_moved'>))
    >>> reconcile(Evidence(marks, LogRange(0, 20)), marks).settle_first
    True
    >>> even = marks._replace(windows=50)
    >>> reconcile(Evidence(even, LogRange(0, 100), checksum=8), even)[:3]
    (0, 0, Gap(first=0, end=50, reason=<GapReason.LOG_RECREATED: 'log_recreated'>))
    """
    # What nobody has owned yet, nobody can have moved
    seen = present if evidence.seen is None and present.owner is None else evidence.seen
    if seen is not None:
        found = _compare(seen, evidence)
        if present == seen:
            return found
        if found == Reconciled(seen.effects, seen.windows) and _moved_on(seen, present):
            return Reconciled(present.effects, present.windows)
    raise StaleEvidence(f"the marks moved to {present.effects} while the log was asked about them: asking again")


def _moved_on(seen: StoredMarks, present: StoredMarks) -> bool:
    return present.owner == seen.owner and present.effects >= seen.effects and present.windows >= seen.windows


def _compare(seen: StoredMarks, evidence: Evidence) -> Reconciled:
    start, end = evidence.held
    effects, windows = seen.effects, seen.windows
    if effects > end:
        return _another(seen, start, Gap(end, effects, GapReason.LOG_TRUNCATED))
    if seen.last_record is not None and evidence.checksum not in {None, seen.checksum}:
        return _another(seen, start, Gap(start, effects, GapReason.LOG_RECREATED))
    if effects < start:
        return Reconciled(start, windows, Gap(effects, start, GapReason.LOG_START_MOVED))
    return Reconciled(effects, windows)


def _another(seen: StoredMarks, start: int, gap: Gap) -> Reconciled:
    if seen.windows < seen.effects:
        return Reconciled(seen.effects, seen.windows, log_is_ours=False, settle_first=True)
    return Reconciled(start, start, gap, log_is_ours=False)
