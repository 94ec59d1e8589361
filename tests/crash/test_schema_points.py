"""A migration that is killed, fails or freezes anywhere leaves a database with which the next one goes on."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.crash_points import CrashPoint
from pipeline.processes import wait_until
from pipeline.store.connect import connect
from pipeline.store.event_partitions import event_partitions
from pipeline.store.migrate import FOLDER, make_partitions, migrate, pending
from tests.crash.scene import OF_THE_SCHEMA
from tests.forks import Forks

ALL = sorted(path.stem for path in FOLDER.glob("*.sql"))


def prepare(dsn: str) -> int:
    """Do what the interrupted process was to do; return how many days were new."""
    migrate(dsn)
    with connect(dsn, autocommit=True) as connection:
        return make_partitions(connection, days_ahead=9)


@pytest.mark.parametrize("kind", ["kill", "error", "freeze"])
@pytest.mark.parametrize("point", sorted(OF_THE_SCHEMA))
def test_a_schema_that_was_interrupted_is_completed_by_the_next_one(
    commands: Forks, empty_database: str, tmp_path: Path, point: CrashPoint, kind: str
) -> None:
    (tmp_path / "go").touch()
    first = commands.start(
        "tests.crash.worker:prepare_database",
        tmp_path / "first.log",
        os.environ,
        dsn=empty_database,
        point=point,
        kind=kind,
    )
    assert wait_until((tmp_path / "hit").exists, 30), first.last_words()
    with ThreadPoolExecutor(1) as pool:
        if kind == "freeze":
            # It holds the lock that lets one migrate at a time: the other waits, and finds nothing to do
            second = pool.submit(prepare, empty_database)
            assert point == CrashPoint.MAKING_EVENT_PARTITIONS or not wait_until(second.done, 1)
            first.signal(signal.SIGCONT)
            assert first.wait() == 0, first.last_words()
            second.result(30)
        else:
            assert first.wait() == (-signal.SIGKILL if kind == "kill" else 1), first.last_words()
            prepare(empty_database)

    with connect(empty_database) as connection:
        assert pending(connection) == []
        applied = connection.execute("SELECT migration_id FROM _yoyo_migration ORDER BY applied_at_utc").fetchall()
        assert [name for (name,) in applied] == ALL
        there = event_partitions(connection)
        assert len(there) == 1 + 10 * 4 + 1, "yesterday, today to the ninth day by four, and the rest"
        assert all(each.indexed for each in there)
