"""R9, R40, R45: the plant is changed while workers fold, and a replay gives the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.processes import Site
from tests.system.producing import message, produce

PARTITIONS = 4
BELOW = '[{"sensor": "pressure", "op": "<", "value": %d}]'


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


def refused(at: Site, machine: str) -> int:
    """Return how many records of a machine came while it was disabled."""
    return at.one(
        "SELECT count(*) FROM dead_letter WHERE reason = 'device_disabled' AND key = convert_to(%s, 'UTF8')", machine
    )


def accepted(at: Site, machine: str) -> int:
    return at.one("SELECT count(*) FROM event WHERE machine_id = %s AND source_topic = %s", machine, at.topics[0])


def place(at: Site, entity_id: str, version: int, partition: int) -> int:
    """Return the only offset of a partition from which a version of something is in force; every other one has one too."""
    found = at.rows(
        'SELECT e.topic, e.partition, e."offset" FROM control_effect AS e JOIN control_record AS c ON c.id = e.control_id'
        f" WHERE c.body ->> 'id' = '{entity_id}' AND (c.body ->> 'version')::int = {version}"
    )
    places = {(row["topic"], row["partition"]): row["offset"] for row in found}
    assert len(found) == len(places) == len(at.topics) * PARTITIONS, found
    return int(places[at.topics[0], partition])


def check_places(at: Site, schema: str, off: str, also_off: str) -> None:
    """Check that a machine's records are refused from the very offset on at which it was disabled, up to that of the other."""
    for machine, is_on_again in ((off, True), (also_off, False)):
        letters, events = (
            at.rows(
                f"SELECT DISTINCT source_partition, source_offset FROM {schema}.{table}"
                f" WHERE source_topic = '{at.topics[0]}' AND {whose} = '{machine}'"
            )
            for table, whose in (("dead_letter", "convert_from(key, 'UTF8')"), ("event", "machine_id"))
        )
        (partition,) = {row["source_partition"] for row in letters + events}
        begin = place(at, machine, 2, partition)
        end = place(at, machine, 3, partition) if is_on_again else float("inf")
        assert letters
        assert all(begin <= row["source_offset"] < end for row in letters)
        assert not any(begin <= row["source_offset"] < end for row in events)
        assert any(row["source_offset"] >= end for row in events) == is_on_again


def check_state(at: Site, schema: str, moved: str) -> None:
    """Check that a machine is on its new line, and that the rule is the changed one, in force at one offset everywhere."""
    lines = at.rows(f"SELECT line_id FROM {schema}.machine_state WHERE machine_id = '{moved}'")
    assert [row["line_id"] for row in lines] == ["line-9"]
    rules = at.rows(f"SELECT body FROM {schema}.metadata_command WHERE entity_id = 'r1' ORDER BY version")
    assert [row["body"]["conditions"][0]["value"] for row in rules] == [7475, 7400]
    for partition in range(PARTITIONS):
        assert place(at, "r1", 1, partition) <= place(at, "r1", 2, partition)
        assert place(at, moved, 1, partition) <= place(at, moved, 2, partition)


def by_default(pressure: float, temperature: float) -> int:
    """Return the class of maintenance of a message as long as nobody has added a rule."""
    if pressure < 7475:
        return 1 if temperature < 70 else 4
    if pressure > 7600:
        return 3 if temperature < 50 else 2 if temperature < 70 else 5
    return 0


