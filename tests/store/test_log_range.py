"""Marks against what the log holds (R61): a gap is noted when it is one, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.records import SourcePartition
from pipeline.store.connect import Connection, connect
from pipeline.store.progress import Progress, Subscriber

SOURCE = SourcePartition("t", 0)


@pytest.fixture
def connection(database) -> Iterator[Connection]:
    with connect(database.dsn, autocommit=True, lock_timeout_s=1) as opened:
        yield opened


def worker(name: str) -> Progress:
    return Progress(Subscriber("local", "g", name), 1)


def move_marks(connection: Connection, to: int) -> None:
    connection.execute("UPDATE source_progress SET effects_next = %s, windows_next = %s", [to, to])


def gaps(connection: Connection) -> list[tuple[int, int, str]]:
    return connection.execute("SELECT from_offset, to_offset, reason FROM source_gap ORDER BY id").fetchall()


def test_an_end_that_was_seen_before_the_marks_moved_is_no_truncation(connection: Connection) -> None:
    """The end was asked for, then the present owner stored more, then the partition is taken over."""
    worker("first").acquire(connection, SOURCE, 0, 100, None)
    move_marks(connection, 150)
    second = worker("second")

    with pytest.raises(DatabaseUnavailable, match="asking again"):
        second.acquire(connection, SOURCE, 0, 120, None)
    move_marks(connection, 180)  # the owner goes on, beyond the end that was asked for again
    with pytest.raises(DatabaseUnavailable, match="asking again"):
        second.acquire(connection, SOURCE, 0, 160, None)
    taken = second.acquire(connection, SOURCE, 0, 200, None)

    assert (taken.effects, taken.windows) == (180, 180)
    assert gaps(connection) == []


def test_a_log_that_ends_before_marks_that_were_seen_earlier_was_truncated(connection: Connection) -> None:
    worker("first").acquire(connection, SOURCE, 0, 100, None)
    move_marks(connection, 150)
    second = worker("second")

    with pytest.raises(DatabaseUnavailable, match="asking again"):
        second.acquire(connection, SOURCE, 0, 20, None)
    taken = second.acquire(connection, SOURCE, 0, 20, None)

    assert (taken.effects, taken.windows, taken.snapshot) == (0, 0, None)
    assert gaps(connection) == [(20, 150, "log_truncated")]


def test_a_log_start_beyond_the_marks_is_a_gap(connection: Connection) -> None:
    worker("first").acquire(connection, SOURCE, 0, 100, None)
    move_marks(connection, 50)

    taken = worker("second").acquire(connection, SOURCE, 70, 100, None)

    assert (taken.effects, taken.windows) == (70, 70)
    assert gaps(connection) == [(50, 70, "log_start_moved")]
