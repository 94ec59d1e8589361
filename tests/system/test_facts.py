"""Inputs beside machines' telemetry (R2, R3, R4): one mixed topic or one each, bad ones among good ones, kills, the ledger."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg
import pytest

from pipeline.store.connect import connect
from simulator import fact_ledger
from simulator.messages import Sent
from simulator.options import PlantOptions
from simulator.plant import Plant
from tests.core.raw_messages import maintenance, pump, quality
from tests.forks import Forks
from tests.system.processes import Site, sites
from tests.system.producing import message, produce

PARTITIONS = 3
PLANT = PlantOptions(
    machines=40, messages=3_000, interval_ms=5_000, pump_share=0.1, quality_interval_ms=60_000, maintenance_interval_ms=90_000,
    duplicate_share=0.02, late_share=0.02, array_share=0.05, garbage_share=0.01,
)  # fmt: skip

# All that does not say where a row came from, when the broker had it, or what depends on the others in a partition
CONTENTS = {
    "event": "event_type, machine_id, factory_id, event_time, body::jsonb - 'expected' - 'score'",
    "quality_report": "machine_id, factory_id, sku, period_start, period_end, good, snag, reject, planned_s, run_s,"
    " ideal_cycle_s",
    "maintenance_record": "machine_id, factory_id, kind, component, note, class, event_time",
    "reading_window": "machine_id, sensor, window_start, factory_id, count, min, max, last, round(mean::numeric, 6)",
    "machine_state": "machine_id, factory_id, machine_type, readings, last_seen, messages, duplicates",
    "dead_letter": "reason, detail, key, body",
}


def tables(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    with connect(dsn) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall(), key=str)
            for table, columns in CONTENTS.items()
        }


def put(address: str, records: list[Sent], topics: Mapping[str, str]) -> None:
    """Produce records to the topic of their type, those of one key to one partition of it."""
    places: dict[tuple[str, int], list[Sent]] = {}
    for record in records:
        places.setdefault((topics[record.type], crc32(record.key) % PARTITIONS), []).append(record)
    for (topic, partition), some in places.items():
        for key in sorted({record.key for record in some}):
            produce(address, topic, [r.body for r in some if r.key == key], key=key, partition=partition)


@pytest.mark.timeout(200)
def test_one_mixed_topic_and_one_topic_each_give_the_same_tables(
    tmp_path: Path,
    broker_address: str,
    new_database: Callable[[], AbstractContextManager[Any]],
    topic: Callable[..., str],
    commands: Forks,
) -> None:
    records = list(Plant(PLANT))
    found = []
    for number in (1, 4):
        folder = tmp_path / str(number)
        folder.mkdir()
        with new_database() as database, sites(folder, broker_address, database.dsn, topic, commands) as make:
            # Who is silent, others of the same partition tell
            at = make(topics=number, partitions=PARTITIONS, settings={"SILENCE__AFTER_MS": 0})
            names = dict(zip(("machine", "pump", "quality", "maintenance"), at.topics * 4, strict=False))
            put(broker_address, records, names)
            at.worker("worker")
            at.wait(lambda at=at: at.merged() == len(records))
            found.append(tables(at.dsn))

    mixed, apart = found
    for table in CONTENTS:
        assert mixed[table] == apart[table], table
        assert len(mixed[table]) > 10, table


BAD: list[tuple[object, str, str]] = [
    (quality(good=-1), "wrong_shape", "good is -1"),
    (quality(run_s="812"), "wrong_shape", "run_s is the text '812'"),
    (quality(period_end="2026-11-21T21:00:00Z"), "wrong_shape", "not after period_start"),
    (quality(period_start="2026-11-21T21:45:00"), "time_without_zone", "period_start"),
    (quality(reject=10**13), "value_out_of_range", "reject"),
    (quality(sku=...), "wrong_shape", "sku is missing"),
    (quality(machine_id=200 * "x"), "identifier_too_long", "machine_id has 200"),
    (maintenance(kind="repair"), "wrong_shape", "kind is 'repair'"),
    (maintenance(component=5), "wrong_shape", "component is a number"),
    (maintenance(time="2099-01-01T00:00:00Z"), "time_in_future", "time"),
    (maintenance(note=["x"]), "wrong_shape", "note is an array"),
    (pump(vibration="much"), "wrong_shape", "vibration"),
    (pump(pump_id=...), "wrong_shape", "pump_id is missing"),
]


def test_bad_facts_become_dead_letters_and_everything_around_them_is_stored(
    site: Callable[..., Site], broker_address: str, database
) -> None:
    # Pumps and machines have times that are days apart
    at = site(partitions=1, settings={"SILENCE__AFTER_MS": 0})
    at.worker("worker")
    bodies: list[Any] = []
    for number, (bad, _, _) in enumerate(BAD):
        bodies += [bad, quality(good=number), maintenance(note=str(number)), pump(seq=number), message(seq=number)]

    produce(broker_address, at.topics[0], bodies, settings={"linger.ms": 0})

    at.wait(lambda: at.merged() == len(bodies))
    with connect(database.dsn) as connection:
        letters = connection.execute("SELECT reason, detail FROM dead_letter ORDER BY source_offset").fetchall()
        goods = connection.execute("SELECT good FROM quality_report ORDER BY source_offset").fetchall()
        notes = connection.execute("SELECT note FROM maintenance_record ORDER BY source_offset").fetchall()
        states = dict(connection.execute("SELECT machine_type, messages FROM machine_state").fetchall())
    assert [reason for reason, _ in letters] == [reason for _, reason, _ in BAD]
    assert all(word in detail for (_, detail), (_, _, word) in zip(letters, BAD, strict=True))
    assert goods == [(number,) for number in range(len(BAD))]
    assert notes == [(str(number),) for number in range(len(BAD))]
    assert states == {"hvac_pump": len(BAD), "stamping_press": len(BAD)}
    counts = {
        row["event_type"]: row["count"]
        for row in at.rows("SELECT event_type, count(*) FROM event WHERE event_type NOT LIKE '%Anomaly' GROUP BY 1")
    }
    # A report is not the first sight of a machine: only what sends telemetry is new
    assert counts == {
        "Telemetry Ingest": 2 * len(BAD),
        "Quality Reported": len(BAD),
        "Maintenance performed": len(BAD),
        "New Machine": len(states),
        # The press is judged for the first time
        "Maintenance Prediction": 1,
    }


@pytest.mark.timeout(200)
def test_every_fact_of_a_plant_is_stored_once_though_workers_are_killed(
    site: Callable[..., Site], tmp_path: Path, database
) -> None:
    at = site(partitions=4, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    ledger = tmp_path / "ledger.csv"
    first = at.worker("first")
    shares = "pump_share=0.1", "quality_interval_ms=1000", "maintenance_interval_ms=3000", "garbage_share=0.01"
    options = [f"--plant={each}" for each in shares]
    sent = f"--ledger={ledger}", "--rate=4000", "--machines=200", "--messages=24000", f"--topic={at.topics[0]}"
    plant = at.start("plant", "simulate", *sent, *options)
    at.wait(lambda: at.stored() > 6_000)
    first.signal(signal.SIGKILL)
    second = at.worker("second")
    assert plant.wait(120) == 0
    at.wait(lambda: verified(at, str(ledger))["holds"], within_s=60)
    assert second.stop() == 0

    told = sorted(
        (row.topic, row.partition, row.offset, row.type, row.body)
        for row in fact_ledger.read(fact_ledger.beside(ledger))
    )
    assert len(told) > 1_000
    query = (
        "SELECT f.source_topic, f.source_partition, f.source_offset, %s, e.body::text FROM telemetry.{} AS f"
        " JOIN telemetry.event AS e ON e.event_id = f.event_id AND e.source_offset = f.source_offset ORDER BY 1, 2, 3"
    )
    with psycopg.connect(at.dsn) as connection:
        stored = [
            row
            for table, kind in (("quality_report", "quality"), ("maintenance_record", "maintenance"))
            for row in connection.execute(query.format(table), [kind]).fetchall()
        ]
    assert sorted(stored) == told
    alone = verified(at)
    assert alone["holds"], alone


def verified(at: Site, *ledger: str) -> dict[str, Any]:
    done = at.run("verify", *ledger, "--json")
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
