"""R9, R40, R45: the plant is changed while workers fold, and a replay gives the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.processes import Site
from tests.system.producing import message, produce


def told(at: Site, *command: str) -> dict[str, Any]:
    """Run a command that changes the plant; return what became of it."""
    done = at.run(*command, "--json", "--wait=90")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def everywhere(at: Site) -> bool:
    """Return whether every partition has applied every control record."""
    return at.one("SELECT min(controls_next) FROM source_progress") == at.one(
        "SELECT count(*) FROM control_record WHERE topic IS NULL"
    )


@pytest.mark.timeout(500)
def test_changes_under_load_and_a_kill_are_the_same_again_in_a_replay(site: Callable[..., Site], database) -> None:
    at = site(topics=2, partitions=4, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    commands = {"PIPELINE_BROKER__COMMAND_TOPIC": at.topics[1]}
    at.environment |= commands
    first, second = at.worker("first"), at.worker("second")
    plant = at.start("plant", "simulate", "--rate=1500", "--machines=60", "--messages=30000", f"--topic={at.topics[0]}")
    at.wait(lambda: at.stored() > 2_000 and at.one("SELECT count(*) FROM machine_state") >= 4)
    machines = [row["machine_id"] for row in at.rows("SELECT machine_id FROM machine_state ORDER BY 1 LIMIT 4")]

    for number, machine in enumerate(machines):
        assert told(at, "machines", "add", machine, "factory_id=aurora", f"line_id=line-{number}")["version"] == 1
    told(at, "machines", "change", machines[0], "status=disabled")
    first.signal(signal.SIGKILL)
    told(at, "machines", "change", machines[1], "status=disabled")
    at.worker("third")
    told(at, "machines", "change", machines[0], "status=enabled")
    stale = at.run("machines", "change", machines[0], "status=disabled", "--expect=1", "--wait=90")
    assert (stale.returncode, "expected version 1, it is 3" in stale.stderr) == (1, True)

    assert plant.wait(120) == 0
    total = sum(each["end"] for each in json.loads(at.run("topics", "--json").stdout))
    at.wait(lambda: at.stored() == at.merged() == total and everywhere(at), within_s=120)
    letters = at.rows("SELECT DISTINCT reason FROM dead_letter")
    assert [row["reason"] for row in letters] == ["device_disabled"]
    assert at.one("SELECT count(*) FROM event") > 20_000

    started = at.run("replay", "start", "again", "--json")
    assert started.returncode == 0, started.stderr
    compared = at.run("replay", "diff", "again", "--json")
    found = json.loads(compared.stdout)
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found
    rows = {each["table"]: each["live"] for each in found["columns"] if not each["column"]}
    assert rows["metadata_command"] == 8
    assert rows["dead_letter"] > 0

    promoted = at.run("replay", "promote", "again", "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert {each["removed"] for each in json.loads(promoted.stdout)["tables"]} == {0}
    assert told(at, "machines", "remove", machines[2])["version"] == 2
    at.wait(lambda: everywhere(at))
    assert second.stop() == 0


@pytest.mark.timeout(300)
def test_what_a_quarantined_machine_sent_is_taken_after_it_was_added(
    site: Callable[..., Site], broker_address: str, tmp_path
) -> None:
    """One mixed topic; the machine is unknown, then added from a file, and what it had sent is requeued."""
    at = site(partitions=1)
    at.environment["PIPELINE_BROKER__COMMAND_TOPIC"] = at.topics[0]
    at.worker("worker")
    told(at, "factories", "add", "aurora", "name=Aurora", "time_zone=Europe/Oslo", "policy=quarantine")
    at.wait(lambda: everywhere(at))
    produce(broker_address, at.topics[0], [message("press-00001", seq=1)])
    at.wait(lambda: at.one("SELECT count(*) FROM dead_letter WHERE reason = 'unknown_device'") == 1)

    table = tmp_path / "machines.csv"
    table.write_text("id,factory_id,line_id\npress-00001,aurora,one\npress-00002,aurora,\n")
    assert told(at, "machines", "import", str(table)) == {"statuses": {"applied": 2}, "refused": []}
    at.wait(lambda: everywhere(at))
    assert at.run("deadletter", "requeue", "--reason=unknown_device").returncode == 0

    at.wait(lambda: at.one("SELECT count(*) FROM machine_state WHERE line_id = 'one'") == 1)
    listed = json.loads(at.run("machines", "list", "--json").stdout)
    assert [(each["id"], each["version"], each.get("line_id")) for each in listed] == [
        ("press-00001", 1, "one"),
        ("press-00002", 1, None),
    ]
    table.write_text("id,factory_id,line_id,colour\npress-00001,aurora,one,red\n")
    refused = at.run("machines", "import", str(table))
    assert refused.returncode == 1
    assert "a machine has no field 'colour'" in refused.stdout


def test_a_command_that_nobody_would_read_is_not_sent(site: Callable[..., Site]) -> None:
    at = site()

    done = at.run("machines", "add", "m", "factory_id=f")

    assert done.returncode == 78
    assert "add it to broker.topics" in done.stderr
