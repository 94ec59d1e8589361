"""R38, R39: what workers stored live is archived and dropped, killed at any moment, and read again row by row."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pipeline.archive.place import Place
from pipeline.archive.reader import Archive
from pipeline.core.records import SourcePartition
from tests.archive.stored import COLUMNS, Row, archived_rows
from tests.forks import Forks
from tests.system.processes import Site

KILLS = 10

PLANT = (
    "--backfill", "--plant=start_ms=1790000000000", "--plant=duplicate_share=0.01", "--plant=late_share=0.02",
    "--plant=late_max_ms=15000", "--plant=lab_share=0.05", "--plant=garbage_share=0.005", "--plant=array_share=0.03",
)  # fmt: skip


@pytest.fixture
def lived(site: Callable[..., Site], database, tmp_path: Path) -> Site:
    """A site whose worker has stored 20,000 messages of two days that have passed since; nothing is archived."""
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("SELECT telemetry.make_event_partitions('2026-09-21', '2026-09-22')")
    at = site(
        partitions=3,
        settings={
            "POSTGRES__ADMIN_DSN": database.admin_dsn,
            "ARCHIVE__ADDRESS": tmp_path / "archive",
            "RETENTION__EVENT_DAYS": 2,
            "RETENTION__ANOMALY_DAYS": 0,
            "RETENTION__READING_WINDOW_DAYS": 0,
        },
    )
    plant = at.start("plant", "simulate", "--machines=40", "--messages=20000", f"--topic={at.topics[0]}", *PLANT)
    assert plant.wait(120) == 0, plant.last_words()
    worker = at.worker("worker")
    total = sum(each["end"] for each in json.loads(at.run("topics", "--json").stdout))
    at.wait(lambda: at.stored() == at.merged() == total, within_s=120)
    assert worker.stop() == 0
    return at


def stored(at: Site) -> list[Row]:
    with psycopg.connect(at.dsn, options="-c search_path=telemetry -c timezone=UTC") as connection:
        return sorted(connection.execute(f"SELECT {COLUMNS} FROM event").fetchall(), key=str)


def archive_of(at: Site) -> str:
    return at.environment["PIPELINE_ARCHIVE__ADDRESS"]


@pytest.mark.timeout(400)
def test_what_was_stored_live_is_archived_dropped_and_read_again(lived: Site) -> None:
    before = stored(lived)
    assert len(before) > 20_000
    refused = lived.run("retain", "--json")
    assert refused.returncode == 1
    assert all("not archived" in each["reason"] for each in json.loads(refused.stdout) if each["rows"])

    done = lived.run("archive", "--json", "--verify")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["damaged"]) == (len(before), [])
    assert said["verified"] == said["files"] > 0
    assert json.loads(lived.run("archive", "--json").stdout)["rows"] == 0
    dry = json.loads(lived.run("retain", "--dry-run", "--json").stdout)
    gone = lived.run("retain", "--json", "--verify")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert json.loads(gone.stdout) == dry
    assert sum(each["rows"] for each in dry if each["what"].startswith("event")) == len(before)

    assert stored(lived) == []
    assert archived_rows(archive_of(lived)) == before
    archive = Archive(Place(archive_of(lived)))
    for partition in range(3):
        source = SourcePartition(lived.topics[0], partition)
        (range_,) = archive.ranges("local", source)
        events = [event for some in archive.events("local", source, *range_) for event in some]
        ours = [row for row in before if row[10] == partition and row[1] == "Telemetry Ingest"]
        found = [(event.offset, event.place, event.timestamp, event.value.decode()) for event in events]
        assert found == sorted((row[11], row[12], round(row[7].timestamp() * 1000), row[13]) for row in ours)


@pytest.mark.timeout(600)
def test_killed_at_any_moment_archive_and_retention_come_to_the_same(lived: Site, commands: Forks) -> None:
    chance = random.Random(38)
    before = stored(lived)
    kills = 0
    for command in ("archive", "retain"):
        for number in range(KILLS):
            at = chance.randrange(1, 12)
            log = lived.folder / f"{command}-{number}.log"
            said = commands.start("tests.archive.killed:pipeline", log, lived.environment, words=[command], at=at)
            kills += said.wait() == -signal.SIGKILL
            if stored(lived):
                assert {row[0] for row in before} <= {
                    row[0] for row in [*stored(lived), *archived_rows(archive_of(lived))]
                }
        last = lived.run(command, "--json")
        assert last.returncode == 0, last.stdout + last.stderr
        assert archived_rows(archive_of(lived)) == before
    assert kills > KILLS
    assert stored(lived) == []
    assert lived.one("SELECT count(*) FROM pg_class WHERE relname LIKE 'retired_event_%%'") == 0
    place = Place(archive_of(lived))
    named = {file["path"] for path in place.files("manifest") for file in json.loads(place.read(path))["files"]}
    assert set(place.files("event")) == named
    assert not list(Path(archive_of(lived)).rglob("*.json.unfinished"))


@pytest.mark.timeout(200)
def test_wrong_use_is_one_line_that_says_what_to_do(site: Callable[..., Site], database, tmp_path: Path) -> None:
    at = site(settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    for words, more, code, said in (
        (["archive"], {}, 78, "archive.address is empty"),
        (["retain"], {}, 78, "--without-archive"),
        (["retain"], {"PIPELINE_RETENTION__EVENT_DAYS": "-1"}, 78, "retention.event_days"),
        (["archive"], {"PIPELINE_ARCHIVE__ADDRESS": "s3://b/x"}, 78, "factory-telemetry-pipeline[s3]"),
        (["archive"], {"PIPELINE_ARCHIVE__ADDRESS": "/proc/nowhere"}, 69, "/proc/nowhere"),
        (
            ["retain"],
            {"PIPELINE_ARCHIVE__ADDRESS": str(tmp_path), "PIPELINE_POSTGRES__ADMIN_DSN": database.dsn},
            78,
            "does not own the tables",
        ),
    ):
        with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
            admin.execute("SELECT telemetry.make_event_partitions('2020-01-01', '2020-01-01')")
            admin.execute(
                "INSERT INTO telemetry.source_progress (cluster, consumer_group, topic, partition, source_id, effects_next,"
                " windows_next) VALUES ('l', 'g', 't', 0, 1, 5, 5) ON CONFLICT DO NOTHING"
            )
        done = at.run(*words, **more)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert said in done.stderr


@pytest.mark.timeout(200)
def test_a_damaged_archive_ends_with_its_lines_and_keeps_nothing_else_from_going(
    site: Callable[..., Site], database, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    at = site(settings={"POSTGRES__ADMIN_DSN": database.admin_dsn, "ARCHIVE__ADDRESS": folder})
    event = (
        "INSERT INTO telemetry.event SELECT gen_random_uuid(), 'New Machine', 'machine', gen_random_uuid(), 'm', 'f',"
        " '2020-01-01Z', now(), now(), 't', %s, n, 0, '{}' FROM generate_series(1, 3) AS n"
    )
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute(event, [0])
        assert at.run("archive").returncode == 0
        (path,) = folder.rglob("*.parquet")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        for partition in (0, 1):
            admin.execute(event, [partition])
        admin.execute(
            "INSERT INTO telemetry.dead_letter SELECT 'l', 'g', 't', 0, n, 0, 'empty', '', '', '', '{}', now(),"
            " now() - interval '9 years' FROM generate_series(1, 5) AS n"
        )

        archived = at.run("archive", "--json")
        said = json.loads(archived.stdout)
        assert (archived.returncode, said["rows"], len(said["damaged"])) == (1, 3, 1)
        assert str(path.relative_to(folder)) in said["damaged"][0]
        assert f"damaged: {said['damaged'][0]}" in at.run("archive").stdout
        retained = at.run("retain", "--json")
        stays = [each for each in json.loads(retained.stdout) if not each["dropped"]]
        assert (retained.returncode, len(stays)) == (1, 1)
        assert str(path.relative_to(folder)) in stays[0]["reason"]
        assert admin.execute("SELECT count(*) FROM telemetry.dead_letter").fetchone() == (0,)

        admin.execute(
            "INSERT INTO telemetry.dead_letter SELECT 'l', 'g', 't', 0, n, 0, 'empty', '', '', '', '{}', now(),"
            " now() - interval '9 years' FROM generate_series(1, 5) AS n"
        )
        next(folder.rglob("manifest/*/*.json")).write_bytes(b"{")
        refused = at.run("retain")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "cannot be read" in refused.stderr
        assert admin.execute("SELECT count(*) FROM telemetry.dead_letter").fetchone() == (0,)