def check_rule(at: Site, schema: str) -> None:
    """Check that every class of maintenance is by the rules that were in force at its very offset."""
    begins = {n: (place(at, "r1", 1, n), place(at, "r1", 2, n)) for n in range(PARTITIONS)}
    readings = [
        f"coalesce(body -> 'readings' ->> '{each}', body -> 'machine' ->> '{each}')::float"
        for each in ("pressure", "temperature")
    ]
    expected: set[tuple[str, int, int]] = set()
    known: dict[str, int] = {}
    for row in at.rows(
        f"SELECT machine_id, source_partition, source_offset, {readings[0]} AS p, {readings[1]} AS t FROM {schema}.event"
        f" WHERE source_topic = '{at.topics[0]}' AND event_type = 'Telemetry Ingest'"
        " ORDER BY source_partition, source_offset, source_index"
    ):
        machine, (first, second) = row["machine_id"], begins[row["source_partition"]]
        if row["source_offset"] < first:
            needed = by_default(row["p"], row["t"])
        else:
            needed = int(row["p"] < (7400 if row["source_offset"] >= second else 7475))
        if known.get(machine) != needed:
            known[machine] = needed
            expected.add((machine, row["source_offset"], needed))
    rows = at.rows(f"SELECT machine_id, source_offset, class FROM {schema}.maintenance_requirement")
    found = {(row["machine_id"], row["source_offset"], row["class"]) for row in rows}
    assert (found - expected, expected - found) == (set(), set())
    assert {needed for *_, needed in expected} > {0, 1}


@pytest.mark.timeout(500)
def test_changes_under_load_and_a_kill_are_the_same_again_in_a_replay(site: Callable[..., Site], database) -> None:
    at = site(topics=2, partitions=PARTITIONS, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    at.environment["PIPELINE_BROKER__COMMAND_TOPIC"] = at.topics[1]
    first, second = at.worker("first"), at.worker("second")
    # Sends for as long as the plant is being changed, however long a busy computer takes for that
    plant = at.start("plant", "simulate", "--rate=1500", "--machines=60", f"--topic={at.topics[0]}")
    at.wait(lambda: at.stored() > 2_000 and at.one("SELECT count(*) FROM machine_state") >= 4)
    machines = [row["machine_id"] for row in at.rows("SELECT machine_id FROM machine_state ORDER BY 1 LIMIT 4")]
    off, also_off, removed, moved = machines

    for number, machine in enumerate(machines):
        assert told(at, "machines", "add", machine, "factory_id=aurora", f"line_id=line-{number}")["version"] == 1
    told(at, "rules", "add", "r1", "class=1", "name=Tighten", f"conditions={BELOW % 7475}")
    told(at, "machines", "change", off, "status=disabled")
    at.wait(lambda: refused(at, off) > 0)
    first.signal(signal.SIGKILL)
    told(at, "machines", "change", also_off, "status=disabled")
    at.worker("third")
    told(at, "rules", "change", "r1", f"conditions={BELOW % 7400}")
    told(at, "machines", "change", moved, "line_id=line-9")
    told(at, "machines", "change", off, "status=enabled")
    stale = at.run("machines", "change", off, "status=disabled", "--expect=1", "--wait=90")
    assert (stale.returncode, "expected version 1, it is 3" in stale.stderr) == (1, True)
    at.wait(lambda: everywhere(at) and refused(at, also_off) > 0)
    before = accepted(at, off), accepted(at, moved)
    at.wait(lambda: accepted(at, off) > before[0] and accepted(at, moved) > before[1])

    assert plant.stop() == 0
    total = sum(each["end"] for each in json.loads(at.run("topics", "--json").stdout))
    at.wait(lambda: at.stored() == at.merged() == total and everywhere(at), within_s=120)
    letters = at.rows("SELECT DISTINCT reason FROM dead_letter")
    assert [row["reason"] for row in letters] == ["device_disabled"]
    check_places(at, "telemetry", off, also_off)
    check_state(at, "telemetry", moved)
    check_rule(at, "telemetry")

    started = at.run("replay", "start", "again", "--json")
    assert started.returncode == 0, started.stderr
    compared = at.run("replay", "diff", "again", "--json")
    found = json.loads(compared.stdout)
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found
    rows = {each["table"]: each["live"] for each in found["columns"] if not each["column"]}
    assert rows["metadata_command"] == 11
    assert rows["dead_letter"] > 0
    check_places(at, "replay_again", off, also_off)
    check_state(at, "replay_again", moved)
    check_rule(at, "replay_again")

    promoted = at.run("replay", "promote", "again", "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert {each["removed"] for each in json.loads(promoted.stdout)["tables"]} == {0}
    assert told(at, "machines", "remove", removed)["version"] == 2
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
