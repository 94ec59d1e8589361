"""R40: replays are promoted and undone while workers run; killed at any moment, either is done whole or not at all."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import pytest

from tests.system.processes import Process, Site
from tests.system.test_replay import PLANT, compared, is_alive, listed

KILLS = 20


@pytest.fixture
def lively(site: Callable[..., Site], database) -> tuple[Site, Process]:
    """A site with two workers whose plant sends 10,000 messages a second, late ones among them."""
    at = site(partitions=4, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    at.worker("first")
    at.worker("second")
    plant = at.start(
        "plant", "simulate", "--rate=10000", "--machines=500", "--messages=900000", f"--topic={at.topics[0]}", *PLANT
    )
    at.wait(lambda: at.stored() > 20_000)
    return at, plant


def succeed(at: Site, *command: str) -> str:
    done = at.run("replay", *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(at: Site) -> str:
    return str(listed(at, "r")["state"])


def killed(at: Site, chance: random.Random, number: int, *command: str) -> None:
    process = at.start(f"{command[0]}-{number}", "replay", *command)
    at.wait(lambda: is_alive(at, "r") or process.exit_code is not None)
    time.sleep(chance.uniform(0, 2.5))
    process.kill_group()
    at.wait(lambda: not is_alive(at, "r"), within_s=60)


@pytest.mark.timeout(900)
def test_promoted_and_undone_while_workers_run_and_killed_at_any_moment_nothing_is_lost(
    lively: tuple[Site, Process],
) -> None:
    at, plant = lively
    chance = random.Random(40)
    succeed(at, "start", "r")
    done = {"promoted": 0, "complete": 0}
    for number in range(KILLS):
        killed(at, chance, number, "promote", "r", "--catch-up" if number % 3 == 0 else "--no-catch-up")
        if state(at) == "promoted":
            done["promoted"] += 1
            succeed(at, "undo", "r")
    succeed(at, "promote", "r")
    for number in range(KILLS):
        killed(at, chance, number, "undo", "r")
        if state(at) == "complete":
            done["complete"] += 1
            succeed(at, "promote", "r", "--no-catch-up")
    # Some were killed before they were done, and some after
    assert all(0 < times < KILLS for times in done.values()), done
    assert state(at) == "promoted"
    assert "promotion" in succeed(at, "undo", "r")
    succeed(at, "promote", "r", "--json")

    settle(at, plant)
    succeed(at, "start", "check", "--json")
    found = compared(at, "check")
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found
    assert at.one("SELECT count(*) FROM telemetry.promotion WHERE undone_at IS NULL") == 1


def settle(at: Site, plant: Process) -> None:
    """Wait until everything that was sent is stored."""
    assert plant.wait(300) == 0
    total = sum(each["end"] for each in json.loads(at.run("topics", "--json").stdout))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=200)
