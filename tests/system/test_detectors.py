"""R21 to R24, R28, R35: what detectors find is stored once through a kill, and a replay finds the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.core.detectors.streams import QUICK, stream
from tests.system.processes import Site
from tests.system.producing import produce

CHOICES = [
    {"detector": "change", "threshold": 4.0, "parameters": QUICK},
    {"detector": "stuck", "threshold": 2.0, "parameters": QUICK},
    {"detector": "novelty", "threshold": 0.5, "parameters": QUICK},
    {"detector": "mixture", "parameters": {"warm_up": 20}},
    {"detector": "multivariate", "threshold": 3.0, "parameters": QUICK},
    {
        "detector": "river.anomaly.StandardAbsoluteDeviation",
        "sensors": ["humidity"],
        "threshold": 2.5,
        "parameters": {"calm": 1, "refractory_ms": 0},
    },
]
DETECTORS = {each["detector"] for each in CHOICES}


@pytest.mark.timeout(300)
def test_what_detectors_find_is_stored_once_through_a_kill_and_found_again_by_a_replay(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    settings = {"DETECTORS__CHOICES": json.dumps(CHOICES), "POSTGRES__ADMIN_DSN": database.admin_dsn}
    at = site(partitions=1, settings=settings)
    records = stream(1200)
    bodies = [record.value for record in records]
    first = at.worker("first")
    produce(broker_address, at.topics[0], bodies[:500])
    at.wait(lambda: at.stored() > 100)
    first.signal(signal.SIGKILL)
    second = at.worker("second")
    produce(broker_address, at.topics[0], bodies[500:])
    at.wait(lambda: at.stored() == 1200)

    stored = at.rows(
        "SELECT detector, detector_version, count(*) AS found, count(DISTINCT event_id) AS events FROM anomaly GROUP BY 1, 2"
    )
    assert {row["detector"] for row in stored} >= DETECTORS
    assert all(row["found"] == row["events"] for row in stored)
    assert {row["detector_version"] for row in stored if row["detector"] in DETECTORS}.isdisjoint({1})

    assert at.run("replay", "start", "again", "--json").returncode == 0
    found = json.loads(at.run("replay", "diff", "again", "--json").stdout)
    assert found["holds"], found
    rows = {each["table"]: (each["live"], each["shadow"]) for each in found["columns"] if not each["column"]}
    assert rows["anomaly"] == (sum(row["found"] for row in stored),) * 2
    assert second.stop() == 0


def test_a_detector_that_does_not_exist_is_refused_at_the_start_in_one_line(site: Callable[..., Site]) -> None:
    worker = site(settings={"DETECTORS__ENABLED": '["chnage"]'}).worker("wrong")

    assert worker.wait(30) == 78
    assert "there is no detector 'chnage'" in worker.log.read_text().strip().splitlines()[-1]
