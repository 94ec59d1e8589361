"""Leases, marks and snapshots (R35, R50)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.records import SourcePartition
from pipeline.store import controls, snapshots
from pipeline.store.connect import Connection, connect
from pipeline.store.progress import Backend, Progress, Subscriber
from pipeline.store.sink import Sink
from pipeline.store.snapshots import Snapshot
from tests.store.leasing import acquire

SOURCE = SourcePartition("t", 0)


def progress(group: str = "g", cluster: str = "local", fold_version: int = 1, config: str = "") -> Progress:
    return Progress(Subscriber(cluster, group, "w"), fold_version, config)


@pytest.fixture
def connection(database) -> Iterator[Connection]:
    with connect(database.dsn, autocommit=True, lock_timeout_s=0.3) as opened:
        yield opened


def move_marks(connection: Connection, effects: int, windows: int) -> None:
    connection.execute("UPDATE source_progress SET effects_next = %s, windows_next = %s", [effects, windows])


def snapshot(owner: str, offset: int) -> Snapshot:
    return Snapshot(SOURCE, owner, offset, 1, b"state", 5)


def test_every_owner_has_a_token_of_its_own(connection: Connection) -> None:
    taken = [acquire(progress(), connection, SOURCE, end=10) for _ in range(3)]

    assert len({each.owner for each in taken}) == 3
    assert [each.previous_owner for each in taken] == [None, taken[0].owner, taken[1].owner]


def test_groups_and_clusters_do_not_meet(connection: Connection) -> None:
    acquire(progress(), connection, SOURCE, end=100)
    move_marks(connection, 50, 50)

    others = [acquire(p, connection, SOURCE, end=100) for p in (progress(group="h"), progress(cluster="site-2"))]

    assert [(other.previous_owner, other.effects) for other in others] == [(None, 0), (None, 0)]


def test_an_owner_that_sits_on_the_row_loses_its_connection(connection: Connection, database) -> None:
    frozen, bystander = connect(database.dsn), connect(database.dsn)
    row = frozen.execute("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
    acquire(progress(), connection, SOURCE, end=10, backend=Backend(*row))
    frozen.execute("SELECT 1 FROM source_progress FOR UPDATE")

    with pytest.raises(DatabaseUnavailable, match="connections ended: 1"):
        acquire(progress(), connection, SOURCE, end=10)
    taken = acquire(progress(), connection, SOURCE, end=10)

    assert taken.previous_owner is not None
    assert bystander.execute("SELECT 1").fetchone() == (1,)
    frozen.close()
    bystander.close()


def test_a_snapshot_is_kept_only_by_the_owner_and_only_behind_both_marks(connection: Connection) -> None:
    mine = progress()
    owner = acquire(mine, connection, SOURCE, end=100).owner
    move_marks(connection, 20, 10)

    kept = {offset: snapshots.save(connection, mine, snapshot(owner, offset)) for offset in (10, 11, 21)}
    stranger = snapshots.save(connection, mine, snapshot("somebody else", 5))

    assert (kept, stranger) == ({10: True, 11: False, 21: False}, False)
    assert acquire(mine, connection, SOURCE, end=100).snapshot == (10, b"state")


def test_a_snapshot_of_another_fold_or_ahead_of_a_restored_mark_is_not_loaded(connection: Connection) -> None:
    mine = progress()
    owner = acquire(mine, connection, SOURCE, end=100).owner
    move_marks(connection, 20, 20)
    assert snapshots.save(connection, mine, snapshot(owner, 20))

    assert acquire(progress(fold_version=2), connection, SOURCE, end=100).snapshot is None
    move_marks(connection, 20, 19)
    assert acquire(mine, connection, SOURCE, end=100).snapshot is None


def test_an_owner_that_stopped_in_its_first_transaction_loses_its_connection(connection: Connection, database) -> None:
    """Nothing of it is to be seen but the lock: which connection it writes with was never committed."""
    mine = progress()
    owner = acquire(mine, connection, SOURCE, end=10).owner
    frozen = Sink(lambda: connect(database.dsn), mine)
    assert frozen.store([]) == set()
    with frozen._open().cursor() as cursor:
        assert frozen.write(cursor, [UnitOfWork(SOURCE, owner, 0, 5, [])]) == {SOURCE}

        with pytest.raises(DatabaseUnavailable, match="connections ended: 1"):
            acquire(progress(), connection, SOURCE, end=10)

    assert acquire(progress(), connection, SOURCE, end=10).effects == 0
    frozen.close()


def test_a_worker_that_stopped_while_it_took_the_partition_loses_its_connection(
    connection: Connection, database
) -> None:
    acquire(progress(), connection, SOURCE, end=10)
    frozen = connect(database.dsn)
    frozen.execute("SELECT 1 FROM source_progress FOR UPDATE")
    frozen.execute("UPDATE source_progress SET owner = 'frozen', backend_pid = NULL")

    with pytest.raises(DatabaseUnavailable, match="connections ended: 1"):
        acquire(progress(), connection, SOURCE, end=10)

    assert acquire(progress(), connection, SOURCE, end=10).owner
    frozen.close()


def test_the_state_of_a_log_that_is_gone_is_not_loaded_when_the_new_log_has_come_as_far(connection: Connection) -> None:
    mine = progress()
    owner = acquire(mine, connection, SOURCE, end=100).owner
    move_marks(connection, 50, 50)
    assert snapshots.save(connection, mine, snapshot(owner, 50))
    owner = acquire(mine, connection, SOURCE, end=10).owner
    move_marks(connection, 60, 60)

    taken = acquire(mine, connection, SOURCE, end=100)

    assert (taken.previous_owner, taken.snapshot) == (owner, None)
    assert snapshots.save(connection, mine, snapshot(taken.owner, 60))
    assert acquire(mine, connection, SOURCE, end=100).snapshot == (60, b"state")


def test_what_makes_a_record_a_dead_letter_is_told_to_its_next_owner_only(connection: Connection) -> None:
    mine = progress()
    owner = acquire(mine, connection, SOURCE, end=10).owner
    controls.skip(connection, mine, SOURCE, owner, 7, DeadLetterReason.FOLD_FAILED, "why")

    told = {
        (each.subscriber.cluster, each.subscriber.group, at.partition): acquire(each, connection, at, end=10).skip
        for each in (mine, progress(group="h"), progress(cluster="site-2"))
        for at in (SOURCE, SourcePartition("t", 1))
    }

    assert told.pop(("local", "g", 0)) == {7: (DeadLetterReason.FOLD_FAILED, "why")}
    assert not any(told.values())


def test_from_where_on_another_version_decides_is_a_control_record_with_its_effect(connection: Connection) -> None:
    """A rolling upgrade: versions take the partition from one another, and each change is noted where it happened."""
    versions = [(1, "a"), (1, "a"), (2, "a"), (2, "b"), (1, "a")]
    for effects, (fold_version, config) in enumerate(versions, start=1):
        acquire(progress(fold_version=fold_version, config=config), connection, SOURCE)
        move_marks(connection, 10 * effects, 10 * effects)

    noted = connection.execute(
        'SELECT c."offset", e."offset", detail FROM control_record AS c JOIN control_effect AS e ON e.control_id = c.id'
        " WHERE kind = 'version' ORDER BY c.id"
    ).fetchall()

    assert noted == [
        (20, 20, "fold 1 -> 2, configuration a -> a"),
        (30, 30, "fold 2 -> 2, configuration a -> b"),
        (40, 40, "fold 2 -> 1, configuration b -> a"),
    ]
    assert acquire(progress(fold_version=1, config="a"), connection, SOURCE).skip == {}
