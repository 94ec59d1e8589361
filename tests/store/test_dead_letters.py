"""Dead letters as people see them (R18): found, taken by one at a time, and sent again as they came."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from pipeline.core.dead_letters import DeadLetter, DeadLetterReason
from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store import dead_letters
from pipeline.store.connect import Connection, connect
from pipeline.store.dead_letters import Selection, readable_headers
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from tests.store.leasing import acquire

SOURCE = SourcePartition("t", 0)
ALL = Selection("local", "g")
HEADERS = [
    ("iothub-connection-device-id", b"\xa1\x07press-1"),
    ("text", b"plain"),
    ("lines", b"a\nb"),
    ("umlaut", "Prüfstand".encode()),
    ("none", None),
    ("empty", b""),
    ("nul", b"\0"),
    ("like ours", b'{"base64": "AA=="}'),
]


def letter(offset: int, reason: DeadLetterReason) -> DeadLetter:
    body = b"\xff\0 no json %d" % offset
    return DeadLetter(offset, 0, reason, "why: \0 \ud800", b"\x80key", body, HEADERS, 1_790_000_000_000)


@pytest.fixture
def connection(database) -> Iterator[Connection]:
    """A connection beside five dead letters at the offsets 0 to 4, the odd ones empty."""
    progress = Progress(Subscriber("local", "g", "w"), 1)
    sink = Sink(lambda: connect(database.dsn), progress)
    with connect(database.dsn, autocommit=True) as opened:
        owner = acquire(progress, opened, SOURCE).owner
        reasons = (DeadLetterReason.NOT_UTF8, DeadLetterReason.EMPTY)
        letters = [letter(offset, reasons[offset % 2]) for offset in range(5)]
        nothing = fold(PartitionState(), RecordBatch(SOURCE, owner, 0, 5, [Record(0, 0, b"")]), FoldRules(), Marks())
        effects = Effects(5, nothing.events, dead_letters=letters)
        assert sink.store([UnitOfWork(SOURCE, owner, 0, 5, [effects])]) == {SOURCE}
        yield opened
    sink.close()


def offsets(letters: list[dead_letters.StoredLetter]) -> list[int]:
    return [each.source_offset for each in letters]


def test_a_letter_is_stored_as_it_came_and_can_be_sent_so(connection: Connection) -> None:
    (found,) = dead_letters.find(connection, Selection("local", "g", place=("t", 0, 3, 0)), 10)

    assert (found.key, found.body) == (b"\x80key", b"\xff\0 no json 3")
    assert found.raw_headers == HEADERS
    assert (found.reason, found.place) == ("empty", "t:0:3:0")
    assert "why" in found.detail


def test_letters_are_selected_by_whose_they_are_and_why(connection: Connection) -> None:
    def found(selection: Selection, limit: int = 10) -> list[int]:
        return offsets(dead_letters.find(connection, selection, limit))

    assert found(ALL) == [4, 3, 2, 1, 0]
    assert found(ALL, limit=2) == [4, 3]
    assert found(Selection("local", "g", reason="empty")) == [3, 1]
    assert found(Selection("local", "g", topic="t", reason="not_utf8")) == [4, 2, 0]
    assert found(Selection("local", "g", topic="other")) == []
    assert found(Selection("local", "h")) == found(Selection("site-2", "g")) == []


def test_two_who_take_letters_at_the_same_time_get_different_ones(connection: Connection, database) -> None:
    with connect(database.dsn, autocommit=True) as other:
        with (
            dead_letters.taken(connection, ALL, 3) as mine,
            dead_letters.taken(other, ALL, 3) as theirs,
        ):
            assert (offsets(mine), offsets(theirs)) == ([0, 1, 2], [3, 4])

        with dead_letters.taken(other, ALL, 10) as rest:
            assert rest == []

    assert dead_letters.find(connection, ALL, 10) == []
    assert offsets(dead_letters.find(connection, Selection("local", "g", requeued=True), 10)) == [4, 3, 2, 1, 0]


def test_letters_that_could_not_be_sent_can_be_taken_again(connection: Connection) -> None:
    with pytest.raises(ConnectionError), dead_letters.taken(connection, ALL, 3):
        raise ConnectionError("the broker is away")

    with dead_letters.taken(connection, ALL, 3) as again:
        assert offsets(again) == [0, 1, 2]


def test_a_record_that_is_refused_again_is_open_again(connection: Connection, database) -> None:
    """The topic was made anew, and its offsets began anew."""
    with dead_letters.taken(connection, ALL, 10):
        pass
    progress = Progress(Subscriber("local", "g", "w"), 1)
    owner = acquire(progress, connection, SOURCE).owner
    batch = RecordBatch(SOURCE, owner, 5, 9, [Record(2, 0, b"new")])
    effects = fold(PartitionState(), batch, FoldRules(), Marks())
    sink = Sink(lambda: connect(database.dsn), progress)

    assert sink.store([UnitOfWork(SOURCE, owner, 5, 9, [effects])]) == {SOURCE}

    assert [(each.source_offset, each.body) for each in dead_letters.find(connection, ALL, 10)] == [(2, b"new")]
    sink.close()


@given(st.lists(st.tuples(st.text(min_size=1, max_size=10), st.none() | st.binary(max_size=20))))
def test_headers_survive_being_made_readable(headers) -> None:
    shown = orjson.loads(orjson.dumps(readable_headers(headers)))

    assert [dead_letters._raw(value) for _, value in shown] == [value for _, value in headers]
    assert all(name.isprintable() for name, _ in shown)
    assert not any("\0" in value for _, value in shown if isinstance(value, str)), "a jsonb cannot hold it"
