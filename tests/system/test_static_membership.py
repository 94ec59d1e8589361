"""Static membership (R52): a worker that is back in time moves nobody's partitions; a name is used by one process at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient

from pipeline.core.errors import SettingsError
from tests.system.processes import Process, Site
from tests.system.producing import message, produce

SETTINGS: dict[str, object] = {"BROKER__SESSION_TIMEOUT_S": 40}


def named(at: Site, name: str, instance: str) -> Process:
    return at.worker(name, PIPELINE_BROKER__INSTANCE_ID=instance)


def members(address: str, group: str) -> dict[str, set[int]]:
    """Return the partitions of every member of a group by its instance id."""
    # Kept by a name: without its client an answer never comes
    client = AdminClient({"bootstrap.servers": address})
    described = client.describe_consumer_groups([group])[group].result()
    return {
        member.group_instance_id: {tp.partition for tp in member.assignment.topic_partitions}
        for member in described.members
    }


@contextmanager
def two_workers(site: Callable[..., Site], address: str) -> Iterator[tuple[Site, Process, Process]]:
    at = site(partitions=4, settings=SETTINGS)
    one = named(at, "one", "a")
    at.wait(lambda: len(one.lines("partition.acquired")) == 4)
    other = named(at, "other", "b")
    at.wait(lambda: sorted(map(len, members(address, at.group).values())) == [2, 2])
    at.wait(lambda: all(len(process.lines("partition.acquired")) in (2, 6) for process in (one, other)))
    yield at, one, other


def produce_to_all(address: str, topic: str, numbers: range) -> None:
    for partition in range(4):
        produce(address, topic, [message(machine=f"m-{partition}", seq=n) for n in numbers], partition=partition)


def test_a_restart_within_the_session_timeout_moves_no_partition(
    site: Callable[..., Site], broker_address: str
) -> None:
    with two_workers(site, broker_address) as (at, one, other):
        produce_to_all(broker_address, at.topics[0], range(100))
        at.wait(lambda: at.stored() == 400)
        before, acquired = members(broker_address, at.group), len(other.lines("partition.acquired"))

        assert one.stop() == 0
        assert members(broker_address, at.group) == before
        produce_to_all(broker_address, at.topics[0], range(100, 200))
        again = named(at, "again", "a")

        at.wait(lambda: at.stored() == 800)
        assert members(broker_address, at.group) == before
        assert {line["source"] for line in again.lines("partition.acquired")} == {
            f"{at.topics[0]}[{partition}]" for partition in before["a"]
        }
        assert len(other.lines("partition.acquired")) == acquired
        assert [again.stop(), other.stop()] == [0, 0]


def test_a_second_process_under_the_same_name_displaces_the_first_for_good(
    site: Callable[..., Site], broker_address: str
) -> None:
    with two_workers(site, broker_address) as (at, one, other):
        twin = named(at, "twin", "a")

        assert one.wait(60) == SettingsError.exit_code

        assert [line["reason"] for line in one.lines("worker.failed")] == [
            "another worker has joined the group under the name 'a'; give every worker a broker.instance_id of its own"
        ]
        produce_to_all(broker_address, at.topics[0], range(100))
        at.wait(lambda: at.stored() == 400)
        time.sleep(3)
        assert [twin.exit_code, other.exit_code] == [None, None]
        assert [twin.stop(), other.stop()] == [0, 0]
