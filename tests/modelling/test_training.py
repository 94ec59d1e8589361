"""Training from what is stored (R30, R33), on the real database: by the fold that asks models, and judged by other machines."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from pydantic import SecretStr

from pipeline.archive.archiving import archive
from pipeline.archive.place import Place
from pipeline.cli import main
from pipeline.cli.model_monitoring import options_of, successors
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.fold import FoldRules
from pipeline.core.prognosis.failure_type import labels
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.modelling import stored_evaluation, stored_lives
from pipeline.modelling.learning import wanted_features
from pipeline.modelling.monitoring import quality
from pipeline.modelling.monitoring.input_drift import Reference
from pipeline.modelling.monitoring.monitor import Monitor
from pipeline.modelling.monitoring.trigger import Limits
from pipeline.modelling.stored_lives import StoredLives, Wanted
from pipeline.modelling.stored_logs import StoredLogs, sensors_of
from pipeline.modelling.training import TrainOptions, train
from pipeline.settings import Settings
from pipeline.store import model_stages, models
from pipeline.store.connect import connect
from pipeline.store.models import Group
from simulator.options import PlantOptions
from tests.conftest import Database
from tests.core.prognosis.models_in_force import remaining_life
from tests.core.sinks import SOURCE
from tests.modelling.monitored import Stored, failure_type
from tests.modelling.wearing import compressors, in_order, presses
from tests.store.database_sink import DatabaseSink
from tests.store.owners import fold_as_owner

PLANT = PlantOptions(seed=5, wear_machines=24, wear_pace=10.0, wear_unplanned_ms=4 * 3_600_000)
RECORDS = in_order([*compressors(PLANT, hours=3), *presses(PLANT.start_ms, count=20, looks=12)])
LIVES = TrainOptions("remaining_life", "compressor")
MODES = TrainOptions("failure_type", "compressor")
CLASSES = TrainOptions("maintenance_class", "press")


@pytest.fixture(scope="module")
def stored(new_database: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """A database with all that the compressors sent; no control record of their maintenance was applied."""
    with new_database() as database:
        sink = DatabaseSink(database.dsn)
        fold_as_owner(sink, RECORDS, range(2_000, len(RECORDS), 2_000), FoldRules())
        sink.close()
        yield database


@pytest.fixture
def admin(stored: Database) -> Iterator[psycopg.Connection]:
    """A connection that may add models; those that a test added are gone after it."""
    with connect(stored.admin_dsn, autocommit=True) as connection:
        yield connection
        connection.execute("TRUNCATE model_version, labelled_record, maintenance_prediction CASCADE")


@pytest.fixture
def settings(stored: Database) -> Settings:
    return Settings.model_validate({"postgres": {"dsn": stored.dsn}, "broker": {"group": "laws"}})


def kept(admin: psycopg.Connection) -> int:
    return len(models.all_of(admin, Group("local", "laws")))


def read(settings: Settings, admin: psycopg.Connection, **wanted: Any) -> StoredLives:
    features = wanted_features("failure_type", sensors_of(admin, "compressor"))
    return stored_lives.read(settings, admin, Wanted("compressor", features, **wanted))


def test_remaining_life_is_learned_better_than_a_constant_tells_it(settings, admin) -> None:
    version, is_new = train(settings, admin, replace(LIVES, note="first"))

    test = version.metrics["test"]
    assert is_new
    assert (version.stage, version.note, version.machine_type) == ("candidate", "first", "compressor")
    assert test["rmse"] < 0.75 * test["rmse_of_constant"]
    assert test["coverage"] > 0.75
    assert version.metrics["prequential"]["rows"] > 200
    assert version.parameters["sensors"] == ["pressure", "speed", "temperature", "vibration"]
    assert version.training["offsets"] == {SOURCE.topic: {"0": [0, len(RECORDS)]}}
    assert version.training["machines"] + test["machines"] == 24
    assert version.training["failures"] + version.training["censored"] == version.training["lives"]
    assert "2025-01-01T00:0" in version.training["from_time"]
    assert stored_evaluation.evaluate(settings, admin, version.model_id).metrics == test


def test_a_successor_is_learned_as_its_predecessor_was_and_knows_what_went_in(settings, admin) -> None:
    version, _ = train(settings, admin, replace(LIVES, seed=3, horizon=1.5))

    successor = train(settings, admin, options_of(version, "drift: rmse"))

    assert (successor.version.model_id, successor.is_new) == (version.model_id, False)
    assert {*version.training["inputs"]} == {*version.parameters["features"]}
    references = [Reference.read(each) for each in version.training["inputs"].values()]
    assert {int(each.counts.sum()) for each in references if each is not None} == {version.training["cycles"]}


def test_failure_types_are_learned_better_than_never_telling_one(settings, admin) -> None:
    version, _ = train(settings, admin, MODES)

    test = version.metrics["test"]
    assert version.parameters["modes"] == ["governor", "seal"]
    assert test["accuracy"] > test["accuracy_of_none"] + 0.1
    assert test["modes"]["seal"]["f1"] > 0.6


def test_classes_of_maintenance_are_learned_from_the_messages_that_records_name(settings, admin) -> None:
    version, _ = train(settings, admin, CLASSES)

    test = version.metrics["test"]
    assert version.parameters["features"] == ["heat", "noise"]
    assert version.training["classed_messages"] + test["classed_messages"] == 20 * 12
    assert test["accuracy"] == 1.0 > test["accuracy_of_commonest"]
    assert stored_evaluation.evaluate(settings, admin, version.model_id).metrics == test


@pytest.mark.parametrize("options", [replace(LIVES, until_ms=PLANT.start_ms + 3_600_000), MODES, CLASSES])
def test_the_same_events_give_the_same_bytes_and_no_second_version(settings, admin, options: TrainOptions) -> None:
    (first, is_new), (second, is_new_again) = (train(settings, admin, options) for _ in range(2))

    assert (is_new, is_new_again) == (True, False)
    assert (first.model_id, first.sha256) == (second.model_id, second.sha256)
    assert kept(admin) == 1


def test_what_was_not_before_the_end_that_is_asked_for_is_not_known(settings, admin) -> None:
    middle_ms = PLANT.start_ms + 3_600_000
    found = read(settings, admin, until_ms=middle_ms)
    later = read(settings, admin, since_ms=middle_ms)

    assert max(life.ended_ms for life in found.lives) < middle_ms <= min(life.ends_ms[0] for life in later.lives)
    cycles = [sum(len(life.rows) for life in each.lives) for each in (found, later, read(settings, admin))]
    assert cycles[0] + cycles[1] == cycles[2]
    assert {life.failed for life in found.lives} == {"seal", "governor", None}


def test_machines_that_teach_and_machines_that_judge_are_others(settings, admin) -> None:
    found = read(settings, admin)
    teach, judge = ({life.machine_id for life in found.of(judges=side).lives} for side in (False, True))

    assert teach & judge == set()
    assert len(teach | judge) == 24


def test_ages_begin_anew_with_maintenance_that_no_control_record_told_of(settings, admin) -> None:
    found = read(settings, admin)
    ages = [float(life.operated_h[0]) for life in found.lives]

    # The longest cycle takes five minutes
    assert max(ages) <= 5 / 60
    assert all((life.remaining_h >= 0.0).all() for life in found.lives)


def test_the_archive_teaches_the_same_as_the_table(stored, settings, admin, tmp_path: Path) -> None:
    first, _ = train(settings, admin, CLASSES)
    place = Place(str(tmp_path))
    with connect(stored.admin_dsn, autocommit=True) as reading:
        archive(admin, reading, place, due_days=None)
    archived = settings.model_copy(update={"archive": settings.archive.model_copy(update={"address": str(tmp_path)})})
    second, is_new = train(archived, admin, replace(CLASSES, source="archive"))

    assert (second.sha256, is_new) == (first.sha256, False)


def test_who_may_only_decide_about_models_may_train_them(settings, admin, stored) -> None:
    with connect(stored.dsn, autocommit=True) as worker, pytest.raises(SettingsError, match="pipeline_engineer"):
        train(settings, worker, CLASSES)
    assert kept(admin) == 0

    with connect(stored.admin_dsn, autocommit=True) as engineer:
        engineer.execute("SET ROLE pipeline_engineer")
        version, _ = train(settings, engineer, CLASSES)
        assert stored_evaluation.evaluate(settings, engineer, version.model_id, saves=True).of_judges


def test_a_login_that_may_not_add_models_is_refused_before_anything_is_read(settings, stored, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.modelling.training.read", lambda *_: pytest.fail("it was folded"))

    with connect(stored.dsn, autocommit=True) as worker, pytest.raises(SettingsError, match="may not change models"):
        train(settings, worker, LIVES)


@pytest.mark.parametrize(
    ("gap_ms", "since_ms", "said"),
    [
        (0, None, "windows.cycle_gap_ms is 0, and above 0 it is what cycles are known by"),
        (90_000, None, "the others never paused for as long as windows.cycle_gap_ms, 90 s"),
        (90_000, 0, "the others never paused for as long as windows.cycle_gap_ms, 90 s within --from and --until"),
    ],
)
def test_machines_without_operating_cycles_are_told_with_why_they_have_none(
    settings, admin, monkeypatch, gap_ms: int, since_ms: int | None, said: str
) -> None:
    nothing = StoredLives([], stored_lives.nothing_classed(), 0, {})
    monkeypatch.setattr("pipeline.modelling.training.read", lambda *_: nothing)
    windows = settings.windows.model_copy(update={"cycle_gap_ms": gap_ms})

    with pytest.raises(PipelineError) as raised:
        train(settings.model_copy(update={"windows": windows}), admin, replace(LIVES, since_ms=since_ms))

    assert str(raised.value).endswith(f"one in five machines teaches nothing, and {said}")


def test_control_records_apply_where_the_partition_applied_them(database, settings) -> None:
    records, middle = RECORDS[:2_000], 1_000
    sink = DatabaseSink(database.dsn)
    # It hears of what is stored by then: of the first 500
    fold_as_owner(sink, records, [500, middle], FoldRules(), told_at=middle)
    sink.close()
    own = settings.model_copy(
        update={"postgres": settings.postgres.model_copy(update={"dsn": SecretStr(database.dsn)})}
    )
    with connect(database.admin_dsn, autocommit=True) as connection:
        placed = StoredLogs(own).controls(connection, SOURCE)
        found = read(own, connection)

    repaired = [each for each in map(orjson.loads, (record.value for record in records[:500])) if "kind" in each]
    assert {(each.control.kind, each.offset) for each in placed} == {("maintained", middle)}
    assert len(placed) == sum(each.get("class") != 0 for each in repaired)
    assert (found.folded, len(found.of(judges=True).lives) > 0) == (2_000, True)


def test_a_registered_model_is_asked_about_machines_that_it_was_not_taught(settings, admin) -> None:
    version, _ = train(settings, admin, MODES)
    found = stored_evaluation.evaluate(settings, admin, version.model_id, saves=True)

    assert found.of_judges
    assert found.metrics == version.metrics["test"]
    metrics = models.find(admin, Group("local", "laws"), version.model_id).metrics
    assert metrics == version.metrics | {"events ..": found.metrics}


def test_a_model_of_which_nobody_knows_what_taught_it_is_asked_about_all_machines(settings, admin) -> None:
    version, _ = train(settings, admin, MODES)
    artefact = models.artefact(admin, version)
    other = models.Candidate("compressor", artefact)
    admin.execute("TRUNCATE model_version CASCADE")
    imported, _ = models.add(admin, Group("local", "laws"), other, KNOWN)

    with pytest.raises(PipelineError, match="nothing is stored that judges failure_type of compressor"):
        stored_evaluation.evaluate(settings, admin, imported.model_id, since_ms=PLANT.start_ms + 10**12)
    found = stored_evaluation.evaluate(settings, admin, imported.model_id)
    assert not found.of_judges
    assert found.metrics["machines"] == 24
    assert models.find(admin, Group("local", "laws"), imported.model_id).metrics == {}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (replace(LIVES, until_ms=PLANT.start_ms + 240_000), PipelineError, "2 are needed: maintenance records of kind failure"),
        (replace(MODES, until_ms=PLANT.start_ms + 240_000), PipelineError, "2 are needed: maintenance records of kind failure"),
        (replace(LIVES, since_ms=PLANT.start_ms + 10**12), PipelineError, "no operating cycle of a compressor"),
        (replace(LIVES, machine_type="lathe"), PipelineError, "no machine of type 'lathe'"),
        (replace(CLASSES, until_ms=PLANT.start_ms), PipelineError, "0 messages with all of heat, noise have a class"),
        (TrainOptions("maintenance_class", "compressor"), PipelineError, "0 messages with all of pressure, speed"),
        (TrainOptions("maintenance_class", "compressor", horizon=7), SettingsError, "leave --horizon out"),
        (replace(MODES, horizon=1.5), SettingsError, "a whole number of cycles"),
        (replace(LIVES, horizon=-1.0), SettingsError, "--horizon is -1"),
        (replace(LIVES, horizon=float("nan")), SettingsError, "--horizon is nan"),
        (replace(LIVES, kind="oracle"), SettingsError, "no kind of model 'oracle'"),
        (replace(LIVES, sensors=("speed", "speed")), SettingsError, "names one twice"),
        (replace(MODES, sensors=("speed", "humidity")), SettingsError, "no compressor that teaches has a sensor 'humidity'"),
        (replace(LIVES, sensors=("humidity",)), SettingsError, "has a sensor 'humidity'"),
        (replace(LIVES, source="archive"), SettingsError, "archive.address"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_one_line_and_nothing_is_registered(settings, admin, options, error, said) -> None:
    with pytest.raises(PipelineError, match=said) as raised:
        train(settings, admin, options)

    assert type(raised.value) is error
    assert "\n" not in str(raised.value)
    assert kept(admin) == 0


def test_nothing_is_registered_when_somebody_interrupts(settings, admin) -> None:
    def interrupt(what: str, done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, admin, LIVES, interrupt)

    assert kept(admin) == 0


@pytest.fixture
def run(stored: Database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that runs `pipeline models` in this process; it returns exit code, output and errors."""
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", stored.dsn)
    monkeypatch.setenv("PIPELINE_POSTGRES__ADMIN_DSN", stored.admin_dsn)
    monkeypatch.setenv("PIPELINE_BROKER__GROUP", "laws")

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", "models", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capfd.readouterr())

    return command


