"""The embedded broker: it keeps what it stored, whatever ended it, and asks for a login where it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, Producer

from pipeline.broker import topics
from pipeline.broker.credentials import for_aiokafka
from pipeline.broker.embedded import EmbeddedBroker, SaslSsl
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable, SettingsError
from pipeline.processes import command_line, wait_until
from tests import leftovers

_STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from pipeline.broker.embedded import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1])).start()
print(broker.pid, broker.address, flush=True)
time.sleep(600)
"""


def test_what_was_stored_outlives_kill_and_stop(own_broker: Callable[..., EmbeddedBroker]) -> None:
    broker = own_broker()
    address = broker.address
    topics.create_topics(address, broker.security, ["kept"], 1)
    _produce(broker, b"one")

    broker.kill()
    with pytest.raises(BrokerUnavailable):
        topics.check_reachable(address, broker.security, 1.0)
    broker.start()
    _produce(broker, b"two")
    broker.stop()
    broker.start()

    assert broker.address == address
    assert _consume(broker, 2) == [b"one", b"two"]


def test_a_broker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with leftovers.parent(_STARTS_AND_WAITS, tmp_path) as parent:
        pid = int(leftovers.said(parent)[0])
        assert str(tmp_path) in command_line(pid)

        parent.kill()
        parent.wait()

        assert wait_until(lambda: not command_line(pid), 20.0)


def test_a_folder_left_by_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    with leftovers.parent(_STARTS_AND_WAITS, tmp_path) as parent:
        pid, address = leftovers.said(parent)
        topics.create_topics(address, BrokerSecurity(), ["kept"], 1)
        with pytest.raises(SettingsError, match="in use by another run"):
            EmbeddedBroker(tmp_path).start()
        # Frozen, the guard cannot end the broker: it is a leftover
        guard = leftovers.child_named(parent.pid, "guard")
        os.kill(guard, signal.SIGSTOP)
        parent.kill()
        parent.wait()

        try:
            with EmbeddedBroker(tmp_path) as broker:
                assert not command_line(int(pid))
                assert [each.name for each in topics.list_topics(broker.address, broker.security)] == ["kept"]
        finally:
            os.kill(guard, signal.SIGKILL)


def test_two_start_at_the_same_time(tmp_path: Path) -> None:
    brokers = [EmbeddedBroker(tmp_path / name) for name in ("a", "b")]
    try:
        with ThreadPoolExecutor() as pool:
            addresses = {broker.address for broker in pool.map(EmbeddedBroker.start, brokers)}
    finally:
        for broker in brokers:
            broker.stop()

    assert len(addresses) == 2


def test_a_broker_that_refuses_its_settings_says_why(tmp_path: Path) -> None:
    same = {"listeners": "CLIENT://127.0.0.1:20000,CONTROLLER://127.0.0.1:20000"}

    with pytest.raises(BrokerUnavailable, match="two listeners on the same port"):
        EmbeddedBroker(tmp_path, settings=same).start()


def test_tls_and_login_are_asked_for(own_broker: Callable[..., EmbeddedBroker], tls: SaslSsl) -> None:
    broker = own_broker(sasl_ssl=tls)
    right = broker.security
    wrong = BrokerSecurity("SASL_SSL", "PLAIN", "worker", "wrong", ca_file=right.ca_file)
    stranger = BrokerSecurity("SASL_SSL", "PLAIN", "worker", "right")

    assert topics.create_topics(broker.address, right, ["kept"], 1) == ["kept"]
    _produce(broker, b"one")
    assert _consume(broker, 1) == [b"one"]
    assert asyncio.run(_consume_as_faust_does(broker)) == b"one"
    with pytest.raises(SettingsError, match="refuses the login of 'worker'; correct"):
        topics.check_reachable(broker.address, wrong, 4.0)
    with pytest.raises(SettingsError, match="no TLS with the broker"):
        topics.check_reachable(broker.address, stranger, 4.0)
    with pytest.raises(BrokerUnavailable):
        topics.check_reachable(broker.address, BrokerSecurity(), 2.0)


def _produce(broker: EmbeddedBroker, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.address, **broker.security.for_librdkafka()})
    producer.produce("kept", value)
    assert producer.flush(15) == 0


def _consume(broker: EmbeddedBroker, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "readers",
            "auto.offset.reset": "earliest",
            **broker.security.for_librdkafka(),
        }
    )
    consumer.subscribe(["kept"])
    found = consumer.consume(count, timeout=20)
    consumer.close()
    return [message.value() for message in found]


async def _consume_as_faust_does(broker: EmbeddedBroker) -> bytes:
    security = for_aiokafka(broker.security)
    consumer = AIOKafkaConsumer("kept", bootstrap_servers=broker.address, auto_offset_reset="earliest", **security)
    await consumer.start()
    try:
        async with asyncio.timeout(15):
            return (await consumer.getone()).value
    finally:
        await consumer.stop()
