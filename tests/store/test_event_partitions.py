"""R34: partitions of event, the index by machine on those that had rows before it, and what the planner makes of both."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline import crash_points
from pipeline.crash_points import CrashPoint
from pipeline.processes import wait_until
from pipeline.store import event_partitions as partitions
from pipeline.store import migrate as migrations
from pipeline.store.connect import Connection, connect
from pipeline.store.event_partitions import bring_up_to_date, event_partitions, summarize
from pipeline.store.migrate import FOLDER, MigrationFailed, make_partitions, migrate
from tests.system.processes import Site
from tests.system.producing import message, produce

NEWEST = "0013.event-queries"
HOURS = dt.timedelta(hours=6)
DAY = dt.timedelta(days=1)
TODAY = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
INSERT = (
    "INSERT INTO event SELECT gen_random_uuid(), 'Telemetry Ingest', 'machine', gen_random_uuid(), 'm-' || i %% 100, 'f',"
    " %s::timestamptz + i * interval '100 ms', now(), now(), 't', 0, i, 0, json_build_object('x', repeat('x', 200))"
    " FROM generate_series(0, %s - 1) AS i"
)
OLD = dt.datetime(1999, 1, 1, tzinfo=dt.UTC)
"""In no partition but the default one."""


@pytest.fixture
def previous(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The owner's connection string to a database of the version before, with rows of yesterday, today and long ago."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in FOLDER.glob("*.sql"):
        if path.stem < NEWEST:
            shutil.copy(path, folder)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "FOLDER", folder)
        patch.setattr(partitions, "bring_up_to_date", lambda _: [])
        migrate(empty_database)
    with connect(empty_database, autocommit=True) as connection:
        for begins in (TODAY - DAY, TODAY, OLD):
            connection.execute(INSERT, [begins, 100])
    return empty_database


@pytest.fixture
def migrated(previous: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, after a ``pipeline migrate`` that was killed when the migrations were applied."""
    with monkeypatch.context() as patch:
        patch.setattr(partitions, "bring_up_to_date", lambda _: [])
        assert NEWEST in migrate(previous)
    return previous


def day(begins: dt.datetime) -> str:
    return f"event_{begins:%Y%m%d}"


def rows(connection: Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])  # type: ignore[index]  # one row


def all_is_well(connection: Connection) -> bool:
    """Return whether the index is whole, and has as many rows as the table when it is asked machine by machine."""
    valid = connection.execute(
        "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid IN (SELECT relid FROM pg_partition_tree('event_machine'))"
    ).fetchone()
    connection.execute("SET enable_seqscan = off")
    found = sum(
        connection.execute("SELECT count(*) FROM event WHERE machine_id = %s", [f"m-{i}"]).fetchone()[0]  # type: ignore[index]
        for i in range(100)
    )
    return valid == (True,) and found == rows(connection) and all(each.indexed for each in event_partitions(connection))


def test_a_new_installation_has_four_partitions_a_day_and_each_has_the_index(database) -> None:
    with connect(database.dsn) as worker:
        there = event_partitions(worker)

    assert {each.ends - each.begins for each in there if each.begins and each.begins >= TODAY} == {HOURS}
    assert [each.begins for each in there[:-2]] == [TODAY + 8 * DAY - HOURS * n for n in range(1, 33)]
    assert [each.name for each in there[-2:]] == [day(TODAY - DAY), "event_default"]
    assert all(each.indexed for each in there)


def test_an_installation_of_the_version_before_keeps_its_rows_and_gets_the_index_and_the_size(previous: str) -> None:
    with connect(previous) as connection:
        before = rows(connection)

    migrate(previous)

    with connect(previous, autocommit=True) as connection:
        there = {each.name: each for each in event_partitions(connection)}
        assert rows(connection) == before == 300
        assert there[day(TODAY)].ends == TODAY + DAY, "its rows stay where they are"
        assert day(TODAY + DAY) not in there
        assert {each.ends - each.begins for each in there.values() if each.begins and each.begins > TODAY} == {HOURS}
        assert make_partitions(connection) == 0
        assert make_partitions(connection, 8) == 4
        assert all_is_well(connection)


def test_an_index_that_an_interrupted_build_left_behind_is_built_again(migrated: str) -> None:
    name = f"{day(TODAY)}_machine"
    with connect(migrated) as writer, connect(migrated, autocommit=True, lock_timeout_s=0.2) as interrupted:
        writer.execute(INSERT, [TODAY, 1])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            interrupted.execute(f"CREATE INDEX CONCURRENTLY {name} ON {day(TODAY)} USING gin (machine_id)")
        invalid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass"
        assert interrupted.execute(invalid).fetchone() == (False,)
        writer.commit()

    assert day(TODAY) in bring_up_to_date(migrated)

    with connect(migrated, autocommit=True) as connection:
        assert all_is_well(connection)


