"""Marks against what the log holds (R61): a gap is noted when it is one, and only then."""

from __future__ import annotations

import pytest

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import StaleEvidence
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import SourcePartition
from pipeline.store import controls, snapshots
from pipeline.store.connect import Connection
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.snapshots import Snapshot
from pipeline.store.takeover import peek, take_over
from tests.store.leasing import acquire

SOURCE = SourcePartition("t", 0)


def worker(name: str) -> Progress:
    return Progress(Subscriber("local", "g", name), 1)


def move_marks(connection: Connection, to: int) -> None:
    """Store what is before an offset, the last record of which has the checksum 7."""
    connection.execute(
        "UPDATE source_progress SET effects_next = %s, windows_next = %s, checksum = 7, checksum_offset = %s",
        [to, to, to - 1],
    )


def gaps(connection: Connection) -> list[tuple[int, int, str]]:
    return connection.execute("SELECT from_offset, to_offset, reason FROM source_gap ORDER BY id").fetchall()


def test_an_end_that_was_seen_before_another_owner_moved_the_marks_is_no_truncation(connection: Connection) -> None:
    """The marks are seen, the log is asked, somebody takes the partition and stores more, then it is taken over."""
    acquire(worker("first"), connection, SOURCE)
    move_marks(connection, 100)
    (seen,) = peek(connection, worker("second"), [SOURCE]).values()
    held = LogRange(0, 100)
    acquire(worker("third"), connection, SOURCE, end=150)
    move_marks(connection, 150)

    with pytest.raises(StaleEvidence, match="asking again"):
        take_over(connection, worker("second"), SOURCE, Evidence(seen, held), None)
    taken = acquire(worker("second"), connection, SOURCE, end=150)

    assert (taken.effects, taken.windows) == (150, 150)
    assert gaps(connection) == []


def test_an_owner_that_goes_on_storing_cannot_keep_a_partition(connection: Connection) -> None:
    """It does not know that the group gave the partition away, and moves the marks between every look and every grasp."""
    first = acquire(worker("first"), connection, SOURCE)
    move_marks(connection, 100)
    (seen,) = peek(connection, worker("second"), [SOURCE]).values()
    move_marks(connection, 120)

    taken = take_over(connection, worker("second"), SOURCE, Evidence(seen, LogRange(0, 100), checksum=7), None)

    assert (taken.previous_owner, taken.effects, taken.windows) == (first.owner, 120, 120)
    assert gaps(connection) == []


def test_a_log_that_ends_before_the_marks_was_truncated(connection: Connection) -> None:
    acquire(worker("first"), connection, SOURCE)
    move_marks(connection, 150)

    taken = acquire(worker("second"), connection, SOURCE, end=20)

    assert (taken.effects, taken.windows, taken.snapshot) == (0, 0, None)
    assert gaps(connection) == [(20, 150, "log_truncated")]


def test_a_log_start_beyond_the_marks_is_a_gap(connection: Connection) -> None:
    acquire(worker("first"), connection, SOURCE)
    move_marks(connection, 50)

    taken = acquire(worker("second"), connection, SOURCE, 70)

    assert (taken.effects, taken.windows) == (70, 50), "what is stored to 50 completes the windows"
    assert gaps(connection) == [(50, 70, "log_start_moved")]


def test_what_is_stored_is_not_missed_in_the_log(connection: Connection) -> None:
    acquire(worker("first"), connection, SOURCE)
    connection.execute("UPDATE source_progress SET effects_next = 90, windows_next = 50")

    taken = acquire(worker("second"), connection, SOURCE, 70)

    assert (taken.effects, taken.windows, gaps(connection)) == (90, 50, [])


def test_a_lost_log_keeps_its_marks_until_its_windows_are_merged(connection: Connection) -> None:
    acquire(worker("first"), connection, SOURCE)
    move_marks(connection, 50)
    connection.execute("UPDATE source_progress SET windows_next = 40")

    first = acquire(worker("second"), connection, SOURCE, checksum=8)
    connection.execute("UPDATE source_progress SET windows_next = 50")
    second = acquire(worker("second"), connection, SOURCE, checksum=8)

    assert [(taken.effects, taken.windows, taken.settle_first) for taken in (first, second)] == [
        (50, 40, True),
        (0, 0, False),
    ]
    assert gaps(connection) == [(0, 50, "log_recreated")]


@pytest.mark.parametrize("checksum", [7, None], ids=["the record", "no record"])
def test_a_log_that_has_the_last_record_or_a_hole_in_its_place_is_ours(connection: Connection, checksum) -> None:
    acquire(worker("first"), connection, SOURCE)
    move_marks(connection, 50)

    taken = acquire(worker("second"), connection, SOURCE, checksum=checksum)

    assert (taken.effects, gaps(connection)) == (50, [])


def test_a_log_with_another_record_in_place_of_the_last_is_another_log(connection: Connection) -> None:
    """Its end is beyond the marks; neither state nor decisions of the lost log are taken into it."""
    first = worker("first")
    owner = acquire(first, connection, SOURCE).owner
    move_marks(connection, 50)
    assert snapshots.save(connection, first, Snapshot(SOURCE, owner, 50, 1, b"state", 5))
    controls.skip(connection, first, SOURCE, owner, 7, DeadLetterReason.FOLD_FAILED, "in the lost log")

    taken = acquire(worker("second"), connection, SOURCE, 3, checksum=8)

    assert (taken.effects, taken.windows, taken.snapshot, taken.skip) == (3, 3, None, {})
    assert gaps(connection) == [(3, 50, "log_recreated")]
    # Whoever read the lost log may still find something about it
    controls.skip(connection, first, SOURCE, owner, 8, DeadLetterReason.FOLD_FAILED, "in the lost log")
    controls.skip(connection, first, SOURCE, taken.owner, 9, DeadLetterReason.FOLD_FAILED, "in the new log")
    again = acquire(worker("third"), connection, SOURCE, 3)
    assert again.skip == {9: (DeadLetterReason.FOLD_FAILED, "in the new log")}
    assert len(gaps(connection)) == 1, "the lost log's checksum is no evidence against the new one"
