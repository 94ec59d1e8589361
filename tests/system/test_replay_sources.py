"""R40: what a replay reads (topics, what is stored, a part of either, from a kept state) and what of its results it keeps."""

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

from pipeline.core.records import SourcePartition
from tests.system.processes import Site
from tests.system.producing import command_some, delete_before
from tests.system.promoting import predict_some
from tests.system.test_replay import PLANT, compared, ends, is_alive, listed, stored_by

PARTITIONS = 4
# Every machine sends once in 5 s
_FACTS = ("--plant=quality_interval_ms=60000", "--plant=maintenance_interval_ms=120000")


def live(make: Callable[..., Site], database: Any) -> Site:
    """Return a site whose workers have stored everything and kept a state early on."""
    at = make(
        partitions=PARTITIONS, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn, "INGEST__MAX_FUTURE_MS": 5000}
    )
    first = at.worker("first")
    begin_ms = 1_790_000_000_000
    for messages in (6000, 12000):
        sent = ["--machines=120", f"--messages={messages}", f"--topic={at.topics[0]}", *PLANT, *_FACTS]
        plant = at.start("plant", "simulate", "--backfill", f"--plant=start_ms={begin_ms}", *sent)
        assert plant.wait(120) == 0, plant.last_words()
        at.wait(lambda: at.one("SELECT count(*) FROM telemetry.snapshot_history") == PARTITIONS)
        # Every machine sends once in 5 s
        begin_ms += messages // 120 * 5000
    total = sum(each["log end"] for each in ends(at))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=120)
    assert first.stop() == 0
    return at


@pytest.fixture(scope="module")
def lived(lasting_site: tuple[Callable[..., Site], Any]) -> Site:
    """The site of those tests that change neither its log nor its tables."""
    return live(*lasting_site)


