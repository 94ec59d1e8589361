"""R40, R41: replays are promoted and undone while workers run; killed at any moment, either is done whole or not at all."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.system.processes import Process, Site
from tests.system.test_replay import PLANT, compared, is_alive

KILLS = 5


@pytest.fixture
def lively(site: Callable[..., Site], database) -> tuple[Site, Process]:
    """A site with two workers whose plant sends 4,000 messages a second, late ones among them."""
    at = site(partitions=4, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    at.worker("first")
    at.worker("second")
    plant = at.start(
        "plant", "simulate", "--rate=4000", "--machines=500", "--messages=100000", f"--topic={at.topics[0]}", *PLANT
    )
    at.wait(lambda: at.stored() > 12_000)
    return at, plant


class Engineer:
    """Says commands about the replay ``r``, some of which are killed at a random moment."""

    def __init__(self, at: Site) -> None:
        self._at, self._chance, self._number = at, random.Random(40), itertools.count()

    def say(self, *words: str) -> Process:
        return self._at.start(f"said-{next(self._number)}", "replay", *words)

    def done(self, *words: str) -> None:
        said = self.say(*words)
        assert said.wait(120) == 0, said.last_words()

    def killed(self, longest_s: float, *words: str) -> str:
        """Say something, kill it, and return the replay's state afterwards."""
        said = self.say(*words)
        self._at.wait(lambda: is_alive(self._at, "r") or said.exit_code is not None)
        time.sleep(self._chance.uniform(0, longest_s))
        said.kill_group()
        self._at.wait(lambda: said.exit_code is not None and not is_alive(self._at, "r"), within_s=60)
        return self._at.rows("SELECT state FROM telemetry.replay WHERE name = 'r'")[0]["state"]

    def took_s(self, *words: str) -> float:
        began = time.monotonic()
        self.done(*words)
        return time.monotonic() - began


@pytest.mark.timeout(1800)
def test_promoted_and_undone_while_workers_run_and_killed_at_any_moment_nothing_is_lost(
    lively: tuple[Site, Process],
) -> None:
    at, plant = lively
    engineer = Engineer(at)
    engineer.done("start", "r")
    engineer.done("promote", "r")
    longest_s = 1.5 * engineer.took_s("undo", "r")

    for _ in range(KILLS):
        if engineer.killed(longest_s, "promote", "r", "--no-catch-up") == "promoted":
            engineer.done("undo", "r")
    engineer.done("promote", "r")
    for _ in range(KILLS):
        if engineer.killed(longest_s, "undo", "r") == "complete":
            engineer.done("promote", "r", "--no-catch-up")
    engineer.done("undo", "r")
    engineer.done("promote", "r")

    settle(at, plant)
    assert at.run("replay", "start", "check").returncode == 0
    found = compared(at, "check")
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found
    assert at.one("SELECT count(*) FROM telemetry.promotion WHERE undone_at IS NULL") == 1
    assert at.one("SELECT count(*) FROM telemetry.promotion") > 3


def settle(at: Site, plant: Process) -> None:
    """Wait until everything that was sent is stored."""
    assert plant.wait(300) == 0
    total = sum(each["end"] for each in json.loads(at.run("topics", "--json").stdout))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=200)


@pytest.mark.timeout(300)
def test_a_projection_is_rebuilt_from_stored_events_while_workers_run(site: Callable[..., Site], database) -> None:
    at = site(partitions=2, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    at.worker("worker")
    sent = ["--rate=4000", "--machines=50", f"--topic={at.topics[0]}", *PLANT]
    assert at.start("plant", "simulate", "--messages=12000", *sent).wait(120) == 0
    at.wait(lambda: at.merged() == at.stored() > 11_000)
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("UPDATE telemetry.reading_window SET mean = 0, count = count + 1 WHERE sensor = 'temperature'")
        admin.execute("DELETE FROM telemetry.reading_window WHERE sensor = 'pressure'")
        admin.execute("UPDATE telemetry.machine_state SET messages = 0")
        admin.execute("DELETE FROM telemetry.anomaly WHERE source_partition = 0")
    plant = at.start("more", "simulate", "--messages=12000", *sent)

    for projection, key in (("windows", "reading_window"), ("anomalies", "anomaly")):
        rebuilt = at.run("rebuild", projection, "--json")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert {each["table"]: each["added"] > 0 for each in json.loads(rebuilt.stdout)["tables"]}[key]
        again = at.run("rebuild", projection)
        assert (again.returncode, "were made anew" in again.stderr) == (78, True)

    settle(at, plant)
    assert at.run("replay", "start", "check").returncode == 0
    found = {each["table"]: each for each in compared(at, "check")["columns"] if not each["column"]}
    # What is rebuilt from events cannot know what devices had sent twice
    wrong = {table: each for table, each in found.items() if each["missing"] or each["extra"] or each["changed"]}
    assert set(wrong) <= {"machine_state"}, wrong
    assert found["anomaly"]["live"] > 0
    columns = [each for each in compared(at, "check")["columns"] if each["table"] == "machine_state"]
    assert {each["column"] for each in columns if each["changed"]} <= {"", "duplicates"}
