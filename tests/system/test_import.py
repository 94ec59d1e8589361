"""R10: history goes into a topic and through a worker, each row once, whatever is killed when."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from pipeline.broker import retention, topics
from pipeline.broker.security import BrokerSecurity
from pipeline.core.times import iso
from tests.cli.test_commands import NOWHERE, one_line
from tests.forks import Forks
from tests.system.processes import Process, Site
from tests.system.producing import recreate

OPEN = BrokerSecurity()
ROWS = 60_000
KILLS = 8
MAP = """
factory_id = "aurora"
machine_id = { column = "machine" }
machine_type = "press"
[time]
column = "time"
[readings]
temperature = "temperature"
"""
# One machine has most rows, many more than a worker's memory of duplicates
MACHINES = ["press-0"] * 5 + ["press-1", "press-2", "press-3"]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A file of the last hours, with its mapping beside it; line 9 is refused."""
    begin_ms = time.time_ns() // 1_000_000 - 6 * 3_600_000
    (tmp_path / "map.toml").write_text(MAP)
    with (tmp_path / "history.csv").open("w") as file:
        file.write("machine,time,temperature\n")
        for n in range(ROWS):
            value = "hot" if n == 7 else f"{50 + n % 17}"
            file.write(f"{MACHINES[n % 8]},{iso(begin_ms + n * 100)},{value}\n")
    return tmp_path / "history.csv"


def imported(at: Site, *more: str, **settings: str) -> dict[str, Any]:
    done = at.run("import", "history.csv", "--mapping=map.toml", "--json", *more, **settings)
    assert done.returncode in {0, 1}, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (answer["refused"] > 0) == (done.returncode == 1)
    return answer


def in_topic(at: Site, name: str) -> int:
    address = at.environment["PIPELINE_BROKER__ADDRESS"]
    return sum(end for _, end in topics.log_ranges(address, OPEN, [name]).values())


def each_row_is_stored_once(at: Site, rows: int) -> None:
    """Let a worker read the topic to its end; every row is an event, by the number that its line gives it."""
    worker = at.worker("reader")
    at.wait(lambda: at.stored() == in_topic(at, at.topics[0]), within_s=120)
    at.wait(lambda: at.merged() == at.stored(), within_s=60)
    assert at.one("SELECT count(*) FROM event WHERE event_type = 'Telemetry Ingest'") == rows
    assert at.one("SELECT count(DISTINCT (body->>'seq')::bigint) FROM event WHERE body->>'seq' IS NOT NULL") == rows
    assert at.one("SELECT sum(duplicates) FROM machine_state") == 0
    assert at.one("SELECT sum(late) FROM machine_state") == 0
    assert at.one("SELECT sum(count) FROM reading_window") == rows
    assert worker.stop() == 0


def test_an_import_that_is_killed_again_and_again_stores_each_row_once(
    site: Callable[..., Site], history: Path
) -> None:
    at = site(partitions=3)
    note = Path(f"{history}.import.json")
    chance = random.Random(10)
    kills = 0
    for kill in range(KILLS):
        before = note.stat().st_mtime_ns if note.exists() else 0
        process = at.start(f"import-{kill}", "import", "history.csv", "--mapping=map.toml", "--rate=12000")
        _wait_for_change(note, before, process)
        time.sleep(chance.uniform(0, 0.3))
        if process.exit_code is not None:
            break
        process.signal(signal.SIGKILL)
        process.wait()
        kills += 1

    last = imported(at)

    assert kills > 2
    (file,) = last["files"]
    assert file["sent"] + file["there"] == file["messages"] == ROWS - 1
    assert file["refused"] == {"not_a_number": 1}
    assert [each["place"] for each in file["examples"]] == [9]
    assert in_topic(at, at.topics[0]) == ROWS - 1
    each_row_is_stored_once(at, ROWS - 1)


def _wait_for_change(note: Path, before: int, process: Process) -> None:
    """Wait until an import has noted that it sends."""
    ends = time.monotonic() + 60
    while (not note.exists() or note.stat().st_mtime_ns == before) and process.exit_code is None:
        assert time.monotonic() < ends, process.last_words()
        time.sleep(0.005)


@pytest.mark.parametrize("taken", [0, 1, 4321, 10_000])
def test_what_the_broker_took_before_a_kill_that_nobody_could_note_is_not_sent_again(
    site: Callable[..., Site], history: Path, taken: int
) -> None:
    at = site(partitions=1)
    address, note = at.environment["PIPELINE_BROKER__ADDRESS"], Path(f"{history}.import.json")
    imported(at)
    imported(at, "--output=out.jsonl")
    recreate(address, at.topics)
    producer = Producer({"bootstrap.servers": address})
    for body in history.with_name("out.jsonl").read_bytes().splitlines()[: 10_000 + taken]:
        producer.produce(at.topics[0], body, json.loads(body)["machine_id"])
        producer.poll(0)
    assert producer.flush(30) == 0
    # As it was noted before the batch of which the broker took a part
    noted = {"delivered": 10_000, "sending_to": 20_000, "ends": {"0": 10_000}, "complete": False}
    note.write_text(json.dumps(json.loads(note.read_text()) | noted))

    (file,) = imported(at)["files"]

    assert (file["there"], file["sent"]) == (10_000 + taken, ROWS - 1 - 10_000 - taken)
    assert in_topic(at, at.topics[0]) == ROWS - 1


