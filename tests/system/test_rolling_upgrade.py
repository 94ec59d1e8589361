"""A rolling upgrade under load (R52): workers are replaced one by one by another version, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.fold import FOLD_VERSION
from pipeline.store.connect import connect
from pipeline.verifying.verify import behind, ledger_ends, verify
from tests.system.independent import compare
from tests.system.processes import Site

RATE, SECONDS = 2_000, 30
PREVIOUS = (str(Path(__file__).with_name("previous_worker.py")),)


@pytest.mark.timeout(300)
def test_workers_of_the_previous_version_are_replaced_one_by_one_under_load(
    site: Callable[..., Site], database, tmp_path: Path
) -> None:
    at = site(partitions=4)
    ledger = tmp_path / "ledger.csv"
    old = [at.worker(f"old-{n}", program=PREVIOUS) for n in range(2)]
    plant = at.start(
        "plant", "simulate", f"--ledger={ledger}", f"--rate={RATE}", "--machines=300", f"--for={SECONDS}",
        "--plant=duplicate_share=0.01", "--plant=late_share=0.01", "--plant=late_max_ms=10000",
        f"--topic={at.topics[0]}",
    )  # fmt: skip
    at.wait(lambda: at.stored() > RATE)
    at.wait(lambda: any(worker.lines("snapshot.kept") for worker in old))
    versions = lambda: at.one("SELECT count(*) FROM source_progress WHERE fold_version = %s", FOLD_VERSION)  # noqa: E731  # a word for a query
    assert versions() == 0

    new = []
    for n, worker in enumerate(old):
        new.append(at.worker(f"new-{n}"))
        at.wait(lambda: bool(new[-1].lines("health.listening")))
        at.wait(lambda: new[-1].ask("/readyz")[0] == 200)
        assert worker.stop() == 0
        at.wait(lambda: bool(new[-1].lines("partition.acquired")))

    assert plant.wait(120) == 0
    ends = ledger_ends(ledger)
    at.wait(lambda: behind(ends, database.admin_dsn, at.group) == 0, within_s=90)
    assert versions() == 4
    assert [worker.stop() for worker in new] == [0, 0]
    found = verify(ledger, database.admin_dsn, group=at.group)
    assert found.summary["sent"] >= RATE * SECONDS * 0.9
    assert found.holds, found.summary
    with connect(database.admin_dsn) as connection:
        differing = compare(connection)
    assert differing["windows"][0] == differing["anomalies"][0] == 0
    assert differing["windows"][1] > 1_000
