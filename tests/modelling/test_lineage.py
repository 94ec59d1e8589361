"""Where predictions and anomalies come from (R30, R32, R47): found by their ids, worked out again, and the same."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.core.controls import FIRST_INDEX
from pipeline.core.errors import ModelRefused, PipelineError
from pipeline.modelling.lineage import Compared, Explanation, explain
from pipeline.settings import Settings
from pipeline.store.connect import Connection, connect
from pipeline.store.lineage import StoredMessage
from tests.core.prognosis.models_in_force import FEATURES
from tests.core.sinks import SOURCE
from tests.modelling.stored_plant import StoredPlant, run

RULES: dict[str, Any] = {
    "silence": {"after_ms": 300_000},
    "spikes": {"threshold": 4.5},
    "detectors": {
        "choices": [
            {"detector": "river.anomaly.StandardAbsoluteDeviation", "sensors": ["temperature"], "threshold": 4.0},
            {"detector": "mixture", "sensors": ["temperature"], "on": False},
        ]
    },
}


class World:
    """A plant that has worked, and whoever asks about it."""

    def __init__(self, dsn: str, admin_dsn: str) -> None:
        self.dsn, self.admin_dsn = dsn, admin_dsn
        self.settings = self.of()
        plant = StoredPlant(self.settings, admin_dsn)
        self.models = run(plant)
        plant.close()
        self.admin: Connection = connect(admin_dsn, autocommit=True)

    def of(self, **rules: Any) -> Settings:
        return Settings(postgres={"dsn": self.dsn, "admin_dsn": self.admin_dsn}, **(RULES | rules))

    def ids(self, table: str, where: str = "true") -> list[uuid.UUID]:
        rows = self.admin.execute(f"SELECT event_id FROM {table} WHERE {where} ORDER BY source_offset, event_id")
        return [each for (each,) in rows.fetchall()]

    def explain(self, event_id: uuid.UUID, **more: Any) -> Explanation:
        found = explain(self.settings, event_id, **more)
        assert isinstance(found, Explanation)
        return found

    @contextmanager
    def changed(self, table: str, event_id: uuid.UUID, to: str, back: str) -> Iterator[None]:
        for number, change in enumerate((to, back)):
            self.admin.execute(f"UPDATE {table} SET {change} WHERE event_id = %s", [event_id])
            if number == 0:
                yield


@pytest.fixture(scope="module")
def shared(new_database) -> Iterator[World]:
    """A world that nobody changes."""
    with new_database() as database:
        world = World(database.dsn, database.admin_dsn)
        yield world
        world.admin.close()


@pytest.fixture
def world(database) -> Iterator[World]:
    """A world of the test's own."""
    made = World(database.dsn, database.admin_dsn)
    yield made
    made.admin.close()


def differing(found: Explanation) -> set[str]:
    return {each.name for again in found.again for each in again.values if not each.is_same}


def test_every_prediction_is_answered_again_from_its_inputs(shared: World) -> None:
    of_stages = {stage: shared.ids("maintenance_prediction", f"stage = '{stage}'") for stage in ("live", "shadow")}
    assert min(map(len, of_stages.values())) >= 4
    for stage, ids in of_stages.items():
        for each in ids:
            found = shared.explain(each)
            assert (found.what, found.stored.stage, found.is_same) == ("prediction", stage, True)
            assert found.model.model_id == found.stored.model_id
            assert found.stored.in_force_from <= found.stored.source_offset + (found.stored.source_index >= FIRST_INDEX)


def test_a_prediction_names_its_model_its_place_and_its_inputs(shared: World) -> None:
    (event_id, *_) = shared.ids("maintenance_prediction", "kind = 'remaining_life' AND stage = 'shadow'")
    found = shared.explain(event_id)
    assert (found.model.version, found.model.kind, found.model.machine_type) == (2, "remaining_life", "stamping_press")
    assert found.model.training == {"offsets": {SOURCE.topic: {"0": [0, 40]}}}
    # Three machines in the first cycle, two in the second, 12 messages each; then it came, and it was the live one from 109 on
    assert (found.stored.in_force_from, found.stored.in_force_until) == (60, 109)
    assert (found.stored.source, found.stored.worker) == (SOURCE, "w")
    assert tuple(found.inputs) == FEATURES
    assert list(found.inputs.values()) == found.stored.inputs