def test_what_is_imported_already_is_not_sent_again_unless_that_is_asked_for(
    site: Callable[..., Site], history: Path
) -> None:
    at = site(partitions=1)
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:8]))
    first, second, third = imported(at), imported(at), imported(at, "--again")

    assert [(each["files"][0]["sent"], each["files"][0]["there"]) for each in (first, second, third)] == [
        (7, 0), (0, 7), (7, 0),
    ]  # fmt: skip
    with history.open("a") as file:
        file.write("press-0,2026-01-01T00:00:00Z,1\n")
    done = at.run("import", "history.csv", "--mapping=map.toml")
    one_line(done, 78, "history.csv was imported before", "changed: file", "--again")
    (Path(f"{history}.import.json")).write_text("{")
    one_line(at.run("import", "history.csv", "--mapping=map.toml"), 78, "history.csv.import.json is damaged", "--again")
    assert in_topic(at, at.topics[0]) == 14


def test_an_import_outlives_a_broker_that_is_killed_and_comes_back(
    own_broker: Callable[..., Any], history: Path, tmp_path: Path, database, commands: Forks
) -> None:
    broker = own_broker()
    topics.create_topics(broker.address, OPEN, ["history"], 2)
    at = Site(tmp_path, broker.address, database.dsn, ["history"], commands=commands)
    process = at.start("import", "import", "history.csv", "--mapping=map.toml", "--rate=20000")
    at.wait(lambda: Path(f"{history}.import.json").exists())
    broker.kill()
    time.sleep(1)
    broker.start()

    assert process.wait(120) == 1
    assert in_topic(at, "history") == ROWS - 1
    at.end()


def test_ctrl_c_ends_an_import_that_goes_on_later(site: Callable[..., Site], history: Path) -> None:
    at = site(partitions=2)
    process = at.start("import", "import", "history.csv", "--mapping=map.toml", "--rate=4000")
    at.wait(lambda: Path(f"{history}.import.json").exists())
    process.signal(signal.SIGINT)

    assert process.wait(30) == 130
    imported(at)
    assert in_topic(at, at.topics[0]) == ROWS - 1


def test_two_imports_of_one_file_do_not_meet(site: Callable[..., Site], history: Path) -> None:
    at = site(partitions=1)
    first = at.start("import", "import", "history.csv", "--mapping=map.toml", "--rate=2000")
    at.wait(lambda: Path(f"{history}.import.json").exists())

    one_line(at.run("import", "history.csv", "--mapping=map.toml"), 78, "another import of history.csv is at work")
    assert first.exit_code is None


def test_history_goes_into_a_topic_of_its_own_that_keeps_it(site: Callable[..., Site], history: Path) -> None:
    at = site(partitions=1)
    address, own, week = (
        at.environment["PIPELINE_BROKER__ADDRESS"],
        f"{at.topics[0]}-history",
        {"retention.ms": "604800000"},
    )
    topics.delete_topics(address, OPEN, at.topics)
    topics.create_topics(address, OPEN, at.topics, 1, properties=week)
    old = history.read_text().splitlines(keepends=True)[:3]
    history.write_text(old[0] + "press-0,2014-02-01T00:00:00Z,1\npress-0,2014-01-01T00:00:00Z,2\n")

    one_line(at.run("import", "history.csv", "--mapping=map.toml", f"--topic={own}"), 78, own, "--create")
    refused = at.run("import", "history.csv", "--mapping=map.toml")
    one_line(refused, 78, at.topics[0], "7.0 days", "line 3 is of 2014-01-01T00:00:00.000Z", "retention.ms")
    assert in_topic(at, at.topics[0]) == 0
    answer = imported(at, f"--topic={own}", "--create")

    assert (answer["topic"], answer["late"], answer["backwards"]) == (own, 1, 1)
    assert in_topic(at, own) == 2
    assert retention.keeps_ms(address, OPEN, own) is None
    assert imported(at, "--timestamps=now", "--again", "--sort")["late"] == 0
    assert in_topic(at, at.topics[0]) == 2


