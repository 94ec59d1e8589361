"""``pipeline simulate`` with machines that wear out, and what workers store of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from simulator import fact_ledger, life_ledger
from tests.system.processes import Site


def test_compressors_are_stored_whole_with_their_repairs_and_the_truth_beside(
    site: Callable[..., Site], tmp_path: Path
) -> None:
    at = site(partitions=2)
    ledger = tmp_path / "ledger.csv"
    plant = at.run(
        "simulate", "--json", "--backfill", f"--ledger={ledger}", "--machines=1", "--messages=60",
        "--plant=interval_ms=60000", "--plant=wear_machines=2", "--plant=wear_pace=40",
    )  # fmt: skip
    sent = json.loads(plant.stdout)["records"]
    worker = at.worker("worker")
    at.wait(lambda: at.stored() == sent)
    assert worker.stop() == 0

    told = at.run("verify", str(ledger), "--json")
    assert (told.returncode, json.loads(told.stdout)["holds"]) == (0, True), told.stdout
    repairs = list(fact_ledger.read(fact_ledger.beside(ledger)))
    ended = {life.repaired_ms: life for life in life_ledger.read(life_ledger.beside(ledger))}
    assert len(repairs) >= 2
    assert {repair.event_time_ms for repair in repairs} <= set(ended)
    assert at.one("SELECT count(*) FROM dashboard.maintenance_record WHERE kind = 'failure'") == len(repairs)
