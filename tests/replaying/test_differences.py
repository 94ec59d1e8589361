"""R40: whatever a replay has otherwise than the live tables is found, with its table, its column and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.state import PartitionState
from pipeline.core.times import iso
from pipeline.replaying import stretches
from pipeline.replaying.differences import Difference, differences
from pipeline.replaying.replays import Replay
from pipeline.replaying.stretches import Stretch
from pipeline.store.connect import Connection, connect
from pipeline.store.fact_rows import IS_INGESTED
from tests.core.prognosis.models_in_force import maintenance_class, spoken_of
from tests.core.raw_messages import command, maintenance, quality
from tests.core.sinks import SOURCE, feed, record
from tests.core.test_fold_laws import BASE_MS, RULES
from tests.store.database_sink import DatabaseSink

FACTS = {
    25: quality(machine_id="m1", period_start=iso(BASE_MS - 900_000), period_end=iso(BASE_MS)),
    27: maintenance(machine_id="m1", time=iso(BASE_MS)),
    29: command(id="m1", time=iso(BASE_MS)),
}
RECORDS = [
    record(
        number,
        {"ingest_ms": BASE_MS, "fact": FACTS[number % 50]}
        if number % 50 in FACTS
        else {
            # One that falls silent, so that its cycle ends
            "machine": f"m{number % 2 if number > 20 else 2}",
            "time_ms": BASE_MS + 1000 * number,
            "ingest_ms": BASE_MS + 1000 * number,
            "seq": number,
            "readings": {
                "t": 50.0 + number % 5 + (900 if number == 151 else 0),
                "temperature": 60.0,
                "pressure": 7700.0 if number % 40 > 30 else 7539.0,
            },
        }
        if number % 50
        else {"ingest_ms": BASE_MS, "garbage": b"{"},
    )
    for number in range(200)
]


TABLES = {
    "event", "reading_window", "factory_window", "operating_cycle", "cycle_reading", "anomaly", "quality_report",
    "maintenance_record", "machine_state", "dead_letter", "maintenance_requirement", "maintenance_aggregate",
    "metadata_command", "maintenance_prediction",
}  # fmt: skip


def predicting() -> PartitionState:
    """Return the state of a partition in which a model is in force."""
    state = PartitionState()
    state.prognosis.apply(spoken_of(1, "live", maintenance_class(7600)).body)
    return state


@dataclass
class Both:
    """A live partition, a replay of it, and their tables."""

    admin: Connection
    replay: Replay

    def compared(self) -> tuple[list[Difference], int]:
        return differences(self.admin, self.replay)

    def differing(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        return {(x.table, x.column): (x.missing, x.extra, x.changed) for x in self.compared()[0] if not x.holds}

    def shadow(self, statement: str) -> int:
        """Change the replay's rows; return how many."""
        return self.admin.execute(statement.format(f"{self.replay.schema}.")).rowcount


@pytest.fixture
def both(database) -> Iterator[Both]:
    with connect(database.admin_dsn, autocommit=True) as admin:
        live = DatabaseSink(database.dsn)
        replay = stretches.create(admin, "r", live.progress, {SOURCE: Stretch(0, len(RECORDS))}, {"cold": False})
        shadow = DatabaseSink(database.dsn, replay.schema)
        for sink, cuts in ((live, [20, 70]), (shadow, [33, 120, 150])):
            sink.acquire()
            feed(sink, predicting(), RECORDS, cuts, RULES)
            sink.close()
        yield Both(admin, replay)


def test_a_replay_that_was_cut_into_other_batches_differs_in_nothing(both: Both) -> None:
    found, uneven = both.compared()

    assert both.differing() == {}
    assert uneven == 0
    rows = {x.table: (x.live, x.shadow) for x in found if not x.column}
    assert set(rows) == TABLES
    assert all(live == shadow > 0 for live, shadow in rows.values()), rows