def test_what_a_topic_never_takes_is_named_with_what_to_do_and_the_import_goes_on_after_that(
    site: Callable[..., Site], history: Path
) -> None:
    at = site(partitions=1)
    address, small, young = at.environment["PIPELINE_BROKER__ADDRESS"], f"{at.topics[0]}-small", f"{at.topics[0]}-young"
    topics.create_topics(address, OPEN, [small], 1, properties={"max.message.bytes": "150"})
    topics.create_topics(address, OPEN, [young], 1, properties={"message.timestamp.before.max.ms": "3600000"})
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:3]))

    refused = at.run("import", "history.csv", "--mapping=map.toml", "--create", f"--topic={small}")
    one_line(
        refused, 78, f"{small} never takes what lines 2 to 3", "too large", "max.message.bytes", "behind 0 message(s)"
    )
    refused = at.run("import", "history.csv", "--mapping=map.toml", "--create", "--again", f"--topic={young}")
    one_line(refused, 78, f"{young} never takes", "imestamp", "message.timestamp.before.max.ms", "--timestamps now")
    assert in_topic(at, young) == 0
    imported(at, "--create", f"--topic={young}", "--timestamps=now")
    assert in_topic(at, young) == 2


def test_the_backfill_of_the_docs_goes_beside_the_live_topic_and_adds_up_with_it(
    site: Callable[..., Site], history: Path
) -> None:
    at = site(partitions=1, settings={"BROKER__TOPIC_PREFIX": "x."})
    topics.create_topics(at.environment["PIPELINE_BROKER__ADDRESS"], OPEN, [f"x.{at.topics[0]}"], 1)
    minute_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000 - 600_000
    live = [f"press-0,{iso(minute_ms + n * 1000)},{n}\n" for n in range(60)]
    head, rows = "machine,time,temperature\n", history.read_text().splitlines(keepends=True)
    assert rows[0] == head
    history.with_name("live.csv").write_text(head + "".join(live[30:]))
    old = [f"press-0,{iso(1_400_000_000_000 + n * 1000)},{n}\n" for n in range(200)]
    history.write_text(head + "".join(reversed(live[:30])) + "".join(reversed(old)))
    assert at.run("import", "live.csv", "--mapping=map.toml").returncode == 0
    at.worker("live")
    at.wait(lambda: at.merged() == 30)

    own = {"PIPELINE_BROKER__TOPICS": f'["{at.topics[0]}-history"]', "PIPELINE_BROKER__GROUP": f"{at.group}-history"}
    assert imported(at, "--dry-run", "--sort", **own)["late"] == 0
    assert imported(at, "--create", "--sort", **own)["topic"] == f"x.{at.topics[0]}-history"
    worker = at.worker("history", **own)
    at.wait(lambda: _is_through(at, own))
    assert worker.stop() == 0

    assert at.one("SELECT count(*) FROM event WHERE event_type = 'Telemetry Ingest'") == 260
    assert at.one("SELECT count(*) FROM event_default WHERE event_type = 'Telemetry Ingest'") == 200
    assert at.one("SELECT sum(late) FROM machine_state") == 0
    counted = "SELECT count FROM dashboard.reading_window WHERE window_start = to_timestamp(%s)"
    assert at.one(counted, minute_ms // 1000) == 60
    assert at.run("verify").returncode == 0


def _is_through(at: Site, own: dict[str, str]) -> bool:
    """Return whether there is no lag by ``pipeline status``."""
    done = at.run("status", "--json", "--interval=0.1", **own)
    assert done.returncode == 0, done.stderr
    return all((row["lag"], row["windows_lag"]) == (0, 0) for row in json.loads(done.stdout))


def test_a_broker_that_is_away_is_named(site: Callable[..., Site], history: Path) -> None:
    at = site()

    one_line(at.run("import", "history.csv", "--mapping=map.toml", PIPELINE_BROKER__ADDRESS=NOWHERE), 69, NOWHERE)


def test_messages_go_to_a_file_and_nowhere_without_a_broker(site: Callable[..., Site], history: Path) -> None:
    at = site()
    out = imported(at, "--output=out.jsonl", PIPELINE_BROKER__ADDRESS=NOWHERE)
    dry = imported(at, "--dry-run", "--folder=.", PIPELINE_BROKER__ADDRESS=NOWHERE)

    lines = history.with_name("out.jsonl").read_text().splitlines()
    assert len(lines) == ROWS - 1
    assert out["files"][0] == dry["files"][0] | {"report": out["files"][0]["report"]}
    assert (out["files"][0]["messages"], out["files"][0]["rows"]) == (ROWS - 1, ROWS)
    assert json.loads(lines[0])["machine_id"] == "press-0"
    report = history.with_name("history.csv.rejects.csv").read_text().splitlines()
    assert report[0] == "file,line,reason,detail,row"
    assert report[1].startswith("history.csv,9,not_a_number,temperature is 'hot'")
