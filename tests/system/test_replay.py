"""R10, R38, R40: a replay of the topics gives what the live run gave, whatever happened to either."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.core.errors import SettingsError
from pipeline.replaying import replays, stretches
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate
from tests.forks import Forks
from tests.system.processes import Site
from tests.system.producing import command_some, delete_before, pause_some
from tests.system.promoting import predict_some

KILLS = 6

PLANT = (
    "--plant=duplicate_share=0.01", "--plant=late_share=0.02", "--plant=late_max_ms=15000", "--plant=lab_share=0.05",
    "--plant=out_of_order_share=0.02", "--plant=garbage_share=0.005", "--plant=array_share=0.03",
    "--plant=pump_share=0.1", "--plant=quality_interval_ms=2000", "--plant=maintenance_interval_ms=5000",
)  # fmt: skip


@pytest.fixture(scope="module")
def lived(lasting_site: tuple[Callable[..., Site], Any]) -> Site:
    """A site whose workers have stored everything, one of them killed on the way."""
    make, database = lasting_site
    at = make(partitions=6, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    predict_some(at)
    first = at.worker("first")
    plant = at.start(
        "plant", "simulate", "--rate=6000", "--machines=300", "--messages=40000", f"--topic={at.topics[0]}", *PLANT
    )
    at.wait(lambda: at.stored() > 8_000)
    command_some(at.environment["PIPELINE_BROKER__ADDRESS"], at.topics[0])
    pause_some(at.environment["PIPELINE_BROKER__ADDRESS"], at.topics[0])
    first.signal(signal.SIGKILL)
    second = at.worker("second")
    assert plant.wait(120) == 0
    total = sum(each["log end"] for each in ends(at))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=120)
    assert second.stop() == 0
    return at


def ends(at: Site) -> list[dict[str, int]]:
    found = at.run("topics", "--json")
    assert found.returncode == 0, found.stderr
    return [{"log end": each["end"]} for each in json.loads(found.stdout)]


def compared(at: Site, name: str) -> dict[str, Any]:
    found = at.run("replay", "diff", name, "--json")
    assert found.returncode in {0, 1}, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    assert answer["holds"] == (found.returncode == 0)
    return answer


def listed(at: Site, name: str) -> dict[str, Any]:
    found = at.run("replay", "list", "--json")
    assert found.returncode == 0, found.stderr
    return next(each for each in json.loads(found.stdout) if each["name"] == name)


def is_alive(at: Site, name: str) -> bool:
    with connect(at.dsn, autocommit=True) as connection:
        try:
            return replays.find(connection, name).is_alive
        except SettingsError:
            return False


def stored_by(at: Site, name: str) -> int:
    with connect(at.dsn, autocommit=True) as connection:
        far = stretches.progress_of(connection, replays.find(connection, name))
    return sum(each.effects for each in far)


@pytest.mark.timeout(400)
def test_a_replay_equals_the_live_run_in_every_table(lived: Site) -> None:
    started = lived.run("replay", "start", "again", "--json")
    assert started.returncode == 0, started.stderr
    summary = json.loads(started.stdout)
    assert (summary["state"], summary["stored"]) == ("complete", summary["total"])

    found = compared(lived, "again")
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found
    rows = {each["table"]: each["live"] for each in found["columns"] if not each["column"]}
    assert rows["event"] > 39_000
    assert all(count > 0 for count in rows.values()), rows
    with psycopg.connect(lived.dsn) as connection:
        # Every row was compared
        for table, count in rows.items():
            row = connection.execute(f"SELECT count(*) FROM telemetry.{table}").fetchone()
            assert row == (count,), table


@pytest.mark.timeout(600)
def test_a_replay_that_is_killed_at_any_moment_and_resumed_gives_the_same(lived: Site) -> None:
    chance = random.Random(20)
    command = ["replay", "start", "killed", "--processes=1", "--rate=1000"]
    stored = effective = 0
    for number in range(KILLS):
        process = lived.start(f"replay-{number}", *command)
        command = ["replay", "resume", "killed"]
        lived.wait(lambda: is_alive(lived, "killed"))
        if number % 4:
            # Not at its start, but when it stores
            lived.wait(lambda before=stored: stored_by(lived, "killed") > before)
        time.sleep(chance.uniform(0, 1.5))
        process.kill_group()
        lived.wait(lambda: not is_alive(lived, "killed"))
        stored, before = stored_by(lived, "killed"), stored
        assert stored >= before
        effective += stored > before
    assert effective > KILLS // 2
    assert listed(lived, "killed")["state"] == "interrupted"

    resumed = lived.run("replay", "resume", "killed", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["state"] == "complete"
    found = compared(lived, "killed")
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found


@pytest.mark.timeout(300)
def test_what_a_database_that_crashes_forgets_of_a_replay_is_replayed_again(
    tmp_path: Path, broker_address: str, topic: Callable[..., str], own_postgres: Callable[..., Any], commands: Forks
) -> None:
    postgres = own_postgres()
    migrate(postgres.dsn)
    at = Site(tmp_path, broker_address, postgres.dsn, [topic(partitions=2)], commands=commands)
    worker = at.worker("worker")
    sent = ["--machines=50", "--messages=9000", f"--topic={at.topics[0]}", "--rate=20000", *PLANT]
    assert at.start("plant", "simulate", *sent).wait(120) == 0
    total = sum(each["log end"] for each in ends(at))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=120)
    assert worker.stop() == 0

    replay = at.start("replay", "replay", "start", "again", "--processes=1", "--rate=1500")
    for crash in (1, 2, 3):
        at.wait(lambda crash=crash: is_alive(at, "again") and stored_by(at, "again") > crash * 1500)
        postgres.kill()
        postgres.start()
        if replay.exit_code is not None:
            replay = at.start(f"replay-{crash}", "replay", "resume", "again")
    if replay.wait(120):
        assert at.run("replay", "resume", "again").returncode == 0

    found = compared(at, "again")
    assert (found["holds"], found["uneven_partitions"]) == (True, 0), found
    at.end()


@pytest.fixture
def sent(site: Callable[..., Site], database) -> Site:
    """A site with records in its topic, that no worker has read."""
    at = site(partitions=3, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    plant = at.start("plant", "simulate", "--rate=20000", "--machines=50", "--messages=9000", f"--topic={at.topics[0]}")
    assert plant.wait(120) == 0
    return at


@pytest.mark.timeout(200)
def test_a_replay_is_paused_gone_on_with_stopped_and_dropped(sent: Site, broker_address: str) -> None:
    running = sent.start("running", "replay", "start", "slow", "--rate=100", "--processes=1")
    sent.wait(lambda: is_alive(sent, "slow") and stored_by(sent, "slow") > 0)
    assert "is being worked on" in sent.run("replay", "resume", "slow").stderr
    assert "is being worked on" in sent.run("replay", "drop", "slow").stderr
    assert sent.run("replay", "pause", "slow").returncode == 0
    assert running.wait(30) == 0
    assert running.said("go on with: pipeline replay resume slow")
    paused = listed(sent, "slow")
    assert paused["state"] == "paused"
    assert 0 < paused["stored"] < paused["total"]

    again = sent.start("again", "replay", "resume", "slow")
    sent.wait(lambda: is_alive(sent, "slow") and stored_by(sent, "slow") > paused["stored"])
    again.signal(signal.SIGINT)
    assert again.wait(30) == 130
    assert again.said("go on with: pipeline replay resume slow")
    assert listed(sent, "slow")["state"] == "paused"

    assert sent.run("replay", "stop", "slow").returncode == 0
    refused = sent.run("replay", "resume", "slow")
    assert (refused.returncode, "stopped for good" in refused.stderr) == (78, True)
    assert sent.run("replay", "drop", "slow").returncode == 0
    assert json.loads(sent.run("replay", "list", "--json").stdout) == []
    assert sent.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'replay_slow'") == 0


@pytest.mark.timeout(200)
def test_a_replay_that_would_begin_in_the_middle_is_refused_unless_told(sent: Site, broker_address: str) -> None:
    delete_before(broker_address, sent.topics[0], 100)
    refused = sent.run("replay", "start", "middle")
    assert refused.returncode == 78
    assert f"the log of {sent.topics[0]}[0] has lost its beginning: it has offsets from 100 on" in refused.stderr
    assert "--cold" in refused.stderr
    assert sent.run("replay", "list", "--json").stdout.strip() == "[]"

    assert sent.run("replay", "start", "middle", "--cold").returncode == 0
    with psycopg.connect(sent.dsn) as connection:
        rows = connection.execute(
            "SELECT source_partition, min(source_offset) FROM replay_middle.event GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert rows == [(0, 100), (1, 0), (2, 0)]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", ["", "Upper", "a-b", "x" * 41, 'a"; DROP SCHEMA telemetry'])
def test_a_name_that_is_no_identifier_is_refused(site: Callable[..., Site], name: str) -> None:
    assert site().run("replay", "start", name).returncode == 2


@pytest.mark.timeout(100)
def test_one_name_is_one_replay(sent: Site) -> None:
    assert sent.run("replay", "start", "once").returncode == 0
    refused = sent.run("replay", "start", "once")
    assert (refused.returncode, "there is a replay 'once' already" in refused.stderr) == (78, True)
    assert "there is no replay 'other'" in sent.run("replay", "resume", "other").stderr
