"""Places at which a process can die, fail or freeze with the most to lose, by name.

A test of its own entry point arms them; nothing else can, neither a setting nor the environment, so that an installation
never meets one. Disarmed, a point costs one comparison, and there is none per record.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum, auto


class CrashPoint(StrEnum):
    """The places, in the order in which a batch of records meets them."""

    MAKING_EVENT_PARTITIONS = auto()
    """The days ahead of ``event`` are made, and whoever asked does not know it yet."""
    BEFORE_MIGRATION = auto()
    """Some migrations are applied, the next one is not."""
    INSIDE_MIGRATION = auto()
    """A migration's statements are done, and it is neither noted nor committed."""
    PARTITION_INDEXED = auto()
    """An index is built on a partition of ``event``, and is no part of the table's index yet."""
    TOKEN_WRITTEN = auto()
    """In a take-over: the new owner's token is written and not committed."""
    LOADING_SNAPSHOT = auto()
    """A partition is taken over, its state not loaded yet."""
    REBUILDING_STATE = auto()
    """The log has lost what the state lacks; some of it is folded from the stored events."""
    BEFORE_SEEK = auto()
    """A partition is taken over and loaded, and nothing of it is read yet."""
    FOLDING = auto()
    """A batch has changed the state; position, marks and effects say nothing of it yet."""
    MARKS_MOVED = auto()
    """In a transaction: after the compare-and-set, before any effect."""
    BEFORE_EVENTS = auto()
    """In a transaction: the rows are built, none is sent."""
    AMID_COPY = auto()
    """In a transaction: half of the bytes of the events, or of new windows, are sent."""
    BEFORE_WINDOWS = auto()
    """In a transaction: after the effects, before windows and machines are merged."""
    BEFORE_COMMIT = auto()
    """Everything is written, COMMIT is not sent."""
    AFTER_COMMIT = auto()
    """COMMIT took effect, and its answer has not arrived."""
    BEFORE_SETTLING = auto()
    """A transaction is known to be stored, and the partitions do not know it yet."""
    SNAPSHOT_CUT = auto()
    """A state was cut from the partition; it is neither encoded nor stored."""
    BEFORE_SNAPSHOT = auto()
    """A snapshot is about to be stored; meanwhile the partition may belong to another worker."""
    SNAPSHOT_STORED = auto()
    """A snapshot is stored, and the worker does not know it yet."""
    BEFORE_CONTROL_RECORD = auto()
    """A record is known to be unfit, and nobody has noted it."""
    CONTROL_RECORD_WRITTEN = auto()
    """The control record is stored, and the worker does not know it yet."""
    MESSAGES_PUBLISHED = auto()
    """The broker has messages of ours, and the outbox does not say so yet."""
    PUBLISHING_MARKS = auto()
    """The marks are about to be committed to the broker."""
    DRAINING = auto()
    """A worker was told to stop: it folds no more and has not stored the rest."""
    DRAINED = auto()
    """A stopping worker has stored everything and has not kept its states."""


_armed: Callable[[CrashPoint], None] | None = None


def reached(point: CrashPoint) -> None:
    """Tell whoever armed the points; nobody did outside a test."""
    if _armed is not None:
        _armed(point)


def arm(what_happens: Callable[[CrashPoint], None]) -> None:
    """Have every point of this process call a test's function: it may end the process, raise, or not return for long."""
    global _armed  # noqa: PLW0603  # one process, one test
    _armed = what_happens
