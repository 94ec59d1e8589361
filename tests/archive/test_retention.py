"""R38: what is old goes from the database, events only once the archive is seen to have them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pipeline.archive import manifests, retention
from pipeline.archive.ages import AGES, count_older, delete_older
from pipeline.archive.comparing import Comparison, HourSums, Rows
from pipeline.archive.partitions import DEFAULT, RETIRED, bounded, retire, retired
from pipeline.archive.retention import Retention, Verdict
from pipeline.store.connect import connect
from tests.archive.stored import DAY, SOURCE, Plant, message, minute

BEFORE = DAY + dt.timedelta(days=1)


@contextmanager
def retaining(plant: Plant, *, archive: bool = True, thorough: bool = False) -> Iterator[Retention]:
    with (
        connect(plant.admin_dsn, autocommit=True, lock_timeout_s=1) as guard,
        connect(plant.admin_dsn, autocommit=True, lock_timeout_s=1) as reading,
    ):
        yield Retention(guard, reading, plant.place if archive else None, thorough=thorough)


def retain(plant: Plant, before: dt.datetime = BEFORE, *, dry_run: bool = False, **options: bool) -> list[Verdict]:
    with retaining(plant, **options) as made:
        return list(made.apply(before, dry_run=dry_run))


def names(plant: Plant) -> set[str]:
    return {each.name for each in bounded(plant.admin)}


@pytest.fixture
def full(plant: Plant) -> Plant:
    """A plant with two days of events, both archived."""
    plant.make_day(DAY - dt.timedelta(days=1))
    plant.store([message(n, at=minute(n * 10), factory=f"f{n % 2}") for n in range(30)])
    plant.store([message(n + 50, at=DAY - dt.timedelta(minutes=n + 1)) for n in range(20)])
    plant.archive()
    return plant


def test_a_day_goes_when_the_archive_has_it_and_is_read_from_there_as_before(full: Plant) -> None:
    before, log = full.rows(), full.stored()

    verdicts = retain(full)

    assert verdicts == [Verdict("event_20260920", 20, True), Verdict("event_20260921", 30, True)]
    assert full.rows() == []
    assert names(full).isdisjoint({"event_20260920", "event_20260921"})
    assert full.archived() == before
    assert full.read() == log
    assert retired(full.admin) == []


def test_a_day_in_four_partitions_goes_partition_by_partition(plant: Plant) -> None:
    day = DAY - dt.timedelta(days=1)
    plant.admin.execute("SELECT make_event_partitions(%s, %s)", [day.date(), day.date()])
    plant.store([message(n, at=day + dt.timedelta(hours=n)) for n in range(24)])
    plant.archive()
    before, parts = plant.rows(), [f"event_20260920_{hour}" for hour in ("00", "06", "12", "18")]

    first = retain(plant, before=day + dt.timedelta(hours=12))
    second = retain(plant, before=DAY)

    assert first == [Verdict(name, 6, True) for name in parts[:2]]
    assert second == [Verdict(name, 6, True) for name in parts[2:]]
    assert names(plant).isdisjoint(parts)
    assert plant.rows() == []
    assert plant.archived() == before


def test_only_what_is_old_enough_goes(full: Plant) -> None:
    assert [each.what for each in retain(full, before=DAY)] == ["event_20260920"]
    assert [each.what for each in retain(full, before=DAY + dt.timedelta(hours=23))] == []
    assert len(full.rows()) == 30


def test_a_dry_run_says_what_would_go_and_changes_nothing(full: Plant) -> None:
    full.store([message(99, at=minute(5))])
    before = full.rows(), names(full), full.place.files("")

    verdicts = retain(full, dry_run=True)

    assert [(each.rows, each.dropped) for each in verdicts] == [(20, True), (31, False)]
    assert verdicts[1].reason == "1 row(s) are not archived: run `pipeline archive --compare`"
    assert (full.rows(), names(full), full.place.files("")) == before


def test_a_day_with_a_row_that_is_not_archived_stays(full: Plant) -> None:
    full.store([message(99, at=minute(5))])

    verdicts = retain(full)

    assert [(each.what, each.dropped) for each in verdicts] == [("event_20260920", True), ("event_20260921", False)]
    assert len(full.rows()) == 31
    full.archive()
    assert [(each.what, each.dropped) for each in retain(full)] == [("event_20260921", True)]
    assert len(full.archived()) == 51


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_day_whose_file_is_missing_or_damaged_stays(full: Plant, damage: str) -> None:
    path = next(path for path in full.place.files("event") if "day=2026-09-21" in path)
    whole = Path(full.place.address) / path
    content = whole.read_bytes()
    if damage == "gone":
        whole.unlink()
    else:
        whole.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b"?")

    # What only a change inside tells is seen by those who ask for it
    verdicts = retain(full, thorough=damage == "changed")

    assert [each.dropped for each in verdicts] == [True, False]
    assert path in verdicts[1].reason
    assert len(full.rows()) == 30


def test_a_reading_that_comes_between_the_check_and_the_drop_is_archived(
    full: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(connection: psycopg.Connection, name: str) -> str:
        if name == "event_20260921":
            full.store([message(99, at=minute(5)), message(100, at=minute(6))])
        return retire(connection, name)

    monkeypatch.setattr(retention, "retire", late)
    before = full.rows()

    assert [(each.rows, each.dropped) for each in retain(full)] == [(20, True), (32, True)]

    assert full.rows() == []
    archived = full.archived()
    assert len(archived) == 52
    assert set(before) < set(archived)
    # Their offsets were no slice's yet; now one covers them, and finds them in the remainder
    full.archive(compare=True)
    assert full.archived() == archived
    assert [event.offset for event in full.read()] == list(range(52))


def test_what_a_killed_run_took_out_is_finished_by_the_next(full: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    full.store([message(99, at=minute(5))])
    with monkeypatch.context() as patch:
        patch.setattr(retention, "drop", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            retain(full)
    (out,) = retired(full.admin)
    assert out.startswith(RETIRED)
    full.admin.execute(f"INSERT INTO {out} SELECT * FROM event LIMIT 1")

    dry = retain(full, dry_run=True)
    assert [(each.what, each.dropped) for each in dry] == [(out, True), ("event_20260921", False)]
    verdicts = retain(full)

    assert (verdicts[0].what, verdicts[0].rows, verdicts[0].dropped) == (out, 21, True)
    assert retired(full.admin) == []


def test_partitions_may_have_any_bounds(plant: Plant) -> None:
    plant.admin.execute("DROP TABLE event_20260921")
    for name, low, high in (("a", 0, 7), ("b", 7, 90), ("c", 90, 600), ("d", 600, 3000)):
        plant.admin.execute(
            psycopg.sql.SQL("CREATE TABLE {} PARTITION OF event FOR VALUES FROM ({}) TO ({})").format(
                psycopg.sql.Identifier(f'odd "{name}"'), minute(low).isoformat(), minute(high).isoformat()
            )
        )
    plant.store([message(n, at=minute(n * 10)) for n in range(80)])
    plant.archive()
    before = plant.rows()

    verdicts = retain(plant, before=minute(600))

    assert [(each.what, each.rows, each.dropped) for each in verdicts] == [
        ('odd "a"', 1, True), ('odd "b"', 8, True), ('odd "c"', 51, True),
    ]  # fmt: skip
    assert len(plant.rows()) == 20
    assert plant.archived() == before


def test_old_rows_of_the_default_partition_go_and_the_others_stay(plant: Plant) -> None:
    old, new = DAY - dt.timedelta(days=400), DAY + dt.timedelta(hours=14)
    plant.admin.execute("DROP TABLE event_20260921")
    plant.store([message(n, at=old + dt.timedelta(hours=n)) for n in range(10)])
    plant.store([message(n + 20, at=new) for n in range(5)])
    plant.archive()
    plant.store([message(40, at=old)])
    before = plant.rows()

    (kept,) = retain(plant, before=DAY)
    assert (kept.rows, kept.dropped, "1 row(s) are not archived" in kept.reason) == (11, False, True)
    assert plant.rows() == before
    plant.archive()
    (gone,) = retain(plant, before=DAY)

    assert (gone.what, gone.rows, gone.dropped) == (f"{DEFAULT}, rows before the limit", 11, True)
    assert {row[6] for row in plant.rows()} == {new}
    assert plant.archived() == before
    assert retain(plant, before=DAY) == []


def test_old_rows_of_the_default_partition_are_not_gone_through_for_each_batch(plant: Plant, monkeypatch) -> None:
    count, at_once = 60_000, 1000
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", at_once)
    plant.admin.execute(
        "INSERT INTO event SELECT gen_random_uuid(), 'New Machine', 'machine', gen_random_uuid(), 'm', 'aurora',"
        " %s::timestamptz + n * interval '1 second', now(), now(), 't', 3, n, 0, '{}' FROM generate_series(1, %s) AS n",
        [DAY - dt.timedelta(days=400), count],
    )
    plant.archive()
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'event_default'"

    with retaining(plant) as made:
        made._guard.execute("SELECT pg_stat_force_next_flush()")
        (before,) = plant.admin.execute(read).fetchone()
        assert [(each.rows, each.dropped) for each in made.apply(DAY)][-1] == (count, True)
        made._guard.execute("SELECT pg_stat_force_next_flush()")
        made._reading.execute("SELECT pg_stat_force_next_flush()")
        (after,) = plant.admin.execute(read).fetchone()

    assert plant.rows() == []
    assert after - before < 15 * count, "and not once for each batch"


def damaged_inside(plant: Plant, day: dt.date) -> str:
    """Change a file so that its size stays."""
    path = next(path for path in plant.place.files("event") if f"day={day}" in path)
    whole = Path(plant.place.address) / path
    whole.write_bytes(whole.read_bytes()[:-1] + b"?")
    return path


def test_a_damaged_file_that_is_needed_to_compare_keeps_its_partition_alone(full: Plant) -> None:
    full.store([message(99, at=DAY - dt.timedelta(minutes=5))])
    path = damaged_inside(full, DAY.date() - dt.timedelta(days=1))

    verdicts = retain(full)

    assert [each.dropped for each in verdicts] == [False, True]
    assert path in verdicts[0].reason
    assert len(full.rows()) == 21


def test_a_damaged_file_keeps_what_was_taken_out_already(full: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(connection: psycopg.Connection, name: str) -> str:
        if name == "event_20260920":
            full.store([message(99, at=DAY - dt.timedelta(minutes=5))])
            damaged_inside(full, DAY.date() - dt.timedelta(days=1))
        return retire(connection, name)

    monkeypatch.setattr(retention, "retire", late)

    assert [each.dropped for each in retain(full)] == [False, True]
    (out,) = retired(full.admin)
    assert full.admin.execute(f"SELECT count(*) FROM {out}").fetchone() == (21,)


def test_a_damaged_file_keeps_old_rows_of_the_default_partition(plant: Plant) -> None:
    old = DAY - dt.timedelta(days=400)
    plant.store([message(n, at=old) for n in range(10)])
    plant.archive()
    path = damaged_inside(plant, old.date())

    verdicts = retain(plant)

    assert [each.dropped for each in verdicts] == [True, False]
    assert path in verdicts[1].reason
    assert len(plant.rows()) == 10


def test_a_late_reading_of_a_dropped_day_is_archived_and_goes_with_the_next_run(full: Plant) -> None:
    retain(full)
    full.store([message(99, at=minute(5))])
    assert len(full.rows(DEFAULT)) == 1

    full.archive()
    assert [(each.rows, each.dropped) for each in retain(full)] == [(1, True)]

    assert full.rows() == []
    assert len(full.archived()) == 51


def test_rows_are_stored_while_a_partition_is_compared(full: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stored = [], []

    def sums(self: Comparison, given: Rows) -> HourSums:
        # In the middle of a statement that reads the partition
        with self._connection.transaction():
            found = summed(self, given)
            begun.append(given.relation)
            full.leasing.execute("SET lock_timeout = 200")
            full.store([message(1000 + len(stored), at=minute(len(stored)))])
            stored.append(1)
        return found

    summed = Comparison.sums
    monkeypatch.setattr(Comparison, "sums", sums)
    verdicts = retain(full, dry_run=True)

    assert len(begun) == len(stored) == 3
    assert [(each.rows, each.dropped) for each in verdicts] == [(20, True), (31, False)]


def test_a_partition_in_use_is_waited_for_and_given_way_to_workers_between(full: Plant, monkeypatch) -> None:
    """Who reads event stays at it; at each try a worker that waits behind it comes through before the next."""
    stored: list[int] = []

    def worker_stores(_: float) -> None:
        # Nobody waits for a lock that would be in its way
        full.leasing.execute("SET lock_timeout = 200")
        full.store([message(1000 + len(stored), at=DAY - dt.timedelta(days=9))])
        stored.append(1)
        if len(stored) == 3:
            reader.rollback()

    monkeypatch.setattr("pipeline.archive.partitions.time.sleep", worker_stores)
    with psycopg.connect(full.admin_dsn) as reader:
        reader.execute("SELECT count(*) FROM telemetry.event")
        with retaining(full) as made:
            made._guard.execute("SET lock_timeout = 100")
            verdicts = list(made.apply(BEFORE))

    assert [each.dropped for each in verdicts[:2]] == [True, True]
    assert len(stored) == 3
    # Those of the worker are in the default partition, and not archived yet
    full.archive()
    assert len(full.archived()) == 53


def test_a_partition_that_is_always_in_use_stays_with_the_reason(full: Plant, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.archive.partitions._TRIES", 1)
    with psycopg.connect(full.admin_dsn) as reader:
        reader.execute("SELECT count(*) FROM telemetry.event")
        verdicts = retain(full)

    assert [each.dropped for each in verdicts] == [False, False]
    assert "somebody reads event for long" in verdicts[0].reason
    assert len(full.rows()) == 50


def test_without_an_archive_only_what_every_kept_state_contains_goes(full: Plant) -> None:
    verdicts = retain(full, archive=False)
    assert [each.dropped for each in verdicts] == [False, False]
    assert f"the state of {SOURCE} that the group g keeps" in verdicts[0].reason

    full.admin.execute("UPDATE source_progress SET windows_next = 50")
    full.admin.execute(
        "INSERT INTO partition_snapshot VALUES ('local', 'g', 't', 3, 30, 1, 1, '', 0, now())",
    )
    assert [each.dropped for each in retain(full, archive=False)] == [False, True]
    full.admin.execute("UPDATE partition_snapshot SET snapshot_offset = 50")
    assert [each.dropped for each in retain(full, archive=False)] == [True]
    assert full.rows() == []


@pytest.mark.parametrize(
    "table",
    [
        "dead_letter",
        "anomaly",
        "reading_window",
        "quality_report",
        "maintenance_record",
        "factory_window",
        "operating_cycle",
        "cycle_reading",
        "maintenance_requirement",
        "maintenance_aggregate",
    ],
)
def test_tables_lose_exactly_what_is_older_than_their_age(plant: Plant, table: str) -> None:
    insert = {
        "dead_letter": "('l', 'g', 't', 0, n, 0, 'empty', '', '', '', '{}', %(at)s, %(at)s - n * interval '1 hour')",
        "anomaly": "('m', 'l', 't', 0, n, 0, 's', 'spike', 'f', %(at)s - n * interval '1 hour', 1, 1, 1, 'd', 1, 'w',"
        " gen_random_uuid(), gen_random_uuid())",
        "reading_window": "('m', 's', %(at)s - n * interval '1 hour', 'f', 1, 1, 1, 1, 1, 1, %(at)s, 1, 1, 1, 0, 1)",
        "quality_report": "('m', 'l', 't', 0, n, 0, 'f', '', 'A', '-infinity', %(at)s - n * interval '1 hour', 1, 1, 1, 1, 1,"
        " 1, %(at)s, gen_random_uuid())",
        "maintenance_record": "('m', 'l', 't', 0, n, 0, 'f', 'planned', 'x', '', %(at)s - n * interval '1 hour', %(at)s,"
        " gen_random_uuid())",
        "maintenance_requirement": "('m', 'l', 't', 0, n, 0, 'f', '', 1, 0, 'r', 1, 'x', %(at)s - n * interval '1 hour',"
        " gen_random_uuid(), gen_random_uuid())",
        "maintenance_aggregate": "('m', 'f', 1, %(at)s - n * interval '1 hour', 1, 1, 0, %(at)s, %(at)s)",
        "factory_window": "('f', 's', %(at)s - n * interval '1 hour', 1, 1, 1, 1, 1, 1, 1, %(at)s, 1, 1, 1, 0, 0)",
        "operating_cycle": "('m', %(at)s - n * interval '1 day', 1, 'f', %(at)s - n * interval '1 hour', 1, 1, false)",
        "cycle_reading": "('m', %(at)s - n * interval '1 day', 1, 's', 1, 1, 1, 1, 1, %(at)s - n * interval '1 hour')",
    }[table]
    column = AGES[table].column
    plant.admin.execute(f"INSERT INTO {table} SELECT {insert[1:-1]} FROM generate_series(1, 60000) AS n", {"at": DAY})
    limit = DAY - dt.timedelta(hours=100)

    assert count_older(plant.admin, table, column, limit) == 59_900
    assert delete_older(plant.admin, table, column, limit) == 59_900

    left = plant.admin.execute(f"SELECT count(*), min({column}) FROM {table}").fetchone()
    assert left == (100, limit)
    assert delete_older(plant.admin, table, column, limit) == 0


def test_the_manifests_alone_say_what_may_go(full: Plant) -> None:
    for path, _ in manifests.load(full.place):
        full.place.delete(path)

    assert [each.dropped for each in retain(full)] == [False, False]
    full.archive(compare=True)
    assert [each.dropped for each in retain(full)] == [True, True]
    assert len(full.archived()) == 50