def test_the_command_says_what_was_learned_and_what_to_do_next(run, admin) -> None:
    words = ("train", "maintenance_class", "--machine-type=press", "--sensors=heat", "--note=by hand")
    code, out, err = run(*words)
    (version,) = models.all_of(admin, Group("local", "laws"))

    assert (code, err) == (0, "")
    assert out.startswith(f"model {version.model_id}, maintenance_class of press, version 1, is a candidate now\n")
    assert f"`pipeline models shadow {version.model_id}`" in out
    assert [line.split() for line in out.splitlines() if line.startswith("accuracy ")] == [
        ["accuracy", "1"],
        ["accuracy", "0.994"],
    ]
    assert (version.note, version.parameters["sensors"]) == ("by hand", ["heat"])
    assert not {"lives", "censored", "cycles"} & {line.split(" ")[0] for line in out.splitlines()}
    assert "note:" not in out

    again = run(*words)[1]
    assert again.endswith("version 1, was learned from the same before: nothing was added\n")
    assert json.loads(run(*words, "--json")[1])["is_new"] is False


def test_the_command_that_evaluates_keeps_figures_only_if_asked(run, admin) -> None:
    version = json.loads(run("train", "maintenance_class", "--machine-type=press", "--json")[1])
    number = str(version["model_id"])
    code, out, err = run("evaluate", "stored", number, "--from=2025-01-01T00:05:00Z")
    assert (code, err) == (0, "")
    assert out.startswith(
        f"model {number}, maintenance_class of press, version 1, on machines that taught it nothing\n"
    )
    assert models.find(admin, Group("local", "laws"), int(number)).metrics == version["metrics"]

    said = json.loads(run("evaluate", "stored", number, "--from=2025-01-01T00:05:00Z", "--json", "--save")[1])
    kept_now = models.find(admin, Group("local", "laws"), int(number)).metrics
    assert (said["is_saved"], said["of_judges"]) == (True, True)
    assert kept_now == version["metrics"] | {said["name"]: said["metrics"]}
    assert 0 < said["metrics"]["classed_messages"] < version["metrics"]["test"]["classed_messages"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train", "remaining_life", "--machine-type=lathe"), 1, "no machine of type 'lathe' is known"),
        (("train", "oracle", "--machine-type=press"), 78, "there is no kind of model 'oracle'"),
        (("train", "remaining_life"), 2, "--machine-type"),
        (("train", "remaining_life", "--machine-type=press", "--until=yesterday"), 2, "--until"),
        (("train", "remaining_life", "--machine-type=press", "--source=archive"), 78, "archive.address"),
        (("evaluate", "stored", "999"), 1, "there is no model 999"),
    ],
)
def test_wrong_use_of_the_commands_ends_with_one_line(run, words, code, said) -> None:
    ended, out, err = run(*words)

    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1


