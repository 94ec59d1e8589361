"""Liveness is progress (R50): a worker that does nothing while records wait ends itself; one that cannot help it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.broker import topics
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import NoProgress, ProgramFault
from pipeline.store.migrate import migrate
from tests.forks import Forks
from tests.system.processes import Site
from tests.system.producing import message, produce

LIMIT_S = 8
SETTINGS: dict[str, object] = {"WATCHDOG__NO_PROGRESS_S": LIMIT_S}
PROGRAM = str(Path(__file__).with_name("hanging_worker.py"))


HANGING = {
    "agent": ("none was read or stored", "in hanging"),
    "consumer": ("none was read or stored", "in hanging"),
    "transaction": ("none was read or stored", "in hanging"),
    "loop": ("the event loop has been blocked", "in blocking"),
    "join": ("has not been in its group", "in joining"),
}
"""By the part that hangs: what the worker says, and what is in its stacks."""


@pytest.mark.timeout(200)
def test_a_worker_of_which_any_part_hangs_ends_with_its_reason_and_its_stacks(
    site: Callable[..., Site], broker_address: str
) -> None:
    # All at once, since most of the time is waiting
    sites = {part: site(partitions=2, settings=SETTINGS) for part in HANGING}
    workers = {part: at.worker(part, program=(PROGRAM, part)) for part, at in sites.items()}
    for part, at in sites.items():
        if part != "join":
            produce(broker_address, at.topics[0], [message(seq=n) for n in range(100)])
            at.wait(lambda at=at: at.stored() == 100)
        produce(broker_address, at.topics[0], [message(machine="hang")])
        at.wait(lambda part=part: bool(workers[part].lines("health.listening")))
        # Answered by a thread of its own, whatever hangs
        assert workers[part].ask("/livez")[0] == 200

    for part, (said, in_the_stacks) in HANGING.items():
        assert workers[part].wait(90) == NoProgress.exit_code
        (line,) = workers[part].lines("worker.no_progress")
        assert said in line["reason"]
        stacks = workers[part].log.read_text().partition("worker.no_progress")[2]
        assert in_the_stacks in stacks
        assert "Task " in stacks

    # The one that held a transaction open left no lock behind
    at = sites["transaction"]
    second = at.worker("second")
    at.wait(lambda: at.stored() == 101)
    assert at.one("SELECT count(DISTINCT source_offset) FROM event WHERE machine_id = 'hang'") == 1
    assert second.stop() == 0


def test_a_worker_that_is_ended_by_a_fault_nobody_expected_names_it_in_its_last_line(site: Callable[..., Site]) -> None:
    worker = site(partitions=1).worker("faulty", program=(PROGRAM, "fault"))

    assert worker.wait(60) == ProgramFault.exit_code
    assert (
        worker.log.read_text()
        .strip()
        .splitlines()[-1]
        .startswith("pipeline: the worker was ended by LookupError('of the test')")
    )


def test_a_worker_without_records_or_without_partitions_lives(site: Callable[..., Site], broker_address: str) -> None:
    at = site(partitions=1, settings=SETTINGS)
    workers = [at.worker("one"), at.worker("two")]
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(100)])
    at.wait(lambda: at.stored() == 100)

    at.wait(lambda: any(process.said("watchdog.excused") for process in workers))
    time.sleep(LIMIT_S)

    assert [process.exit_code for process in workers] == [None, None]
    excuses = [line for process in workers for line in process.lines("watchdog.excused")]
    assert {line["reason"] for line in excuses} == {"the group has no partition left for it"}
    assert [process.stop() for process in workers] == [0, 0]


@pytest.mark.timeout(240)
def test_a_worker_lives_while_its_database_or_its_broker_is_away_and_goes_on_afterwards(
    tmp_path: Path, own_broker, own_postgres, commands: Forks
) -> None:
    broker, postgres = own_broker(), own_postgres()
    migrate(postgres.dsn)
    topics.create_topics(broker.address, BrokerSecurity(), ["t"], 2)
    at = Site(tmp_path, broker.address, postgres.dsn, ["t"], SETTINGS, commands)
    try:
        worker = at.worker("worker")
        produce(broker.address, "t", [message(seq=n) for n in range(100)])
        at.wait(lambda: at.stored() == 100)

        postgres.kill()
        produce(broker.address, "t", [message(seq=n) for n in range(100, 200)])
        time.sleep(2.5 * LIMIT_S)
        assert worker.exit_code is None
        postgres.start()
        at.wait(lambda: at.stored() == 200)

        broker.kill()
        time.sleep(2.5 * LIMIT_S)
        assert worker.exit_code is None
        broker.start()
        produce(broker.address, "t", [message(seq=n) for n in range(200, 300)])
        at.wait(lambda: at.stored() == 300, within_s=60)

        assert worker.lines("worker.no_progress") == []
        assert worker.stop() == 0
    finally:
        at.end()
