"""R61: a log that no longer has what was not read is a row, never a silent reset; reading goes on behind it."""

from __future__ import annotations

import signal
from collections.abc import Callable

from pipeline.store.connect import connect
from tests.system.processes import Site
from tests.system.producing import delete_before, message, produce, recreate


def gaps(dsn: str) -> list[tuple[int, int, str]]:
    with connect(dsn) as connection:
        return connection.execute("SELECT from_offset, to_offset, reason FROM source_gap ORDER BY id").fetchall()


def test_what_retention_deleted_while_no_worker_ran_is_a_gap(
    site: Callable[..., Site], broker_address, database
) -> None:
    at = site(partitions=1)
    first = at.worker("first")
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(100)])
    at.wait(lambda: at.stored() == 100)
    assert first.stop() == 0
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(100, 300)])
    delete_before(broker_address, at.topics[0], 250)

    at.worker("second")

    at.wait(lambda: at.stored() == 300)
    assert gaps(database.dsn) == [(100, 250, "log_start_moved")]
    assert at.one("SELECT count(*) FROM event WHERE event_type = 'Telemetry Ingest'") == 150


def test_what_retention_deleted_before_a_running_worker_read_it_is_a_gap(
    site: Callable[..., Site], broker_address, database
) -> None:
    """The worker is frozen, shorter than its session lasts, while the log's start moves past its position."""
    at = site(partitions=1, settings={"BROKER__SESSION_TIMEOUT_S": 30})
    worker = at.worker("worker")
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(100)])
    at.wait(lambda: at.stored() == at.merged() == 100)
    worker.signal(signal.SIGSTOP)
    # More than a fetch that is under way can carry
    produce(broker_address, at.topics[0], [message(seq=n, note="x" * 900_000) for n in range(100, 120)])
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(120, 200)])
    delete_before(broker_address, at.topics[0], 150)
    worker.signal(signal.SIGCONT)

    at.wait(lambda: at.stored() == 200)

    ((first, end, reason),) = gaps(database.dsn)
    assert (end, reason) == (150, "log_start_moved")
    with connect(database.dsn) as connection:
        rows = connection.execute(
            "SELECT source_offset FROM event WHERE event_type = 'Telemetry Ingest' ORDER BY 1"
        ).fetchall()
    offsets = [offset for (offset,) in rows]
    before = [offset for offset in offsets if offset < 150]
    assert before == list(range(len(before)))
    assert len(before) == first
    assert offsets[len(before) :] == list(range(150, 200))


def test_a_topic_that_is_recreated_under_a_running_worker_is_a_gap_and_read_from_its_start(
    site: Callable[..., Site], broker_address, database
) -> None:
    at = site(partitions=1)
    at.worker("worker")
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(100)])
    at.wait(lambda: at.stored() == at.merged() == 100)
    recreate(broker_address, at.topics)

    produce(broker_address, at.topics[0], [message(machine="press-00002", seq=n) for n in range(30)])

    at.wait(lambda: at.stored() == 30)
    assert gaps(database.dsn) == [(30, 100, "log_truncated")]
    assert at.one("SELECT count(DISTINCT source_offset) FROM event WHERE machine_id = 'press-00002'") == 30


def test_a_recreated_topic_whose_log_has_passed_the_mark_is_told_by_the_record_before_it(
    site: Callable[..., Site], broker_address, database
) -> None:
    at = site(partitions=1)
    first = at.worker("first")
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(50)])
    at.wait(lambda: at.stored() == at.merged() == 50)
    assert first.stop() == 0
    recreate(broker_address, at.topics)
    produce(broker_address, at.topics[0], [message(machine="press-00002", seq=n) for n in range(80)])

    at.worker("second")

    at.wait(lambda: at.stored() == at.merged() == 80)
    assert gaps(database.dsn) == [(0, 50, "log_recreated")]
    counted = "SELECT messages FROM machine_state WHERE machine_id = %s"
    assert [at.one(counted, machine) for machine in ("press-00001", "press-00002")] == [50, 80]