def test_what_monitoring_holds_predictions_against_is_what_models_are_taught(settings, admin) -> None:
    plant = Stored(admin, None)
    model, types = plant.model(remaining_life()), plant.model(failure_type())
    lives = read(settings, admin).lives
    with admin.transaction():
        for life in lives:
            classes = labels(len(life.rows), 0 if life.failed is None else 1)
            for end_ms, left, each in zip(
                life.ends_ms.tolist(), life.remaining_h.tolist(), classes.tolist(), strict=True
            ):
                at = dt.datetime.fromtimestamp(end_ms / 1000, dt.UTC)
                told = {"value": left, "lower": left - 1e-9, "upper": left + 1e-9}
                plant.says(model, "remaining_life", life.machine_id, at, **told)
                label = {-1: "what nobody knows", 0: "none", 1: life.failed}[each]
                plant.says(types, "failure_type", life.machine_id, at, label=label)

    (reached,) = admin.execute("SELECT extract(epoch FROM min(cycles_to)) * 1000 FROM source_progress").fetchone() or (
        0,
    )
    quality.join(admin, {model: remaining_life(), types: failure_type()}.get)

    rows = admin.execute(
        "SELECT sum(predictions)::int, sum(covered)::int, max(off_squares) < 1e-12, count(DISTINCT machine_id)::int"
        " FROM model_quality WHERE model_id = %s AND truth = 'failure'",
        [model],
    ).fetchall()
    ended = [life for life in lives if life.failed is not None and life.ended_ms < reached]
    cycles, machines = sum(len(life.ends_ms) for life in ended), len({life.machine_id for life in ended})
    assert rows == [(cycles, cycles, True, machines)]
    assert len(ended) > 10
    said = admin.execute(
        "SELECT bool_and(truth = said), count(DISTINCT truth), sum(predictions) > 300 FROM model_quality WHERE model_id = %s",
        [types],
    ).fetchall()
    assert said == [(True, 3, True)]


def test_a_live_model_that_does_badly_gets_a_candidate_that_is_learned_from_what_is_stored(settings, admin) -> None:
    plant, group = Stored(admin, None), Group("local", "laws")
    model = plant.model(remaining_life(), "candidate", "compressor", metrics={"test": {"rmse": 1e-3}})
    model_stages.promote(admin, group, model, KNOWN)
    life = next(life for life in read(settings, admin).lives if life.failed is not None)
    for end_ms in life.ends_ms.tolist():
        plant.says(
            model, "remaining_life", life.machine_id, dt.datetime.fromtimestamp(end_ms / 1000, dt.UTC), value=9.0
        )
    limits = Limits(1, 10**9, 1.5, 1.0, 1.0, 1e3)
    monitor = Monitor(admin, group, KNOWN, successors(settings, admin), limits, 10_000 * 86_400)

    (trigger,) = monitor.once().triggers

    found = {each.model_id: each for each in models.all_of(admin, group)}
    assert found[model].stage == "live"
    assert found[trigger.candidate_id].stage == "candidate"
    assert found[trigger.candidate_id].note == f"drift: {trigger.reason}"
    assert "rmse" in found[trigger.candidate_id].metrics["test"]
    assert monitor.once().triggers == []