def test_several_at_once_build_each_index_once(migrated: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        built = [name for names in pool.map(bring_up_to_date, [migrated] * 3) for name in names]

    with connect(migrated, autocommit=True) as connection:
        assert sorted(built) == sorted([day(TODAY - DAY), day(TODAY), "event_default"])
        assert all_is_well(connection)


def test_rows_are_stored_while_an_index_is_built(migrated: str) -> None:
    """The build waits for a writer that is slow; others write into the same partition meanwhile."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%' AND wait_event_type = 'Lock'"
    build = threading.Thread(target=bring_up_to_date, args=[migrated])
    with connect(migrated) as slow, connect(migrated, autocommit=True, lock_timeout_s=1) as other:
        slow.execute(f"LOCK TABLE ONLY {day(TODAY)} IN ROW EXCLUSIVE MODE")
        build.start()
        assert wait_until(lambda: other.execute(waiting).fetchone() == (1,), 20)
        other.execute(INSERT, [TODAY, 50])
        assert build.is_alive()
        slow.commit()
        build.join()

        assert rows(other) == 350
        assert all_is_well(other)


@pytest.mark.parametrize("dropped", [TODAY, TODAY - DAY], ids=["just built", "to be built"])
def test_a_partition_that_is_dropped_meanwhile_is_left_out(
    migrated: str, dropped: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(_: CrashPoint) -> None:
        with connect(migrated, autocommit=True) as retention:
            retention.execute(f"DROP TABLE IF EXISTS {day(dropped)}")

    monkeypatch.setattr(crash_points, "_armed", drop)

    assert sorted(bring_up_to_date(migrated)) == sorted(
        {day(TODAY), day(TODAY - DAY), "event_default"} - {day(dropped)}
    )

    with connect(migrated, autocommit=True) as connection:
        assert all_is_well(connection)


def test_days_ahead_stay_as_they_are_while_somebody_is_at_work_on_the_table(migrated: str) -> None:
    with connect(migrated) as slow:
        slow.execute("LOCK TABLE ONLY event IN ROW EXCLUSIVE MODE")
        assert len(bring_up_to_date(migrated)) == 10, "each day's, and that with the rest"
    with connect(migrated, autocommit=True) as connection:
        assert day(TODAY + DAY) in {each.name for each in event_partitions(connection)}

        assert bring_up_to_date(migrated) == []

        assert day(TODAY + DAY) not in {each.name for each in event_partitions(connection)}
        assert all_is_well(connection)


def test_who_does_not_own_the_table_changes_nothing(migrated: str, template: str) -> None:
    stranger = psycopg.conninfo.make_conninfo(migrated, user="worker_test", password="worker_test")
    with connect(migrated, autocommit=True) as connection:
        before = event_partitions(connection)

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bring_up_to_date(stranger)

        assert event_partitions(connection) == before


def test_why_partitions_could_not_be_brought_up_to_date_is_one_line(
    previous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> list[str]:
        raise psycopg.errors.DiskFull("no space left on device\nHINT: make room")

    with monkeypatch.context() as patch:
        patch.setattr(partitions, "bring_up_to_date", refuse)
        with pytest.raises(
            MigrationFailed, match=r"^[^\n]*no space left on device[^\n]*run `pipeline migrate` again[^\n]*$"
        ):
            migrate(previous)

    assert migrate(previous) == [], "the migrations are there, and what was left is done"
    with connect(previous, autocommit=True) as connection:
        assert all_is_well(connection)


def test_late_rows_go_into_any_partition_and_are_found(migrated: str) -> None:
    bring_up_to_date(migrated)
    with connect(migrated, autocommit=True) as connection:
        for begins in (TODAY - DAY, OLD, TODAY + DAY):
            connection.execute(INSERT, [begins, 200])

        assert rows(connection) == 900
        assert all_is_well(connection)


MANY = 30_000
"""Rows that are more than a look takes a moment at."""
SOON = (TODAY + 9 * DAY, TODAY + 10 * DAY)
DAYS = [begins.date() for begins in SOON]
LOOKED_AT = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'event_default'"
CONSTRAINTS = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'event_default'::regclass AND contype = 'c'"


def looked_at(connection: Connection) -> int:
    """Return how many rows of the default partition were gone through by this connection."""
    return int(connection.execute(LOOKED_AT).fetchone()[0])  # type: ignore[index]  # one row


@pytest.fixture
def crowded(database) -> Iterator[Connection]:
    """An owner's connection to a database with many rows in the default partition."""
    with connect(database.admin_dsn) as owner:
        owner.execute(INSERT, [OLD, MANY])
        owner.execute("SELECT brin_summarize_new_values(indexrelid) FROM pg_index WHERE indrelid = 'event_default'::regclass"
                      " AND indexrelid::regclass::text LIKE '%event_time%'")  # fmt: skip
        owner.commit()
        yield owner


def test_who_stores_is_not_held_up_while_partitions_are_made(database, crowded: Connection) -> None:
    crowded.execute("SELECT make_event_partitions(%s, %s)", DAYS)

    with connect(database.dsn, autocommit=True, lock_timeout_s=0.2) as worker:
        worker.execute(INSERT, [TODAY, 10])
        crowded.commit()
        worker.execute(INSERT, [SOON[0], 10])

    assert crowded.execute(f"SELECT count(*) FROM {day(SOON[0])}_00").fetchone() == (10,)


def test_rows_of_the_default_partition_are_looked_at_once_for_all_partitions(crowded: Connection) -> None:
    before = looked_at(crowded)

    assert crowded.execute("SELECT make_event_partitions(%s, %s)", DAYS).fetchone() == (8,)

    assert looked_at(crowded) - before == MANY
    assert crowded.execute(CONSTRAINTS).fetchone() == (0,)


def test_rows_of_the_default_partition_are_looked_at_while_others_store(database, crowded: Connection) -> None:
    prepare = "SELECT prepare_event_partitions(%s, %s)"
    with connect(database.dsn, autocommit=True, lock_timeout_s=0.2) as worker:
        assert worker.execute(prepare, DAYS).fetchone() == (False,)
        before = looked_at(crowded)
        assert crowded.execute(prepare, DAYS).fetchone() == (True,)
        assert looked_at(crowded) - before >= MANY
        for begins in (TODAY, OLD):
            worker.execute(INSERT, [begins, 10])
        crowded.commit()

        before = looked_at(crowded)
        assert crowded.execute("SELECT make_event_partitions(%s, %s)", DAYS).fetchone() == (8,)
        assert looked_at(crowded) == before
        crowded.commit()
        assert worker.execute(prepare, DAYS).fetchone() == (True,)
        worker.execute(INSERT, [SOON[0], 10])

    assert crowded.execute(CONSTRAINTS).fetchone() == (0,)


@pytest.mark.parametrize("steps", [1, 2], ids=["announced", "looked at"])
def test_preparations_that_were_interrupted_are_gone_on_with_or_taken_back(
    database, crowded: Connection, steps: int
) -> None:
    with connect(database.dsn, autocommit=True) as worker:
        for _ in range(steps):
            worker.execute("SELECT prepare_event_partitions(%s, %s)", DAYS)
        assert crowded.execute(CONSTRAINTS).fetchone() == (1,)
        crowded.commit()

        assert make_partitions(worker, 8) == 4

        assert crowded.execute(CONSTRAINTS).fetchone() == (0,)
        worker.execute(INSERT, [SOON[0], 10])


def test_a_time_that_the_default_partition_has_rows_of_gets_no_partition_and_the_others_do(
    database, crowded: Connection
) -> None:
    crowded.execute(INSERT, [SOON[0] + HOURS, 10])
    crowded.commit()

    with connect(database.dsn, autocommit=True) as worker:
        assert make_partitions(worker, 10) == 11
        assert make_partitions(worker, 10) == 0
        worker.execute(INSERT, [SOON[0] + HOURS, 10])

    assert crowded.execute(CONSTRAINTS).fetchone() == (0,)
    assert crowded.execute("SELECT to_regclass(%s)", [f"{day(SOON[0])}_06"]).fetchone() == (None,)


def test_rows_that_came_before_they_were_ruled_out_end_the_preparations(database, crowded: Connection) -> None:
    crowded.execute(INSERT, [SOON[0], 10])
    exclude = "SELECT exclude_from_event_default(tstzmultirange(tstzrange(%s, %s)))"
    assert crowded.execute(exclude, SOON).fetchone() == (False,)
    assert crowded.execute(exclude, SOON).fetchone() == (True,)
    assert crowded.execute(CONSTRAINTS).fetchone() == (0,)


def test_a_new_partition_is_like_one_that_the_database_makes_itself(database) -> None:
    likeness = (
        "SELECT relowner, relacl, reloptions, relpersistence, relispartition, ARRAY(SELECT (attname, atttypid, attnotnull,"
        " attstorage, attcompression, atthasdef)::text FROM pg_attribute WHERE attrelid = c.oid ORDER BY attnum),"
        " ARRAY(SELECT replace(pg_get_indexdef(indexrelid), c.relname, '') FROM pg_index WHERE indrelid = c.oid ORDER BY 1)"
        " FROM pg_class AS c WHERE oid = %s::regclass"
    )
    with connect(database.admin_dsn) as owner, connect(database.dsn, autocommit=True) as worker:
        owner.execute(
            "CREATE TABLE other PARTITION OF event FOR VALUES FROM ('1999-01-01Z') TO ('1999-01-02Z')",
        )
        owner.commit()
        make_partitions(worker, 8)
        ours, other = (owner.execute(likeness, [name]).fetchone() for name in (f"{day(TODAY + 8 * DAY)}_18", "other"))

    assert ours == other


def test_another_tables_partitions_may_have_bounds_that_are_no_times(database) -> None:
    with connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute("CREATE TABLE public.theirs (n bigint, m text) PARTITION BY RANGE (n)")
        for n in range(50):
            owner.execute(
                f"CREATE TABLE public.theirs_{n} PARTITION OF public.theirs FOR VALUES FROM ({n}) TO ({n + 1})"
            )
        owner.execute("CREATE TABLE public.words (m text) PARTITION BY RANGE (m)")
        for n in range(100, 150):
            owner.execute(
                f"CREATE TABLE public.words_{n} PARTITION OF public.words FOR VALUES FROM ('{n}') TO ('{n + 1}')"
            )
        owner.execute("CREATE INDEX ON public.theirs USING brin (n); CREATE INDEX ON public.words USING brin (m)")
        # As the planner does it where there are many partitions: the whole catalogue, and then which of them are of event
        owner.execute("SET enable_nestloop = off")
        owner.execute(INSERT, [TODAY, 1000])

        assert summarize(owner) > 0
        assert len(event_partitions(owner)) > 30


@pytest.fixture
def explain(database) -> Iterator[Callable[[str], list[str]]]:
    """Return a function that names a plan's nodes, as the dashboard's login gets it among many rows."""
    with connect(database.dsn, autocommit=True) as worker:
        for begins in (TODAY, TODAY + HOURS):
            worker.execute(INSERT, [begins, 50_000])
        worker.execute(
            "INSERT INTO reading_window SELECT 'm-' || m, 's-' || s, %s::timestamptz + i * interval '1 min', 'f', 1, 1, 1,"
            " 1, 1, 1, now(), 1, 1, 0, 0, 1"
            " FROM generate_series(0, 200) AS i, generate_series(1, 30) AS m, generate_series(1, 5) AS s",
            [TODAY],
        )
        worker.execute(
            "INSERT INTO anomaly SELECT 'm', 'c', 't', 0, i, 0, 's', 'spike', 'f-' || i %% 50, %s::timestamptz + i *"
            " interval '10 s', 1, 1, 1, 'd', 1, 'w', gen_random_uuid(), gen_random_uuid()"
            " FROM generate_series(1, 30000) AS i ORDER BY md5(i::text)",
            [TODAY],
        )
    with connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute("ANALYZE event, reading_window, anomaly")
    with psycopg.connect(database.dashboard_dsn, autocommit=True) as dashboard:

        def nodes(query: str) -> list[str]:
            at = {"begin": TODAY, "middle": TODAY + HOURS, "end": TODAY + 2 * HOURS}
            row = dashboard.execute(f"EXPLAIN (FORMAT JSON) {query}", at).fetchone()
            assert row is not None
            return list(_named(row[0][0]["Plan"]))

        yield nodes


def _named(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['Node Type']} {plan.get('Index Name') or plan.get('Relation Name') or ''}".strip()
    for each in plan.get("Plans", ()):
        yield from _named(each)


def test_a_machines_events_of_some_time_are_found_by_the_index_in_the_partitions_of_that_time(explain) -> None:
    query = "SELECT * FROM dashboard.event WHERE machine_id = 'm-7' AND event_time >= %(begin)s AND event_time < %({})s"
    first, second = (f"Bitmap Index Scan {day(TODAY)}_{hour}_machine_id_idx" for hour in ("00", "06"))

    one, two = explain(query.format("middle")), explain(query.format("end"))

    assert first in one
    assert not any("event_default" in node or f"{day(TODAY)}_06" in node for node in one)
    assert {first, second} <= set(two)
    assert not any("event_default" in node or f"{day(TODAY)}_12" in node for node in two)


def test_a_sensors_windows_of_a_day_are_found_by_their_key(explain) -> None:
    nodes = explain(
        "SELECT * FROM dashboard.reading_window WHERE machine_id = 'm-7' AND sensor = 's-2' AND window_start >= %(begin)s"
        " AND window_start < %(end)s"
    )

    assert any(node.endswith("Index Scan reading_window_pkey") for node in nodes), nodes


def test_a_factorys_anomalies_of_some_time_are_found_without_the_others(explain) -> None:
    nodes = explain(
        "SELECT * FROM dashboard.anomaly WHERE factory_id = 'f-3' AND event_time >= %(begin)s AND event_time < %(middle)s"
    )

    assert any(node.endswith("Index Scan anomaly_factory_time") for node in nodes), nodes


def in_vain(connection: Connection) -> int:
    """Return how many rows a query for ten offsets of today's first partition reads in vain, when it goes by the index."""
    connection.execute("SET enable_seqscan = off")
    row = connection.execute(
        f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM {day(TODAY)}_00 WHERE source_offset BETWEEN 100 AND 110"
    ).fetchone()
    assert row is not None
    (plan,) = row[0]
    assert any(node.startswith(f"Bitmap Index Scan {day(TODAY)}_00_source_offset") for node in _named(plan["Plan"]))
    return int(plan["Plan"]["Rows Removed by Index Recheck"])


def test_offsets_are_found_by_pages_once_the_index_was_told_of_them(database) -> None:
    with connect(database.dsn, autocommit=True) as worker, connect(database.admin_dsn, autocommit=True) as owner:
        worker.execute(INSERT, [TODAY, 30_000])
        assert in_vain(owner) > 20_000

        assert summarize(worker) > 0

        assert in_vain(owner) < 3_000
        assert summarize(worker) == 0


def test_rows_that_the_index_by_machine_has_not_sorted_in_are_sorted_in_when_it_is_told(database) -> None:
    clean = (
        "SELECT sum(gin_clean_pending_list(i.indexrelid)) FROM pg_index AS i JOIN pg_inherits ON inhrelid = i.indexrelid"
        f" WHERE i.indrelid = '{day(TODAY)}_00'::regclass AND inhparent = 'event_machine'::regclass"
    )
    with connect(database.dsn, autocommit=True) as worker, connect(database.admin_dsn, autocommit=True) as owner:
        worker.execute(INSERT, [TODAY, 1000])
        assert owner.execute(clean).fetchone() > (0,)
        worker.execute(INSERT, [TODAY, 1000])

        assert summarize(worker) > 0

        assert owner.execute(clean).fetchone() == (0,)


def test_what_one_worker_does_or_a_vacuum_is_left_to_them_without_waiting(database) -> None:
    busy = f"LOCK TABLE {day(TODAY)}_00 IN SHARE UPDATE EXCLUSIVE MODE"
    with connect(database.dsn, autocommit=True, lock_timeout_s=0.1) as worker, connect(database.admin_dsn) as other:
        worker.execute(INSERT, [TODAY, 1000])
        for hold in ("SELECT pg_advisory_xact_lock(hashtextextended('pipeline summarize telemetry', 0))", busy):
            other.execute(hold)
            assert summarize(worker) == 0
            other.rollback()

        assert summarize(worker) > 0


def test_only_workers_may_tell_the_index(database) -> None:
    with connect(database.dashboard_dsn) as dashboard, pytest.raises(psycopg.errors.InsufficientPrivilege):
        dashboard.execute("SELECT telemetry.summarize_event_partitions(now())")


def test_a_worker_tells_the_index_by_itself(site: Callable[..., Site], broker_address: str, database) -> None:
    at = site(partitions=1)
    at.worker("worker", program=(str(Path(__file__).parents[1] / "system" / "summarizing_worker.py"),))
    produce(broker_address, at.topics[0], [message()])
    at.wait(lambda: at.stored() == 1)
    with connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute("SET enable_seqscan = off")
        (partition,) = owner.execute("SELECT tableoid::regclass::text FROM event").fetchone()
        elsewhere = f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM {partition} WHERE source_offset = -1"

        def read_in_vain() -> int:
            (plan,) = owner.execute(elsewhere).fetchone()[0]
            return int(plan["Plan"]["Rows Removed by Index Recheck"])

        at.wait(lambda: read_in_vain() == 0)
