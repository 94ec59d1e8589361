"""R17: a whole partition falls silent, and what was open there comes to its end all the same, also in a replay."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.processes import Site
from tests.system.producing import message, produce

SETTINGS = {
    "SILENCE__TICK_S": 1,
    "SILENCE__AFTER_MS": 6_000,
    "WINDOWS__WATERMARK_DELAY_MS": 500,
}


def even_replay(at: Site) -> tuple[str, dict[str, Any]]:
    """Return a replay that came as far as the live run, and its differences; a tick in between has it made once more."""
    for name in ("first", "second", "third"):
        started = at.run("replay", "start", name, "--json")
        assert started.returncode == 0, started.stderr
        found = json.loads(at.run("replay", "diff", name, "--json").stdout)
        if found["uneven_partitions"] == 0:
            return name, found
    raise AssertionError(found)


@pytest.mark.timeout(400)
def test_machines_of_a_silent_partition_are_silent_once_through_kills_and_again_in_a_replay(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    at = site(partitions=2, settings=SETTINGS | {"POSTGRES__ADMIN_DSN": database.admin_dsn})
    first = at.worker("first")
    produce(broker_address, at.topics[0], [message("press-1", n) for n in range(3)])
    at.wait(lambda: at.one("SELECT count(*) FROM anomaly WHERE kind = 'device_silent'") == 1)
    at.wait(lambda: at.one("SELECT count(*) FROM machine_state WHERE silent") == 1)

    first.signal(signal.SIGKILL)
    second = at.worker("second")
    produce(broker_address, at.topics[0], [message("press-1", n) for n in range(3, 6)])
    at.wait(lambda: at.stored() == 6 and at.one("SELECT count(*) FROM machine_state WHERE NOT silent") == 1)
    at.wait(lambda: at.one("SELECT count(*) FROM anomaly WHERE kind = 'device_silent'") == 2)
    at.wait(lambda: at.one("SELECT count(*) FROM machine_state WHERE silent") == 1)

    replay, found = even_replay(at)
    assert found["holds"], found
    rows = {each["table"]: each["live"] for each in found["columns"] if not each["column"]}
    assert (rows["anomaly"], rows["machine_state"]) == (2, 1)

    promoted = at.run("replay", "promote", replay, "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert {each["removed"] for each in json.loads(promoted.stdout)["tables"]} == {0}
    undone = at.run("replay", "undo", replay, "--json")
    assert undone.returncode == 0, undone.stderr
    produce(broker_address, at.topics[0], [message("press-1", 6)])
    at.wait(lambda: at.one("SELECT count(*) FROM anomaly WHERE kind = 'device_silent'") == 3)
    assert second.stop() == 0
