"""R11–R16: what comes late, out of order or twice leaves every figure as if all had come in order, once."""

from __future__ import annotations

import datetime as dt
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer

from pipeline.store.connect import connect
from tests.system.late_comparison import differing
from tests.system.late_plant import PARTITIONS, Sent, begins_ms, sent
from tests.system.processes import Site

SEED = 20_260
SLICES = 40

# Else it was about nothing: very late, sent twice, corrected, without planned time, of an unknown SKU
HAPPENED = """
SELECT (SELECT sum(very_late) FROM machine_state), (SELECT sum(duplicates) FROM machine_state),
       (SELECT count(*) FROM dashboard.quality_report WHERE NOT counts),
       (SELECT count(*) FROM dashboard.oee_report WHERE counts AND unplanned),
       (SELECT count(*) FROM dashboard.oee_report WHERE counts AND unknown_sku)
"""


def put(producer: Producer, topics: dict[str, str], records: Sequence[Sent]) -> None:
    """Send records as of when they arrive, and note where the broker has them."""
    for each in records:

        def noted(error: object, message: Message, of: Sent = each) -> None:
            assert error is None, error
            of.offset = message.offset()

        producer.produce(
            topics[each.kind], each.body, each.key, each.partition, on_delivery=noted, timestamp=each.arrives_ms
        )
    assert producer.flush(30) == 0


@pytest.mark.timeout(400)
def test_every_figure_is_that_of_the_sorted_ledger_though_a_worker_is_killed(
    site: Callable[..., Site], broker_address: str, database, tmp_path: Path
) -> None:
    records = sent(SEED, begins_ms(dt.datetime.now(dt.UTC)))
    at = site(topics=2, partitions=PARTITIONS, settings={"OEE__REFRESH_INTERVAL_S": 1})
    topics = {"telemetry": at.topics[0], "quality": at.topics[1], "command": at.topics[1]}
    producer = Producer(
        {"bootstrap.servers": broker_address, "enable.idempotence": True, "linger.ms": 5, "log_level": 2}
    )
    first, second = at.worker("first"), at.worker("second")
    at.wait(lambda: at.one("SELECT count(DISTINCT worker) FROM source_progress") == 2)
    commands = sum(each.kind == "command" for each in records)
    put(producer, topics, records[:commands])
    at.wait(lambda: at.one("SELECT count(*) FROM metadata_command WHERE status = 'applied'") == commands)

    third = None
    size = -(-(len(records) - commands) // SLICES)
    for begin in range(commands, len(records), size):
        put(producer, topics, records[begin : begin + size])
        if third is None and begin > len(records) // 3:
            at.wait(lambda: at.stored() > len(records) // 5)
            first.signal(signal.SIGKILL)
            third = at.worker("third")
        time.sleep(0.05)
    assert third is not None
    at.wait(lambda: at.merged() == len(records), within_s=120)
    at.wait(lambda: at.one("SELECT waiting FROM dashboard.oee_freshness") == 0)
    assert [second.stop(), third.stop()] == [0, 0]

    with connect(database.admin_dsn) as connection:
        rows, found = differing(records, connection, tmp_path)
        ((*happened,),) = connection.execute(HAPPENED).fetchall()
    assert found == [], "\n".join(found)
    assert min(rows.values()) > 0, rows
    assert min(happened) > 0, happened
