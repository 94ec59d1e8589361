"""Predictions and maintenance on the real database (R25, R27, R30, R32, R34): rows, events, views, control records."""

from __future__ import annotations

import math

import orjson
import pytest

from pipeline.core.controls import MAINTAINED
from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch
from pipeline.core.state import PartitionState
from pipeline.store import controls
from pipeline.store.connect import connect
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from tests.core.prognosis.models_in_force import folded, maintenance_class, partition, remaining_life, spoken_of
from tests.core.prognosis.test_predictions import RULES, cycles, message, records_of
from tests.core.raw_messages import maintenance
from tests.core.sinks import SOURCE
from tests.store.leasing import PROGRESS, acquire


def test_what_models_say_is_stored_once_with_its_model_and_told_of_live_ones_alone(
    admin, connection, dashboard, sink
) -> None:
    told = {
        0: [
            spoken_of(2**40, "live", remaining_life(), 5),
            spoken_of(2**40 + 1, "shadow", remaining_life(1), 6),
            spoken_of(2**40 + 2, "live", maintenance_class(7550), 7),
        ]
    }
    owned = partition()
    sent = [*cycles("m0", [0, 100]), message("m0", 130, 60.0, 7570.0), *cycles("m0", [200])]
    predictions = folded(owned, records_of(sent), [], RULES, told)
    taken = acquire(PROGRESS, connection, SOURCE)
    for control in told[0]:
        body = orjson.dumps({**control.body, "artefact": None}).decode()
        admin.execute(
            "INSERT INTO control_record (id, kind, cluster, consumer_group, reason, detail, created_by, body)"
            " OVERRIDING SYSTEM VALUE VALUES (%s, 'model', 'local', 'g', '', '', '', %s)",
            [control.id, body],
        )
    unit = UnitOfWork(SOURCE, taken.owner, 0, len(sent), list(owned.pending))
    assert sink.store([unit]) == {SOURCE}
    assert sink.store([unit]) == set()

    rows = dashboard.execute(
        "SELECT source_offset, kind, model_id, model_version, stage, value, lower, upper, coalesce(label, ''),"
        " coalesce(by_rules, ''), machine_id, factory_id, worker, feature_version FROM dashboard.maintenance_prediction"
        " ORDER BY source_offset, model_id"
    ).fetchall()
    expected = [
        (p.offset, p.model.kind, p.model.model_id, p.model.version, p.model.stage, p.value, p.lower, p.upper, p.label,
         p.by_rules, "m0", "aurora", "w", 1)
        for p in sorted(predictions, key=lambda p: (p.offset, p.model.model_id))
    ]  # fmt: skip
    assert rows == expected
    assert {row[1:5] for row in rows} == {
        ("remaining_life", 5, 5, "live"),
        ("remaining_life", 6, 6, "shadow"),
        ("maintenance_class", 7, 7, "live"),
    }
    events = connection.execute(
        "SELECT (e.body ->> 'model_id')::int, (e.body ->> 'value')::float8, p.value, e.entity_id = p.message_id"
        " FROM event AS e JOIN maintenance_prediction AS p USING (event_id) WHERE event_type = 'Maintenance Prediction'"
    ).fetchall()
    assert sorted({row[0] for row in events}) == [5, 7]
    assert len(events) == sum(row[4] == "live" for row in rows)
    assert all(told == stored and is_of_message for _, told, stored, is_of_message in events)
    inputs = {tuple(row[0]) for row in connection.execute("SELECT inputs FROM maintenance_prediction").fetchall()}
    assert inputs == {p.inputs for p in predictions}


def test_days_are_of_the_calendar_and_the_outlook_is_the_newest_live_word(admin, connection, dashboard, sink) -> None:
    told = {0: [spoken_of(1, "live", remaining_life(), 5), spoken_of(2, "shadow", remaining_life(1), 6)]}
    owned = partition()
    records = records_of(cycles("m0", [0, 100, 200, 300]))
    predictions = [p for p in folded(owned, records, [], RULES, told) if p.model.stage == "live"]
    taken = acquire(PROGRESS, connection, SOURCE)
    effects = [each for each in owned.pending if not each.controls]
    sink.store([UnitOfWork(SOURCE, taken.owner, 0, len(records), effects)])
    admin.execute(
        "INSERT INTO machine_state (machine_id, factory_id, machine_type, readings, last_seen, last_offset, source_id,"
        " messages, duplicates, late, unverified) VALUES ('m0', 'aurora', 'stamping_press', '{}', now(), 0, 0, 0, 0, 0, 0)"
    )
    last = predictions[-1]
    row = dashboard.execute(
        "SELECT kind, value, days, days_lower, days_upper, model_id FROM dashboard.machine_outlook"
    ).fetchall()
    assert row == [
        (
            "remaining_life",
            last.value,
            pytest.approx(last.value / last.hours_per_day),
            pytest.approx(last.lower / last.hours_per_day),
            pytest.approx(last.upper / last.hours_per_day),
            5,
        )
    ]


