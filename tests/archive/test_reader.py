"""R10, R40: the archive read as a log gives what the database gives."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.reader import Archive
from pipeline.archive.superseded import Superseded
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.records import SourcePartition, StoredEvent
from pipeline.store.identity import Uuids
from tests.archive.stored import DAY, INGEST_MS, SOURCE, Plant, message, minute


def test_messages_come_in_order_with_bodies_places_and_times_as_they_were_stored(plant: Plant) -> None:
    odd = b' {"seq":5, ' + message(5, machine="\N{SNOWMAN}")[1:].replace(b'"seq":5,', b"") + b" "
    array = b"[" + b",".join([message(1), b"null", message(1), message(2)]) + b"]"
    plant.store([message(0, factory="z"), array, b"garbage", odd])
    plant.archive()

    assert plant.read() == [
        StoredEvent(0, 0, INGEST_MS, message(0, factory="z")),
        StoredEvent(1, 0, INGEST_MS, message(1)),
        StoredEvent(1, 3, INGEST_MS, message(2)),
        StoredEvent(3, 0, INGEST_MS, odd),
    ]


@pytest.fixture
def sliced(plant: Plant) -> Plant:
    """Forty offsets in four slices, over two factories and three days, with anomalies among the messages."""
    for begin in range(0, 40, 10):
        at = [DAY - dt.timedelta(days=n % 3) + dt.timedelta(minutes=n) for n in range(begin, begin + 10)]
        plant.store([message(begin + n, factory=f"f{n % 2}", at=at[n]) for n in range(10)])
        plant.archive()
    return plant


def test_any_stretch_is_read_across_slices(sliced: Plant) -> None:
    archive = Archive(sliced.place)
    assert archive.ranges("local", SOURCE) == [(0, 40)]

    for first, end in ((0, 40), (0, 1), (9, 11), (10, 20), (13, 37), (39, 40), (5, 5)):
        found = [event for some in archive.events("local", SOURCE, first, end) for event in some]
        assert [event.offset for event in found] == list(range(first, end))
        assert found == [event for event in sliced.stored() if first <= event.offset < end]


@pytest.mark.parametrize(("first", "end"), [(0, 41), (40, 41), (-1, 3), (100, 200)])
def test_what_is_not_archived_as_a_whole_is_refused(sliced: Plant, first: int, end: int) -> None:
    with pytest.raises(ArchiveDamaged, match=r"t\[3\] \[.*is not in the archive"):
        list(Archive(sliced.place).events("local", SOURCE, first, end))


def test_nothing_is_known_of_other_partitions_clusters_and_logs(sliced: Plant) -> None:
    archive = Archive(sliced.place)

    assert archive.ranges("local", SourcePartition("t", 4)) == []
    assert archive.ranges("other", SOURCE) == []
    assert archive.ranges("local", SOURCE, DAY) == []


def test_a_hole_that_a_lost_manifest_leaves_is_no_empty_stretch(sliced: Plant) -> None:
    path = next(path for path in sliced.place.files("manifest") if "0000010-" in path)
    sliced.place.delete(path)
    sliced.admin.execute("DELETE FROM event WHERE source_offset = 15")
    sliced.archive(compare=True)

    archive = Archive(sliced.place)
    assert archive.ranges("local", SOURCE) == [(0, 10), (20, 40)]
    with pytest.raises(ArchiveDamaged):
        list(archive.events("local", SOURCE, 0, 40))
    assert len(sliced.archived()) == 39


def test_a_manifest_of_another_format_is_refused(sliced: Plant) -> None:
    path = sliced.place.files("manifest")[0]
    manifest = json.loads(sliced.place.read(path)) | {"format": 2}
    sliced.place.write(path, json.dumps(manifest).encode())

    with pytest.raises(ArchiveDamaged, match=f"{path} has the format 2"):
        Archive(sliced.place)


def test_events_that_the_caller_says_are_superseded_are_left_out(sliced: Plant) -> None:
    rows = sliced.rows()
    gone = [row for row in rows if row[11] % 4 == 0]
    numbers = [int(row[0].replace("-", ""), 16) for row in gone]
    ids = Uuids(np.array([n >> 64 for n in numbers], np.uint64), np.array([n % 2**64 for n in numbers], np.uint64))
    ever = np.full(len(gone), 0), np.full(len(gone), 2**62)

    archive = Archive(sliced.place, Superseded(ids, *ever))
    found = [event for some in archive.events("local", SOURCE, 0, 40) for event in some]

    assert [event.offset for event in found] == [n for n in range(40) if n % 4]


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(PAIRS, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10)), max_size=12))
def test_what_is_superseded_is_told_by_id_and_time_of_storing(rules, rows) -> None:
    def ids(numbers: list[int]) -> Uuids:
        # Ids that agree in one half must not be taken for each other
        return Uuids(np.array([n // 2 for n in numbers], np.uint64), np.array([n % 2 for n in numbers], np.uint64))

    known = Superseded(
        ids([rule[0] for rule in rules]),
        np.array([rule[1] for rule in rules], np.int64),
        np.array([rule[2] for rule in rules], np.int64),
    )
    found = known.contain(ids([row[0] for row in rows]), np.array([row[1] for row in rows], np.int64))

    assert found.tolist() == [any(r[0] == id_ and r[1] <= at < r[2] for r in rules) for id_, at in rows]


def test_columns_are_the_same_events(sliced: Plant) -> None:
    sliced.store([message(100, at=minute(70))])
    sliced.archive()
    for events in Archive(sliced.place).events("local", SOURCE, 0, 41):
        assert len(events) == len(list(events)) == len(events.offsets)
        assert [event.value for event in events] == events.bodies
        assert [events[i] for i in range(len(events))] == list(events)
        assert all(isinstance(event, StoredEvent) for event in events)
