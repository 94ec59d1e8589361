"""The commands, as users run them: what they print, what they end with, and one clear line when something is wrong."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.store.connect import connect
from tests.system.processes import Site
from tests.system.producing import message, produce

NOWHERE = "127.0.0.1:1"
SECRET = "s3cret-word"


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check that a command failed with one line that holds these words."""
    *_, last = done.stderr.splitlines() or [""]
    assert done.returncode == code, done.stderr
    assert last.startswith("pipeline: "), done.stderr
    assert all(word in last for word in words), last
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_services_that_are_away_are_named_with_their_addresses(site: Callable[..., Site]) -> None:
    at = site()
    away = make_conninfo(at.dsn, host="127.0.0.1", port="1", password=SECRET)

    one_line(at.run("worker", "--wait=1", PIPELINE_BROKER__ADDRESS=NOWHERE), 69, NOWHERE)
    one_line(at.run("worker", "--wait=1", PIPELINE_POSTGRES__DSN=away), 69, NOWHERE)
    one_line(at.run("status", PIPELINE_POSTGRES__DSN=away), 69, NOWHERE)
    one_line(at.run("migrate", PIPELINE_POSTGRES__ADMIN_DSN=away), 69, NOWHERE)


def test_what_must_be_done_first_is_said(site: Callable[..., Site], postgres_dsn: str) -> None:
    at = site()
    with psycopg.connect(postgres_dsn, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS unmigrated WITH (FORCE)")
        server.execute("CREATE DATABASE unmigrated")
    bare = make_conninfo(postgres_dsn, dbname="unmigrated")

    one_line(at.run("worker", "--wait=1", PIPELINE_POSTGRES__DSN=bare), 65, "pipeline migrate")
    one_line(
        at.run("worker", "--wait=1", PIPELINE_BROKER__TOPICS='["absent"]'), 78, "absent", "pipeline topics --create"
    )
    one_line(
        at.run("worker", PIPELINE_FLUSH__MAX_RECORDS="many"), 78, "flush.max_records", "PIPELINE_FLUSH__MAX_RECORDS"
    )
    assert at.run("worker", "--no-such-option").returncode == 2
    checked = at.run("migrate", "--check", "--json", PIPELINE_POSTGRES__ADMIN_DSN=bare)
    assert (checked.returncode, json.loads(checked.stdout)["missing"][0]) == (1, "0001.tables")
    applied = at.run("migrate", "--json", PIPELINE_POSTGRES__ADMIN_DSN=bare)
    assert (applied.returncode, json.loads(applied.stdout)["applied"][0]) == (0, "0001.tables")
    assert at.run("migrate", "--check", PIPELINE_POSTGRES__ADMIN_DSN=bare).returncode == 0


def test_topics_are_made_once(site: Callable[..., Site]) -> None:
    at = site()
    new = {"PIPELINE_BROKER__TOPIC_PREFIX": "x.", "PIPELINE_BROKER__TOPICS": json.dumps(at.topics)}

    one_line(at.run("topics", **new), 78, f"x.{at.topics[0]}")
    made = [at.run("topics", "--create", "--partitions=3", "--json", **new) for _ in range(2)]

    assert [done.returncode for done in made] == [0, 0]
    assert [row["partition"] for row in json.loads(made[1].stdout)] == [0, 1, 2]


def test_the_topic_of_alerts_is_made_with_the_others_and_a_worker_asks_for_it(site: Callable[..., Site]) -> None:
    at = site(partitions=1, settings={"BROKER__ALERT_TOPIC": f"alert-{uuid.uuid4().hex[:8]}"})
    name = at.environment["PIPELINE_BROKER__ALERT_TOPIC"]

    one_line(at.run("worker", "--wait=1"), 78, name)
    made = at.run("topics", "--create", "--partitions=2", "--json")

    assert [row["topic"] for row in json.loads(made.stdout)] == [name, name, at.topics[0]]


def test_config_says_where_each_value_comes_from_and_no_secret(site: Callable[..., Site], tmp_path: Path) -> None:
    at = site()
    (tmp_path / "pipeline.toml").write_text("[flush]\nmax_records = 77\n")

    done = at.run("config", "--json", PIPELINE_BROKER__SASL_PASSWORD=SECRET)

    origins = {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert origins["flush.max_records"] == (77, "pipeline.toml")
    assert origins["broker.group"] == (at.group, "PIPELINE_BROKER__GROUP")
    assert origins["spikes.threshold"] == (4.5, "default")
    assert SECRET not in done.stdout


@pytest.fixture
def stored(site: Callable[..., Site], broker_address: str) -> Site:
    """A site that has stored ten messages and one dead letter, and has no worker any more."""
    at = site(partitions=1)
    worker = at.worker("worker")
    headers = [("iothub-enqueuedtime", bytes([0x83, 0, 0, 1, 0x99, 0, 0, 0, 0]))]
    produce(broker_address, at.topics[0], [message(seq=n) for n in range(10)])
    produce(broker_address, at.topics[0], [b'{"type":"toaster"}'], key=b"toaster", headers=headers)
    at.wait(lambda: at.stored() == 11)
    assert worker.stop() == 0
    produce(broker_address, at.topics[0], [message(seq=10)])
    return at


def test_status_and_doctor_tell_how_things_stand(stored: Site) -> None:
    (row,) = json.loads(stored.run("status", "--json").stdout)
    assert (row["lag"], row["windows_lag"], row["log_end"]) == (1, 1, 12)
    progress = row["progress"]
    assert (progress["effects_next"], progress["windows_next"], progress["snapshot_offset"]) == (11, 11, 11)
    assert stored.topics[0] in stored.run("status").stdout

    done = stored.run("doctor", "--json")
    states = {finding["what"]: finding["state"] for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {states[what] for what in ("broker", "database", "schema", "rights", "partitions", "clock", "gaps")} == {
        "ok"
    }
    assert stored.run("status").stderr == ""
    sick = stored.run("doctor", "--json", PIPELINE_BROKER__ADDRESS=NOWHERE)
    assert sick.returncode == 1
    assert [f["what"] for f in json.loads(sick.stdout) if f["state"] == "wrong"] == ["broker"]


def test_who_asks_about_a_group_that_has_stored_nothing_is_told_which_have(stored: Site) -> None:
    def progress(**environment: str) -> str:
        findings = json.loads(stored.run("doctor", "--json", **environment).stdout)
        return next(str(each["found"]) for each in findings if each["what"] == "progress")

    assert f"group typo has stored anything yet of cluster local; these have: {stored.group}. broker.group" in progress(
        PIPELINE_BROKER__GROUP="typo"
    )
    assert f"these have: {stored.group} of cluster local" in progress(PIPELINE_SITE__CLUSTER="elsewhere")
    assert "group typo: see `pipeline doctor`" in stored.run("status", PIPELINE_BROKER__GROUP="typo").stderr
    assert "group typo has no such models" in stored.run("models", "list", PIPELINE_BROKER__GROUP="typo").stderr


def test_a_dead_letter_is_listed_shown_and_sent_again_as_it_came(stored: Site, broker_address: str, database) -> None:
    place = f"{stored.topics[0]}:0:10:0"
    (listed,) = json.loads(stored.run("deadletter", "list", "--json").stdout)
    assert (listed["place"], listed["reason"], listed["key"]) == (place, "unknown_type", "toaster")
    assert '{"type":"toaster"}' in stored.run("deadletter", "show", place).stdout
    one_line(stored.run("deadletter", "show", f"{stored.topics[0]}:0:999:0"), 1, "pipeline deadletter list")
    assert stored.run("deadletter", "requeue").returncode == 2

    one_line(stored.run("deadletter", "requeue", place, PIPELINE_BROKER__ADDRESS=NOWHERE), 69, NOWHERE)
    with connect(database.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM dead_letter WHERE requeued_at IS NULL").fetchone() == (1,)
    assert json.loads(stored.run("deadletter", "requeue", place, "--json").stdout)["places"] == [place]

    consumer = Consumer({"bootstrap.servers": broker_address, "group.id": "look", "auto.offset.reset": "earliest"})
    consumer.subscribe(stored.topics)
    records = []
    while len(records) < 13:
        record = consumer.poll(20)
        assert record is not None, "the requeued record is not there"
        records.append(record)
    consumer.close()
    first, again = records[10], records[12]
    assert (again.key(), again.value(), again.headers()) == (first.key(), first.value(), first.headers())
    assert json.loads(stored.run("deadletter", "list", "--json").stdout) == []


def test_verify_finds_what_is_missing(site: Callable[..., Site], database, tmp_path: Path) -> None:
    at = site(partitions=2)
    worker, ledger = at.worker("worker"), tmp_path / "ledger.csv"
    plant = at.run(
        "simulate", "--json", f"--ledger={ledger}", "--machines=50", "--messages=2000", "--rate=4000",
        "--plant=garbage_share=0.01", "--plant=duplicate_share=0.01",
    )  # fmt: skip
    sent = json.loads(plant.stdout)["records"]
    at.wait(lambda: at.stored() == sent)
    assert worker.stop() == 0

    whole = at.run("verify", str(ledger), "--json")
    assert (whole.returncode, json.loads(whole.stdout)["holds"]) == (0, True), whole.stdout
    alone = json.loads(at.run("verify", "--json", "--csv=machines.csv").stdout)
    assert (alone["holds"], alone["stored"], alone["lost"]) == (True, json.loads(whole.stdout)["stored"], None)
    assert len(alone["machines"]) == 50
    lines = (at.folder / "machines.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["machine_id", *(m["machine_id"] for m in alone["machines"])]
    told = at.run("verify", "--machine", alone["machines"][0]["machine_id"]).stdout
    assert "the worst of 1 machines" in told
    assert told.endswith("it holds\n")
    with connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("DELETE FROM event WHERE (source_partition, source_offset) = (0, 5)")

    broken = at.run("verify", str(ledger), "--json")
    assert (broken.returncode, json.loads(broken.stdout)["lost"]) == (1, 1)
    assert at.run("verify").returncode == 1
    one_line(at.run("verify", "absent.csv"), 78, "absent.csv")
    one_line(at.run("verify", "--machine=nobody"), 78, "--machine")
    one_line(at.run("verify", "--since=2026-11-21T22:00"), 2, "--since", "with its zone")
    one_line(at.run("verify", "--until=yesterday"), 2, "--until", "ISO 8601")
    one_line(at.run("verify", "--csv=absent/machines.csv"), 78, "--csv", "absent/machines.csv")


def test_a_factory_has_topics_and_a_group_of_its_own(site: Callable[..., Site], broker_address: str, database) -> None:
    at = site()
    plain = at.topics[0]
    assert at.run("topics", "--create", "--factory=aurora", "--partitions=1").returncode == 0
    at.start("worker", "worker", "--factory=aurora")

    produce(broker_address, f"aurora.{plain}", [message()])

    at.wait(lambda: at.one("SELECT count(*) FROM event WHERE event_type = 'Telemetry Ingest'") == 1)
    assert at.one("SELECT count(*) FROM source_progress WHERE consumer_group = %s", f"{at.group}-aurora") == 1


@pytest.mark.parametrize(
    "command",
    ["worker", "simulate", "demo", "migrate", "topics", "status", "verify", "doctor", "config", "deadletter"],
)
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], prog_name="pipeline")

    assert done.exit_code == 0
    assert f"pipeline {command}" in done.stdout
