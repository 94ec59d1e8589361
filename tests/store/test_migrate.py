"""Migrations: any number of times, from several places at once, and never half."""

from __future__ import annotations

import threading

import pytest

from pipeline.core.errors import DatabaseUnavailable, SchemaOutdated
from pipeline.store.connect import connect
from pipeline.store.migrate import FOLDER, make_partitions, migrate, pending, require_schema

ROLES = "0004.roles"
"""A migration that may be applied twice."""

ALL = sorted(path.stem for path in FOLDER.glob("*.sql"))


def test_an_empty_database_lacks_everything_and_says_what_to_do(empty_database: str) -> None:
    with connect(empty_database) as connection:
        assert pending(connection) == ALL
        with pytest.raises(SchemaOutdated, match="pipeline migrate"):
            require_schema(connection)


def test_the_second_time_there_is_nothing_to_do(empty_database: str) -> None:
    assert migrate(empty_database) == ALL
    assert migrate(empty_database) == []
    with connect(empty_database) as connection:
        require_schema(connection)


def test_four_at_once_apply_each_migration_once(empty_database: str) -> None:
    applied: list[str] = []
    threads = [threading.Thread(target=lambda: applied.extend(migrate(empty_database))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(applied) == ALL


def test_a_lock_that_a_killed_migration_left_behind_does_not_block(empty_database: str) -> None:
    migrate(empty_database)
    with connect(empty_database, autocommit=True) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 999999)")
        connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = %s", [ROLES])

    assert migrate(empty_database) == [ROLES]


def test_events_of_any_day_have_a_place_and_days_ahead_are_made_beside_them(database) -> None:
    insert = (
        "INSERT INTO event SELECT gen_random_uuid(), 'x', 'machine', gen_random_uuid(), 'm', 'f', {}, now(), now(), 't', 0,"
        " 0, 0, '{{}}'"
    )
    with connect(database.dsn, autocommit=True) as worker:
        for day in ("'1970-01-01Z'", "now()", "now() + interval '9 days'", "'2199-12-31Z'"):
            worker.execute(insert.format(day))
        before = make_partitions(worker, 7)

        made = make_partitions(worker, 12)

        assert (before, made) == (0, 19), "five days by four: of one there are rows in the default partition already"
        assert worker.execute("SELECT count(*) FROM event").fetchone() == (4,)


def test_a_table_that_is_locked_is_something_to_wait_for(database) -> None:
    with connect(database.admin_dsn) as busy, connect(database.dsn, autocommit=True, lock_timeout_s=0.1) as connection:
        busy.execute("LOCK TABLE telemetry.event_default IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            make_partitions(connection, days_ahead=30)
