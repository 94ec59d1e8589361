"""The publisher against a real broker: where records come to lie is what it says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from pipeline.core.errors import BrokerUnavailable, SettingsError
from simulator.drive import SystemClock, simulate
from simulator.ledger import Ledger, read
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.publisher import CODECS, Publisher

OPTIONS = PlantOptions(
    machines=20, messages=600, garbage_share=0.05, array_share=0.1, duplicate_share=0.05, device_headers=True
)


def consumed(address: str, topic: str, ends: dict[int, int]) -> dict[tuple[int, int], tuple]:
    """Return key, body and headers of the records by partition and offset."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    found = {}
    try:
        while len(found) < sum(end + 1 for end in ends.values()):
            message = consumer.poll(10.0)
            assert message is not None, f"{len(found)} records and no more"
            assert message.error() is None
            found[message.partition(), message.offset()] = (message.key(), message.value(), message.headers())
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_records_lie_where_the_ledger_says_whatever_the_codec(
    broker_address: str, topic: Callable[..., str], tmp_path: Path, codec: str
) -> None:
    name = topic(partitions=2)
    with Ledger(tmp_path / "l.csv") as ledger:
        simulate(OPTIONS, Publisher(broker_address, name, codec=codec), ledger, clock=SystemClock())

    places = {(row.partition, row.offset): row for row in read(tmp_path / "l.csv")}
    ends = {p: max(offset for partition, offset in places if partition == p) for p in (0, 1)}
    found = consumed(broker_address, name, ends)
    records = list(Plant(OPTIONS))

    assert found.keys() == places.keys()
    assert {row.topic for row in places.values()} == {name}
    assert sorted((key, body) for key, body, _ in found.values()) == sorted((r.key, r.body) for r in records)
    for place, (key, _, headers) in found.items():
        assert key.decode() == places[place].machine_id
        expected = None if places[place].kind == "garbage" else [("iothub-connection-device-id", key)]
        assert headers == expected


def test_a_machine_keeps_to_one_partition_and_to_its_order(
    broker_address: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic(partitions=2)
    options = PlantOptions(machines=20, messages=600)
    with Ledger(tmp_path / "l.csv") as ledger:
        simulate(options, Publisher(broker_address, name), ledger, clock=SystemClock())

    rows = sorted(read(tmp_path / "l.csv"), key=lambda row: (row.partition, row.offset))
    assert {row.partition for row in rows} == {0, 1}
    for machine_id in {row.machine_id for row in rows}:
        of_machine = [row for row in rows if row.machine_id == machine_id]
        assert len({row.partition for row in of_machine}) == 1
        assert [row.seq for row in of_machine] == list(range(30))


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"codec is 'rar'; it must be one of none, gzip, snappy, lz4, zstd"):
        Publisher("localhost:1", "t", codec="rar")


def test_a_setting_that_the_client_does_not_know_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"refuses its settings: .*no\.such\.setting"):
        Publisher("localhost:1", "t", security={"no.such.setting": 1})


def test_without_a_broker_the_error_names_the_address(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    publisher = Publisher(address, "t", delivery_timeout_s=0.3, linger_ms=1)

    with (
        Ledger(tmp_path / "l.csv") as ledger,
        pytest.raises(BrokerUnavailable, match=f"{address} did not take a record"),
    ):
        simulate(PlantOptions(machines=1, messages=5), publisher, ledger, clock=SystemClock())

    assert list(read(tmp_path / "l.csv")) == []


def test_a_record_that_is_too_large_for_the_client_is_an_error_of_ours() -> None:
    (record,) = Plant(PlantOptions(machines=1, messages=1))
    publisher = Publisher("localhost:1", "t", security={"message.max.bytes": 1_000})

    with pytest.raises(BrokerUnavailable, match="refuses a record for topic t"):
        publisher.send(record._replace(body=b"x" * 2_000), lambda *_: None)
