"""R35, R50: nothing is lost or doubled while workers are killed, stopped, frozen and replaced."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store.connect import connect
from pipeline.verifying.verify import behind, ledger_ends, verify
from tests.system.independent import compare
from tests.system.processes import Site

RATE, MESSAGES = 3_750, 120_000
FROZEN_S = 9.0  # longer than the session timeout of 6 s


@pytest.mark.timeout(400)
def test_kill_term_and_freeze_leave_every_message_once(site: Callable[..., Site], database, tmp_path: Path) -> None:
    at = site(partitions=8)
    ledger = tmp_path / "ledger.csv"
    first, second = at.worker("first"), at.worker("second")
    plant = at.start(
        "plant", "simulate", f"--ledger={ledger}", f"--rate={RATE}", "--machines=900", f"--messages={MESSAGES}",
        "--plant=duplicate_share=0.01", "--plant=late_share=0.01", "--plant=late_max_ms=10000", "--plant=lab_share=0.05",
        "--plant=out_of_order_share=0.01", "--plant=garbage_share=0.002", "--plant=array_share=0.02",
        f"--topic={at.topics[0]}",
    )  # fmt: skip

    at.wait(lambda: at.stored() > 20_000)
    first.signal(signal.SIGKILL)
    third = at.worker("third")
    at.wait(lambda: third.said("partition.acquired"))
    time.sleep(3)
    assert second.stop() == 0
    fourth = at.worker("fourth")
    at.wait(lambda: fourth.said("partition.acquired"))
    time.sleep(2)
    third.signal(signal.SIGSTOP)
    time.sleep(FROZEN_S)
    third.signal(signal.SIGCONT)

    assert plant.wait(200) == 0
    ends = ledger_ends(ledger)
    at.wait(lambda: behind(ends, database.admin_dsn, at.group) == 0, within_s=120)
    assert [third.stop(), fourth.stop()] == [0, 0]
    found = verify(ledger, database.admin_dsn, group=at.group)
    assert found.summary["sent"] >= 100_000
    assert found.holds, found.summary
    assert found.summary["dead_letters"] > 0
    assert found.summary["device_duplicates"] > 0
    with connect(database.admin_dsn) as connection:
        differing = compare(connection)
    assert differing["windows"][0] == 0
    assert differing["anomalies"][0] == 0
    assert min(rows for _, rows in differing.values()) > 1_000