def started(at: Site, name: str, *options: str) -> dict[str, Any]:
    done = at.run("replay", "start", name, "--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["state"] == "complete"
    return found


def same(at: Site, name: str) -> dict[str, tuple[int, int]]:
    """Check that a replay differs in nothing; return the rows of each table that were compared."""
    found = compared(at, name)
    assert found["holds"], found
    return {each["table"]: (each["live"], each["shadow"]) for each in found["columns"] if not each["column"]}


def count(at: Site, name: str, table: str, condition: str = "true") -> int:
    return at.one(f"SELECT count(*) FROM replay_{name}.{table} WHERE {condition}")


@pytest.mark.timeout(300)
def test_what_the_log_has_lost_is_read_from_what_is_stored_and_what_is_nowhere_is_refused(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    lived = live(site, database)
    delete_before(broker_address, lived.topics[0], 1500, PARTITIONS)

    with psycopg.connect(lived.dsn, autocommit=True) as connection:
        mark = "UPDATE telemetry.source_progress SET effects_next = %s WHERE partition = 1"
        stored = lived.one("SELECT effects_next FROM source_progress WHERE partition = 1")
        connection.execute(mark, [1000])
        refused = lived.run("replay", "start", "refused")
        connection.execute(mark, [stored])
    source = SourcePartition(lived.topics[0], 1)
    assert refused.returncode == 78
    assert f"the log of {source} has lost its beginning: it has offsets from 1500 on" in refused.stderr
    assert "what is stored ends at 1000" in refused.stderr
    assert lived.run("replay", "list", "--json").stdout.strip() == "[]"

    found = started(lived, "both")

    assert {each["stored_to"] for each in found["ranges"]} != {0}
    rows = same(lived, "both")
    assert rows["event"][1] > 15_000
    assert rows["dead_letter"][1] == lived.one("SELECT count(*) FROM telemetry.dead_letter")
    assert rows["reading_window"][1] == lived.one("SELECT count(*) FROM telemetry.reading_window")

    delete_before(broker_address, lived.topics[0], -1, PARTITIONS)
    found = started(lived, "all_stored", "--stored")
    assert same(lived, "all_stored") == rows
    promoted = lived.run("replay", "promote", "all_stored", "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert {each["removed"] for each in json.loads(promoted.stdout)["tables"]} == {0}


@pytest.mark.timeout(300)
def test_what_was_archived_and_dropped_is_replayed_from_the_archive(
    site: Callable[..., Site], broker_address: str, tmp_path: Path, database
) -> None:
    """Topic, events, archive, drop, replay: equal (R38, R39, R40)."""
    place = {"ARCHIVE__ADDRESS": tmp_path / "archive", "RETENTION__EVENT_DAYS": 2}
    at = site(partitions=2, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn, **place})
    predict_some(at)
    sent = ["--machines=40", "--messages=9000", f"--topic={at.topics[0]}", *PLANT]
    command_some(broker_address, at.topics[0])
    assert at.start("plant", "simulate", "--backfill", "--plant=start_ms=1790000000000", *sent).wait(120) == 0
    worker = at.worker("worker")
    total = sum(each["log end"] for each in ends(at))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=120)
    assert worker.stop() == 0
    started(at, "before", "--stored")
    rows = same(at, "before")
    for command in ("archive", "retain"):
        done = at.run(command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert at.one("SELECT count(*) FROM telemetry.event") == 0
    delete_before(broker_address, at.topics[0], -1, 2)

    found = started(at, "again", "--stored")

    assert {each["stored_to"] > 0 for each in found["ranges"]} == {True}
    again = same(at, "again")
    assert (again["event"], again["reading_window"]) == ((0, 0), rows["reading_window"])
    for table in rows:
        assert count(at, "again", table) == count(at, "before", table) > 0, table
    assert different(at, "before", "again") == 0
    rebuilt = at.run("rebuild", "windows")
    assert rebuilt.returncode == 0, rebuilt.stderr
    unknown = at.run("replay", "start", "nowhere", "--stored")
    assert (unknown.returncode, "does not know of promotion 1 yet" in unknown.stderr) == (78, True), unknown.stderr
    assert at.run("archive").returncode == 0

    nowhere = at.run("replay", "start", "nowhere", "--stored", PIPELINE_ARCHIVE__ADDRESS="")
    assert (nowhere.returncode, "say where, in archive.address" in nowhere.stderr) == (78, True), nowhere.stderr
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("UPDATE telemetry.retention_mark SET not_archived_before = '2026-01-01'")
    refused = at.run("replay", "start", "nowhere", "--stored")
    assert (refused.returncode, "dropped without an archive" in refused.stderr) == (78, True), refused.stderr


def different(at: Site, one: str, other: str) -> int:
    """Return how many events two replays have otherwise."""
    columns = "event_id, event_time, event_type, machine_id, source_offset, source_index, ingest_time, body::text"
    sides = [f"SELECT {columns} FROM replay_{name}.event" for name in (one, other)]
    return at.one(
        f"SELECT count(*) FROM (({sides[0]} EXCEPT ALL {sides[1]}) UNION ALL ({sides[1]} EXCEPT ALL {sides[0]})) AS differing"
    )


@pytest.mark.timeout(300)
def test_killed_at_any_moment_a_replay_of_what_is_stored_goes_on(lived: Site) -> None:
    chance = random.Random(3)
    command = ["replay", "start", "killed", "--stored", "--processes=1", "--rate=1500"]
    stored = effective = 0
    for number in range(5):
        process = lived.start(f"replay-{number}", *command)
        command = ["replay", "resume", "killed"]
        lived.wait(lambda: is_alive(lived, "killed"))
        lived.wait(lambda before=stored: stored_by(lived, "killed") > before)
        time.sleep(chance.uniform(0, 1.0))
        process.kill_group()
        lived.wait(lambda: not is_alive(lived, "killed"))
        stored, before = stored_by(lived, "killed"), stored
        effective += stored > before
    assert effective > 2
    assert lived.run("replay", "resume", "killed").returncode == 0

    assert same(lived, "killed")["event"][1] > 15_000


@pytest.mark.timeout(300)
def test_results_are_kept_of_some_machines_of_a_factory_and_of_a_stretch_of_time(lived: Site) -> None:
    machines = [
        row["machine_id"] for row in lived.rows("SELECT machine_id FROM telemetry.machine_state ORDER BY 1 LIMIT 3")
    ]
    started(lived, "machines", *(f"--machine={each}" for each in machines))
    rows = same(lived, "machines")
    assert rows["machine_state"] == (3, 3)
    assert rows["event"][1] == count(lived, "machines", "event") > 100
    assert rows["dead_letter"] == (0, 0)
    assert count(lived, "machines", "event", f"machine_id <> ALL(ARRAY{machines})") == 0

    factory = lived.rows("SELECT factory_id FROM telemetry.machine_state ORDER BY 1 LIMIT 1")[0]["factory_id"]
    started(lived, "factory", f"--of-factory={factory}")
    assert 0 < same(lived, "factory")["machine_state"][1] < lived.one("SELECT count(*) FROM telemetry.machine_state")

    (stretch,) = lived.rows(
        "SELECT to_char(min(event_time) + interval '200 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since,"
        " to_char(max(event_time) - interval '200 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS until FROM telemetry.event",
    )
    since, until = stretch["since"], stretch["until"]
    started(lived, "stretch", f"--since={since}", f"--until={until}")
    rows = same(lived, "stretch")
    assert 0 < rows["event"][1] < lived.one("SELECT count(*) FROM telemetry.event")
    assert rows["reading_window"][1] > 0
    assert rows["machine_state"] == (0, 0)
    outside = f"event_time < '{since}' OR event_time >= '{until}'"
    assert count(lived, "stretch", "event", outside) == 0


@pytest.mark.timeout(300)
def test_a_replay_of_late_offsets_begins_at_the_nearest_state_that_was_kept(lived: Site) -> None:
    history = lived.rows("SELECT partition, min(snapshot_offset) FROM telemetry.snapshot_history GROUP BY 1")
    kept = {row["partition"]: row["min"] for row in history}
    assert len(kept) == PARTITIONS
    first = max(kept.values()) + 200

    found = started(lived, "late", f"--from-offset={first}", f"--to-offset={first + 1000}")

    assert {each["start"] for each in found["ranges"]} == {first}
    rows = same(lived, "late")
    assert rows["event"][1] == count(lived, "late", "event") > 2000
    assert count(lived, "late", "event", f"source_offset NOT BETWEEN {first} AND {first + 999}") == 0
    # Scored by what was learned before, not anew: the first hundred of a sensor would not be scored else
    assert rows["anomaly"][1] > 0


@pytest.mark.timeout(300)
def test_a_named_configuration_decides_and_is_gone_on_with(lived: Site, tmp_path: Path) -> None:
    stricter = tmp_path / "stricter.toml"
    stricter.write_text("[spikes]\nthreshold = 40.0\n")
    process = lived.start("stricter", "replay", "start", "stricter", f"--config={stricter}", "--rate=3000")
    lived.wait(lambda: is_alive(lived, "stricter") and stored_by(lived, "stricter") > 0)
    process.signal(signal.SIGINT)
    assert process.wait(60) == 130
    resumed = lived.run("replay", "resume", "stricter", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert listed(lived, "stricter")["options"]["config"] == str(stricter)

    found = compared(lived, "stricter")
    changes = {each["table"]: each for each in found["columns"] if not each["column"]}
    assert changes["anomaly"]["missing"] > 0
    assert (changes["anomaly"]["extra"], changes["reading_window"]["changed"]) == (0, 0)
    assert changes["event"]["missing"] == changes["anomaly"]["missing"]
    before = listed(lived, "stricter")
    refused = lived.run("replay", "promote", "stricter")
    assert (refused.returncode, "folds by other rules" in refused.stderr) == (78, True), refused.stderr
    assert "`pipeline config`" in refused.stderr
    assert listed(lived, "stricter") == before, "before it catches up with anything"

    stricter.unlink()
    gone = lived.run("replay", "resume", "stricter")
    assert (gone.returncode, f"--config names {stricter}, which is not there" in gone.stderr) == (78, True)


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    ("option", "says"),
    [("--since=yesterday", "--since is 'yesterday'; write ISO 8601"), ("--until=2026-01-01", "with its zone")],
)
def test_an_instant_that_is_none_is_refused(site: Callable[..., Site], database, option: str, says: str) -> None:
    at = site(settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    refused = at.run("replay", "start", "x", option)
    assert (refused.returncode, says in refused.stderr) == (2, True), refused.stderr