def test_predictions_come_out_of_the_messages_again(shared: World) -> None:
    """Before and after the state that was kept, live and shadow, of cycles and of messages, and by a tick."""
    begun, by_tick = set(), 0
    for kind in ("remaining_life", "maintenance_class"):
        ids = shared.ids("maintenance_prediction", f"kind = '{kind}'")
        for each in {ids[0], ids[len(ids) // 2], ids[-1]}:
            found = shared.explain(each, refolds=True)
            assert differing(found) == set()
            assert [again.by for again in found.again] == ["inputs", "fold"]
            assert (found.is_same, found.again[1].note) == (True, "")
            assert len(found.again[1].values) == 7 + len(found.stored.inputs)
            begun.add(found.again[1].from_offset)
            by_tick += found.stored.source_index >= FIRST_INDEX
    assert begun == {0, 109}
    assert by_tick


def test_anomalies_come_out_of_the_messages_again_whoever_found_them(shared: World) -> None:
    rows = shared.admin.execute(
        "SELECT min(event_id::text)::uuid, detector, kind = 'device_silent' AND source_index >= %s FROM anomaly GROUP BY 2, 3",
        [FIRST_INDEX],
    ).fetchall()
    assert {detector for _, detector, _ in rows} >= {
        "ew-gaussian",
        "river.anomaly.StandardAbsoluteDeviation",
        "silence",
    }
    assert any(is_by_tick for _, _, is_by_tick in rows)
    limits = {}
    for event_id, detector, _ in rows:
        folded: list[tuple[int, int]] = []
        found = shared.explain(event_id, told=lambda done, of, seen=folded: seen.append((done, of)))
        assert (found.what, found.is_same, differing(found)) == ("anomaly", True, set())
        assert found.again[0].events == len({*range(found.again[0].from_offset, found.stored.source_offset + 1)} - {60})
        assert folded[-1][0] <= folded[-1][1]
        limits[detector] = found.limit
    assert limits["ew-gaussian"] == ("threshold", 4.5)
    assert limits["river.anomaly.StandardAbsoluteDeviation"] == ("threshold", 4.0)
    assert limits["silence"] == ("longest silence, s", 300.0)


def test_a_value_that_was_changed_does_not_come_out_again(world: World) -> None:
    event_id = world.ids("maintenance_prediction", "kind = 'remaining_life'")[-1]
    world.admin.execute("UPDATE maintenance_prediction SET upper = upper + 1e-3 WHERE event_id = %s", [event_id])
    found = world.explain(event_id)
    assert (found.is_same, differing(found), found.obstacle) == (False, {"upper"}, "")

    world.admin.execute(
        "UPDATE maintenance_prediction SET upper = upper - 1e-3, inputs[4] = inputs[4] + 1 WHERE event_id = %s",
        [event_id],
    )
    found = world.explain(event_id, refolds=True)
    assert (found.is_same, found.again[0].is_same, found.obstacle) == (False, False, "")
    assert {each.name for each in found.again[1].values if not each.is_same} == {"input 4"}

    (odd,) = world.ids("anomaly", "detector = 'ew-gaussian'")[:1]
    world.admin.execute("UPDATE anomaly SET score = 'NaN', detector_version = 7 WHERE event_id = %s", [odd])
    assert differing(world.explain(odd)) == {"score", "detector_version"}


def test_a_row_that_no_message_led_to_does_not_come_out(world: World) -> None:
    event_id = world.ids("maintenance_prediction", "kind = 'remaining_life'")[0]
    world.admin.execute("UPDATE maintenance_prediction SET machine_id = 'm7' WHERE event_id = %s", [event_id])
    found = world.explain(event_id, refolds=True)
    assert found.again[0].is_same
    assert all(each.again is None for each in found.again[1].values)
    assert (found.is_same, found.obstacle) == (False, "")


def test_other_rules_than_those_of_then_are_told_and_no_fault_of_the_row(shared: World) -> None:
    (event_id,) = shared.ids("anomaly", "detector = 'ew-gaussian'")[:1]
    found = explain(shared.of(spikes={"threshold": 900.0}), event_id)
    assert not found.is_same
    assert "rules" in found.obstacle

    # What other rules say all the same is the same
    found = explain(shared.of(spikes={"threshold": 4.4}), event_id)
    assert found.is_same
    assert "rules" in found.again[0].note


def test_what_a_promoted_replay_found_is_folded_again_by_its_rules_from_the_beginning(world: World) -> None:
    (odd,) = world.ids("anomaly", "detector = 'ew-gaussian' AND source_offset > 109")[:1]
    assert world.explain(odd).again[0].from_offset == 109
    world.admin.execute("UPDATE anomaly SET worker = 'replay-again'")
    found = world.explain(odd)
    assert (found.is_same, found.again[0].from_offset, "was dropped" in found.again[0].note) == (True, 0, True)

    fold = world.admin.execute("SELECT fold_version, config_version FROM source_progress").fetchone()
    world.admin.execute(
        "INSERT INTO replay (name, schema, cluster, consumer_group, state, wanted, options, config_version, fold_version,"
        " created_by) VALUES ('again', 's', 'local', 'g', 'promoted', 'run', '{\"from_offset\": null}', %s, %s, '')",
        [fold[1], fold[0]],
    )
    found = world.explain(odd)
    assert (found.is_same, found.again[0].from_offset, found.again[0].note) == (True, 0, "")
    world.admin.execute("UPDATE replay SET config_version = 'others', options = '{\"since_ms\": 5}'")
    found = world.explain(odd)
    assert (found.is_same, found.again[0].from_offset) == (True, 109)
    assert "began elsewhere; it was found by the rules others" in found.again[0].note


def test_after_a_change_of_rules_what_came_before_was_found_by_the_old_ones(world: World) -> None:
    early, *_, late = world.ids("anomaly", "detector = 'silence'")
    (offset,) = world.admin.execute("SELECT source_offset FROM anomaly WHERE event_id = %s", [late]).fetchone()
    world.settings = world.of(spikes={"threshold": 4.25})
    plant = StoredPlant(world.settings, world.admin_dsn)
    plant.close()
    world.admin.execute(
        'UPDATE control_effect SET "offset" = %s FROM control_record AS c WHERE c.id = control_id'
        " AND c.kind = 'version'",
        [offset],
    )
    world.admin.execute("UPDATE control_record SET \"offset\" = %s WHERE kind = 'version'", [offset])
    assert "it was found by the rules" in world.explain(early).again[0].note
    assert world.explain(late).again[0].note == ""


def test_messages_that_were_dropped_are_told_unless_a_state_was_kept_after_them(world: World) -> None:
    early, *_, late = world.ids("maintenance_prediction", "kind = 'remaining_life' AND source_index < 1000")
    world.admin.execute("DELETE FROM event WHERE source_offset < 109 AND event_type = 'Telemetry Ingest'")
    world.admin.execute(
        "INSERT INTO retention_mark (table_name, dropped_before, not_archived_before) VALUES ('event', now(), now())"
    )
    found = world.explain(early, refolds=True)
    assert (found.is_same, found.again[1].values) == (False, ())
    assert "no state of telemetry.machine[0] from before offset" in found.obstacle
    assert "--cold" not in found.obstacle
    found = world.explain(late, refolds=True)
    assert (found.is_same, found.again[1].from_offset) == (True, 109)
    assert "dropped" in found.again[1].note


def test_offsets_of_a_log_that_was_lost_mean_nothing_any_more(world: World) -> None:
    event_id = world.ids("maintenance_prediction")[0]
    world.admin.execute("UPDATE source_progress SET log_since = clock_timestamp()")
    found = world.explain(event_id, refolds=True)
    assert "was lost" in found.obstacle
    assert found.again[0].is_same
    assert found.stored.in_force_from is None
    assert world.ids("dashboard.prediction_misplaced") == []


def test_a_model_that_is_damaged_answers_nothing(world: World) -> None:
    event_id = world.ids("maintenance_prediction")[0]
    world.admin.execute("ALTER TABLE model_version DISABLE TRIGGER USER")
    world.admin.execute("ALTER TABLE model_version DROP CONSTRAINT model_version_check")
    world.admin.execute("UPDATE model_version SET artefact = set_byte(artefact, 9, 255 - get_byte(artefact, 9))")
    with pytest.raises(ModelRefused, match="damaged"):
        world.explain(event_id)


def test_a_message_says_what_was_found_in_it(shared: World) -> None:
    (message_id,) = shared.admin.execute(
        "SELECT p.message_id FROM maintenance_prediction AS p JOIN event AS e ON e.event_id = p.message_id LIMIT 1"
    ).fetchone()
    found = explain(shared.settings, message_id)
    assert isinstance(found, StoredMessage)
    assert found.row["event_type"] == "Telemetry Ingest"
    for table, rows in (("maintenance_prediction", found.predictions), ("anomaly", found.anomalies)):
        assert {each["event_id"] for each in rows} == set(shared.ids(table, f"message_id = '{message_id}'"))
    assert found.predictions


@pytest.mark.parametrize("number", [0, 2**128 - 1, 7 << 80])
def test_an_id_that_nothing_has_is_one_line(shared: World, number: int) -> None:
    with pytest.raises(PipelineError, match="no prediction, anomaly or message has the id"):
        explain(shared.settings, uuid.UUID(int=number))


@pytest.mark.parametrize(
    ("stored", "again", "is_same"),
    [
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 5e-9, False),
        (1e9, 1e9 + 0.5, True),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (float("inf"), float("inf"), True),
        (float("inf"), 1.0, False),
        (1.0, float("inf"), False),
        (1.0, None, False),
        ("2", "2", True),
        ("2", "3", False),
    ],
)
def test_numbers_are_the_same_within_a_billionth(stored: Any, again: Any, is_same: bool) -> None:
    assert Compared("value", stored, again).is_same == is_same


def test_every_prediction_names_its_lineage_in_the_view(shared: World) -> None:
    rows = shared.admin.execute(
        "SELECT l.in_force_from, l.source_offset, l.source_index, l.sha256 = v.sha256, l.training = v.training, l.inputs,"
        " p.inputs, v.features FROM dashboard.prediction_lineage AS l JOIN maintenance_prediction AS p USING (event_id)"
        " JOIN model_version AS v ON v.model_id = p.model_id"
    ).fetchall()
    assert len(rows) == len(shared.ids("maintenance_prediction"))
    for since, offset, index, is_hash, is_training, by_name, inputs, features in rows:
        assert since <= offset + (index >= FIRST_INDEX)
        assert is_hash
        assert is_training
        assert by_name == dict(zip(features, inputs, strict=True))


def test_predictions_are_of_the_models_in_force_at_their_place_and_others_are_seen(world: World) -> None:
    assert world.ids("dashboard.prediction_misplaced") == []
    of_first, of_second = (
        f"kind = 'remaining_life' AND model_id = {world.models[each]}" for each in ("first", "second")
    )
    early = world.ids("maintenance_prediction", of_first)[0]
    late = world.ids("maintenance_prediction", f"{of_second} AND stage = 'live'")[0]
    world.admin.execute("UPDATE maintenance_prediction SET stage = 'shadow' WHERE event_id = %s", [early])
    assert world.ids("dashboard.prediction_misplaced") == [early]
    world.admin.execute("UPDATE maintenance_prediction SET model_version = 9 WHERE event_id = %s", [late])
    assert world.ids("dashboard.prediction_misplaced") == [early, late]


def test_a_model_is_out_from_the_record_on_at_which_another_one_is_live(world: World) -> None:
    """Told to the record, and of what control records bring to light behind it, to their order."""
    of_tick = world.ids("maintenance_prediction", f"source_index >= {FIRST_INDEX}")
    assert of_tick
    effect = (
        'UPDATE control_effect AS e SET "offset" = e."offset" + {} FROM control_record AS c WHERE c.id = control_id'
    )
    of_live = f"{effect} AND c.kind = 'model' AND c.body ->> 'action' = 'live' AND c.body ->> 'version' = '2'"
    ((at,),) = world.admin.execute(
        "SELECT from_offset FROM dashboard.model_period WHERE version = 2 AND stage = 'live'"
    ).fetchall()
    ((first,),) = world.admin.execute(
        "SELECT min(source_offset) FROM maintenance_prediction WHERE model_version = 2 AND stage = 'live'"
    ).fetchall()
    world.admin.execute(of_live.format(first - at))
    assert world.ids("dashboard.prediction_misplaced") == []
    world.admin.execute(of_live.format(1))
    at_first = f"source_offset = {first} AND kind = 'remaining_life'"
    assert world.ids("dashboard.prediction_misplaced") == world.ids("maintenance_prediction", at_first)
    # As if the last word on models had come behind the tick, and not before it
    world.admin.execute(of_live.format(-1))
    world.admin.execute(
        "UPDATE control_effect SET ordinal = ordinal + 9"
        " WHERE control_id = (SELECT max(id) FROM control_record WHERE kind = 'model')"
    )
    assert set(of_tick) <= set(world.ids("dashboard.prediction_misplaced"))


@pytest.fixture
def run_explain(
    shared: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command as people do; it returns the exit code, and what went to both outputs."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", shared.dsn)
    for group, rules in RULES.items():
        for name, value in rules.items():
            monkeypatch.setenv(f"PIPELINE_{group}__{name}".upper(), json.dumps(value))

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", "models", "explain", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capfd.readouterr())

    return command


def test_the_command_shows_both_values_side_by_side(shared: World, run_explain) -> None:
    event_id = shared.ids("maintenance_prediction", "kind = 'remaining_life' AND stage = 'shadow'")[-1]
    code, out, err = run_explain(event_id, "--refold")
    stored = shared.explain(event_id).stored
    assert (code, err) == (0, "")
    assert "answered again from the stored inputs:" in out
    assert '{"offsets":{' in out
    assert "folded again from offset 0: " in out
    rows = [line.split() for line in out.splitlines()]
    assert rows.count(["value", repr(stored.value), repr(stored.value), "yes"]) == 2
    assert ["input", "temperature.fast", repr(stored.inputs[0]), repr(stored.inputs[0]), "yes"] in rows
    assert out.endswith("it comes out the same\n")

    code, out, err = run_explain(event_id, "--refold", "--json")
    said = json.loads(out)
    assert (code, err, said["is_same"], said["what"]) == (0, "", True, "prediction")
    assert (said["model"]["version"], said["stage"], said["in_force_from"]) == (2, "shadow", 60)
    assert said["inputs"] == dict(zip(FEATURES, stored.inputs, strict=True))
    assert [(each["by"], each["is_same"]) for each in said["again"]] == [("inputs", True), ("fold", True)]


def test_the_command_says_by_its_exit_code_what_came_of_it(
    shared: World, run_explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, other = (shared.ids("anomaly", f"detector = '{each}'")[0] for each in ("ew-gaussian", "silence"))
    assert run_explain(odd)[0] == 0
    (message_id,) = shared.admin.execute("SELECT message_id FROM anomaly WHERE event_id = %s", [odd]).fetchone()
    code, out, _ = run_explain(message_id, "--json")
    assert (code, str(odd) in out, json.loads(out)["what"]) == (0, True, "message")
    assert "anomalies:" in run_explain(message_id)[1]

    with shared.changed("anomaly", other, "score = score + 1", "score = score - 1"):
        code, out, err = run_explain(other)
        assert (code, err) == (1, "")
        assert out.endswith("it does NOT come out the same\n")

    code, out, err = run_explain(uuid.UUID(int=5))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert run_explain("press-00042")[0] == 2
    monkeypatch.setenv("PIPELINE_SPIKES__THRESHOLD", "900")
    code, out, err = run_explain(odd, "--json")
    assert (code, json.loads(out)["is_same"], err.count("\n")) == (66, False, 1)
    assert "it was found by the rules" in err