@pytest.mark.parametrize(
    ("statement", "table", "column"),
    [
        ("UPDATE {}event SET factory_id = 'x' WHERE source_offset = 7", "event", "factory_id"),
        ("UPDATE {}event SET body = '{{}}' WHERE source_offset = 7", "event", "body"),
        ("UPDATE {}reading_window SET min = min - 1 WHERE machine_id = 'm0'", "reading_window", "min"),
        ("UPDATE {}reading_window SET mean = mean * (1 + 1e-8) WHERE machine_id = 'm0'", "reading_window", "mean"),
        ("UPDATE {}reading_window SET m2 = m2 * 1.1 WHERE machine_id = 'm0' AND m2 > 0", "reading_window", "stddev"),
        ("UPDATE {}reading_window SET late_count = 9", "reading_window", "late_count"),
        ("UPDATE {}reading_window SET very_late_count = 9", "reading_window", "very_late_count"),
        ("UPDATE {}factory_window SET last = last + 1", "factory_window", "last"),
        (
            "UPDATE {}maintenance_prediction SET value = value * (1 + 1e-8)",
            "maintenance_prediction",
            "value",
        ),
        ("UPDATE {}maintenance_prediction SET model_version = 9", "maintenance_prediction", "model_version"),
        ("UPDATE {}maintenance_prediction SET stage = 'shadow'", "maintenance_prediction", "stage"),
        ("UPDATE {}operating_cycle SET ended = ended + interval '1 ms'", "operating_cycle", "ended"),
        ("UPDATE {}cycle_reading SET mean = mean * (1 + 1e-8)", "cycle_reading", "mean"),
        ("UPDATE {}anomaly SET score = score * (1 + 1e-8)", "anomaly", "score"),
        ("UPDATE {}anomaly SET detector = 'another'", "anomaly", "detector"),
        ("UPDATE {}maintenance_requirement SET name = 'x'", "maintenance_requirement", "name"),
        ("UPDATE {}maintenance_aggregate SET messages = 99", "maintenance_aggregate", "messages"),
        ("UPDATE {}quality_report SET good = good + 1 WHERE source_offset = 25", "quality_report", "good"),
        ("UPDATE {}quality_report SET sku = 'B'", "quality_report", "sku"),
        ("UPDATE {}maintenance_record SET note = 'x'", "maintenance_record", "note"),
        ("UPDATE {}metadata_command SET reason = 'x'", "metadata_command", "reason"),
        ("UPDATE {}machine_state SET readings = '{{}}' WHERE machine_id = 'm1'", "machine_state", "readings"),
        ("UPDATE {}dead_letter SET body = 'x' WHERE source_offset = 50", "dead_letter", "body"),
    ],
)
def test_a_changed_value_is_found_in_its_column(both: Both, statement: str, table: str, column: str) -> None:
    changed = both.shadow(statement)

    assert changed > 0
    assert both.differing() == {(table, ""): (0, 0, changed), (table, column): (0, 0, changed)}


def test_rounding_is_no_difference_and_the_largest_one_is_told(both: Both) -> None:
    both.shadow("UPDATE {}reading_window SET mean = mean * (1 + 1e-12)")
    assert both.differing() == {}

    both.shadow("UPDATE {}reading_window SET mean = mean + 0.5 WHERE machine_id = 'm0'")

    (mean,) = [x for x in both.compared()[0] if (x.table, x.column) == ("reading_window", "mean")]
    assert mean.largest == pytest.approx(0.5)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_rows_that_only_one_side_has_are_counted(both: Both, table: str) -> None:
    gone = both.admin.execute(f"DELETE FROM {both.replay.schema}.{table}").rowcount
    assert both.differing()[table, ""] == (gone, 0, 0)

    both.admin.execute(f"INSERT INTO {both.replay.schema}.{table} SELECT * FROM telemetry.{table}")
    gone = both.admin.execute(f"DELETE FROM telemetry.{table}").rowcount

    assert both.differing()[table, ""] == (0, gone, 0)


def test_a_shadow_from_before_a_table_was_there_is_refused_in_words(both: Both) -> None:
    both.admin.execute(f"DROP TABLE {both.replay.schema}.maintenance_record")

    with pytest.raises(
        SettingsError, match="was made before there was a table maintenance_record: start another replay"
    ):
        both.compared()


def test_what_only_one_side_has_come_to_is_left_out(both: Both) -> None:
    """The live side is behind: it lacks the last records, open windows and the machines' last readings."""
    live = "telemetry."
    for statement in (
        "DELETE FROM {}event WHERE source_offset >= 120",
        "DELETE FROM {}anomaly WHERE source_offset >= 120",
        "DELETE FROM {}maintenance_requirement WHERE source_offset >= 120",
        "DELETE FROM {}quality_report WHERE source_offset >= 120",
        "DELETE FROM {}maintenance_record WHERE source_offset >= 120",
        "DELETE FROM {}metadata_command WHERE source_offset >= 120",
        "DELETE FROM {}dead_letter WHERE source_offset >= 120",
        "UPDATE {}machine_state SET messages = 1",
        "DELETE FROM {}reading_window WHERE window_start >= (SELECT max(window_start) FROM {}reading_window)",
        "UPDATE {}source_progress SET effects_next = 120, windows_next = 110, watermark ="
        " (SELECT max(window_start) + interval '30 seconds' FROM {}reading_window)",
    ):
        both.admin.execute(statement.replace("{}", live))

    found, uneven = both.compared()

    assert (both.differing(), uneven) == ({}, 1)
    assert {x.live for x in found if (x.table, x.column) == ("event", "")} == {
        sum(1 for number in range(120) if number % 50) + _derived(both)
    }


def _derived(both: Both) -> int:
    (count,) = both.admin.execute(f"SELECT count(*) FROM event WHERE NOT {IS_INGESTED}").fetchone()
    return count


@pytest.mark.parametrize(("factory", "has_rows"), [("aurora", True), ("another", False)])
def test_results_of_some_factories_are_compared_in_every_table(both: Both, factory: str, has_rows: bool) -> None:
    chosen = replace(both.replay, options={**both.replay.options, "factories": [factory]})

    found, _ = differences(both.admin, chosen)

    assert all(each.holds for each in found)
    rows = {each.table: each.live for each in found if not each.column}
    assert {table: rows[table] > 0 for table in ("event", "operating_cycle", "cycle_reading", "dead_letter")} == {
        "event": has_rows, "operating_cycle": has_rows, "cycle_reading": has_rows, "dead_letter": False,
    }  # fmt: skip
