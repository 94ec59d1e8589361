"""The database as the worker's coroutines use it: whatever happens to it is an error that says whether it may pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agents.vault import DatabaseVault, Line
from pipeline.core.errors import DatabaseUnavailable, SchemaOutdated
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import SourcePartition
from pipeline.store.connect import Connection, connect
from pipeline.store.progress import Progress, Subscriber

SOURCE = SourcePartition("t", 0)
NEW = Evidence(None, LogRange(0, 10))


@pytest.fixture
def vault(database) -> Iterator[DatabaseVault]:
    made = DatabaseVault(
        lambda autocommit: connect(database.dsn, autocommit=autocommit, lock_timeout_s=1),
        Progress(Subscriber("local", "g", "w"), 1),
    )
    yield made
    made.close()


def test_a_lease_from_a_read_only_database_is_something_to_wait_for(vault: DatabaseVault, admin, database) -> None:
    """As after a failover, while an address still leads to the standby."""
    admin.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        vault.take_over(SOURCE, NEW)

    admin.execute("SET default_transaction_read_only = off")
    admin.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")

    assert vault.take_over(SOURCE, NEW).owner


async def test_a_lease_is_taken_over_a_new_connection_when_the_old_one_broke(vault: DatabaseVault, admin) -> None:
    first = vault.take_over(SOURCE, NEW)
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker_test'")
    with pytest.raises(DatabaseUnavailable):
        await vault.peek([SOURCE])

    seen = await vault.peek([SOURCE])

    assert seen[SOURCE].owner == first.owner
    assert vault.take_over(SOURCE, NEW._replace(seen=seen[SOURCE])).previous_owner == first.owner


def test_a_lease_from_a_database_without_its_tables_is_not_waited_for(vault: DatabaseVault, admin) -> None:
    admin.execute("DROP TABLE control_record CASCADE")

    with pytest.raises(SchemaOutdated, match="pipeline migrate"):
        vault.take_over(SOURCE, NEW)


def test_a_login_without_its_rights_is_told_which_role_it_needs(vault: DatabaseVault, admin) -> None:
    admin.execute("REVOKE INSERT ON source_progress FROM pipeline_worker")

    with pytest.raises(SchemaOutdated, match="grant the login the role pipeline_worker"):
        vault.take_over(SOURCE, NEW)


def test_threads_that_need_the_same_connection_come_one_after_the_other(database) -> None:
    opened: list[Connection] = []
    inside, most = threading.Semaphore(1), []

    def open_one() -> Connection:
        opened.append(connect(database.dsn, autocommit=True))
        return opened[-1]

    def work(connection: Connection) -> None:
        most.append(inside.acquire(blocking=False))
        connection.execute("SELECT pg_sleep(0.01)")
        inside.release()

    line = Line(open_one)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: line.use(work), range(12)))
    line.close()

    assert (len(opened), all(most)) == (1, True)