def test_machines_of_which_model_and_rules_say_something_else_are_seen(admin, connection, dashboard, sink) -> None:
    told = {0: [spoken_of(1, "live", maintenance_class(7550), 7)]}
    owned = partition()
    records = records_of(
        [message("m0", 0, 60.0, 7570.0), message("m1", 1, 60.0, 7500.0), message("m2", 2, 60.0, 7610.0)]
    )
    folded(owned, records, [], RULES, told)
    taken = acquire(PROGRESS, connection, SOURCE)
    sink.store([UnitOfWork(SOURCE, taken.owner, 0, 3, [each for each in owned.pending if not each.controls])])
    admin.execute(
        "INSERT INTO machine_state (machine_id, factory_id, machine_type, readings, last_seen, last_offset, source_id,"
        " messages, duplicates, late, unverified)"
        " SELECT 'm' || n, 'aurora', 'stamping_press', '{}', now(), 0, 0, 0, 0, 0, 0 FROM generate_series(0, 2) AS n"
    )
    rows = dashboard.execute(
        "SELECT machine_id, class_by_model, class_by_rules, probability FROM dashboard.maintenance_disagreement"
    ).fetchall()
    assert rows == [("m0", 2, 0, 0.75)]


def test_inputs_that_are_missing_are_stored_as_such(connection, sink) -> None:
    owned = partition()
    wanted = ("temperature.last", "temperature.fast", "humidity.last")
    told = {0: [spoken_of(1, "live", remaining_life(0, wanted))]}
    records = records_of(cycles("m0", [0, 100]))
    assert folded(owned, records, [], RULES, told)
    taken = acquire(PROGRESS, connection, SOURCE)
    sink.store([UnitOfWork(SOURCE, taken.owner, 0, len(records), [e for e in owned.pending if not e.controls])])
    (inputs,) = connection.execute("SELECT inputs FROM maintenance_prediction").fetchone()
    assert inputs[:2] == pytest.approx([61.0, 61.0])
    assert math.isnan(inputs[2])


def test_maintenance_is_told_to_every_partition_of_its_group_once(connection, sink, admin) -> None:
    owner = acquire(PROGRESS, connection, SOURCE).owner
    done = [maintenance(kind="failure", component="bearing"), maintenance(machine_id="press-9", kind="planned")]
    records = [Record(n, 1_795_298_400_000, orjson.dumps(each)) for n, each in enumerate(done)]
    batch = RecordBatch(SOURCE, owner, 0, 2, records)
    unit = UnitOfWork(SOURCE, owner, 0, 2, [fold(PartitionState(), batch, FoldRules(), Marks())])
    assert sink.store([unit]) == {SOURCE}
    # The database was restored to before, but for what is told
    admin.execute("UPDATE source_progress SET effects_next = 0")
    admin.execute("DELETE FROM maintenance_record")
    assert sink.store([unit]) == {SOURCE}
    told = [each for each in controls.since(connection, PROGRESS, 0).controls if each.kind == MAINTAINED]
    assert {(each.body["machine_id"], each.body["kind"], each.body["component"]) for each in told} == {
        ("press-00042", "failure", "bearing"),
        ("press-9", "planned", "spindle"),
    }
    assert len(told) == 2
    assert {each.body["time_ms"] for each in told} == {1_795_291_800_000}
    assert controls.since(connection, Progress(Subscriber("local", "another", "w"), 1), 0).controls == []


def test_maintenance_at_a_place_that_a_log_made_anew_has_again_is_told_too(connection, sink, admin) -> None:
    told = []
    for time in ("2026-11-21T20:10:00Z", "2026-11-21T20:40:00Z"):
        owner = acquire(PROGRESS, connection, SOURCE).owner
        record = Record(0, 1_795_298_400_000, orjson.dumps(maintenance(time=time)))
        effects = fold(PartitionState(), RecordBatch(SOURCE, owner, 0, 1, [record]), FoldRules(), Marks())
        assert sink.store([UnitOfWork(SOURCE, owner, 0, 1, [effects])]) == {SOURCE}
        told = controls.since(connection, PROGRESS, 0).controls
        admin.execute("UPDATE source_progress SET effects_next = 0")
    assert [each.body["time_ms"] for each in told] == [1_795_291_800_000, 1_795_293_600_000]


def test_a_replays_sink_tells_nobody_of_maintenance(connection, database) -> None:
    owner = acquire(PROGRESS, connection, SOURCE).owner
    record = Record(0, 1_795_298_400_000, orjson.dumps(maintenance()))
    effects = fold(PartitionState(), RecordBatch(SOURCE, owner, 0, 1, [record]), FoldRules(), Marks())
    silent = Sink(lambda: connect(database.dsn), PROGRESS, announce=False)
    try:
        assert silent.store([UnitOfWork(SOURCE, owner, 0, 1, [effects])]) == {SOURCE}
    finally:
        silent.close()
    assert controls.since(connection, PROGRESS, 0).controls == []
