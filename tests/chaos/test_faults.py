"""Faults say whether they hit anything and how workers ended; the faulty fold fails as often as it says."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.core.fold import FoldRules, Marks
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.processes import wait_until
from tests.chaos import service_faults, worker_faults
from tests.chaos.faulty_worker import FailingFold
from tests.chaos.faulty_worker import Injected as Failure
from tests.chaos.pool import End, tell
from tests.chaos.proxy import Proxy, Trouble
from tests.chaos.report import Injected
from tests.chaos.scene import Scene
from tests.system.processes import Process


def test_a_fault_of_a_proxy_without_connections_has_no_effect() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(server.getsockname()[1]).start()
    reset = service_faults.disturb("broker", Trouble.STALL, 0, 0)

    def injected() -> Injected:
        fault = Injected(1, "broker_stall", at_s=0.0)
        stand = SimpleNamespace(broker_proxy=proxy)
        reset(Scene(cast(Any, stand), cast(Any, None), cast(Any, None), random.Random(1), fault))
        return fault

    before = injected()
    with socket.create_connection(("127.0.0.1", proxy.port)), server.accept()[0]:
        # The proxy hears of its two ends a moment later
        assert wait_until(lambda: not injected().without_effect, 10)
    proxy.stop()
    server.close()

    assert before.without_effect


@pytest.mark.parametrize(
    ("does", "number", "due"),
    [
        ("import time; print('partition.acquired', flush=True); time.sleep(60)", signal.SIGKILL, (9, -9, True, True)),
        ("import time; print('worker.starting', flush=True); time.sleep(60)", signal.SIGTERM, (15, -15, False, True)),
        (
            "import time; print('partition.acquired', flush=True); time.sleep(60)",
            signal.SIGTERM,
            (15, -15, True, False),
        ),
        ("raise SystemExit(75)", signal.SIGKILL, (0, 75, False, False)),
        ("print('partition.acquired')", signal.SIGTERM, (0, 0, True, False)),
    ],
)
def test_it_is_noted_how_a_worker_ended(
    does: str, number: signal.Signals, due: tuple[object, ...], tmp_path: Path
) -> None:
    process = Process.spawned(tmp_path / "worker-007.log", ["-c", does], os.environ)
    deadline = time.monotonic() + 30
    while process.exit_code is None and not process.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    if "sleep" not in does:
        process.wait()

    end = End.of(process, tell(process, number))

    assert (end.worker, end.number, end.exit_code, end.had_begun, end.is_due) == ("worker-007", *due)


def test_a_worker_that_lost_what_it_was_to_fail_on_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_faults, "PATIENCE_S", 6.0)
    says = iter(("fold.failed", "record.poisoned", "record.poisoned"))
    told: list[tuple[str, ...]] = []

    def extra(*options: str) -> Process:
        told.append(options)
        does = f"import time; print('{next(says)}', flush=True); time.sleep(60)"
        return Process.spawned(tmp_path / f"worker-{len(told)}.log", ["-c", does], os.environ)

    fault = Injected(1, "fold_fails_for_ever", at_s=0.0)
    pool = SimpleNamespace(extra=extra)
    worker_faults.fail_for_ever(Scene(cast(Any, None), cast(Any, pool), cast(Any, None), random.Random(1), fault))

    assert [end.worker for end in fault.ends] == ["worker-1", "worker-2"]
    assert not fault.without_effect
    assert len(set(told)) == 1


def batch(start: int, count: int) -> RecordBatch:
    records = [Record(offset, 0, b"garbage") for offset in range(start, start + count)]
    return RecordBatch(SourcePartition("t", 0), "", start, start + count, records)


def test_a_fold_that_fails_once_spares_single_records_which_would_be_set_aside() -> None:
    fold = FailingFold(after=1, for_ever=False)

    def run(start: int, count: int) -> None:
        fold(PartitionState(), batch(start, count), FoldRules(), Marks(), {})

    run(0, 1)
    with pytest.raises(Failure):
        run(1, 3)
    for start, count in ((1, 3), (4, 1), (5, 2)):
        run(start, count)


def test_a_fold_that_fails_for_ever_does_on_one_record_only() -> None:
    fold = FailingFold(after=2, for_ever=True)
    failed: list[tuple[int, int]] = []

    for start, count in ((0, 3), (3, 5), *((offset, 1) for offset in range(3, 8)), (8, 3)):
        try:
            fold(PartitionState(), batch(start, count), FoldRules(), Marks(), {})
        except Failure:
            failed.append((start, count))

    assert failed == [(3, 5), (5, 1)]
