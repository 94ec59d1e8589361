"""Training from what is stored (R30, R33), on the real database: by the fold that asks models, and judged by other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.fold import FoldRules
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.modelling import stored_evaluation, stored_lives
from pipeline.modelling.learning import wanted_features
from pipeline.modelling.stored_lives import StoredLives, Wanted
from pipeline.modelling.stored_logs import sensors_of
from pipeline.modelling.training import TrainOptions, train
from pipeline.settings import Settings
from pipeline.store import models
from pipeline.store.connect import connect
from pipeline.store.models import Group
from simulator.options import PlantOptions
from tests.conftest import Database
from tests.core.sinks import SOURCE
from tests.modelling.wearing import wearing
from tests.store.database_sink import DatabaseSink
from tests.store.owners import fold_as_owner

PLANT = PlantOptions(seed=5, wear_machines=24, wear_pace=10.0, wear_unplanned_ms=4 * 3_600_000)
RECORDS = wearing(PLANT, hours=3)
LIVES = TrainOptions("remaining_life", "compressor")
MODES = TrainOptions("failure_type", "compressor")


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
        connection.execute("TRUNCATE model_version CASCADE")


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


def test_failure_types_are_learned_better_than_never_telling_one(settings, admin) -> None:
    version, _ = train(settings, admin, MODES)

    test = version.metrics["test"]
    assert version.parameters["modes"] == ["governor", "seal"]
    assert test["accuracy"] > test["accuracy_of_none"] + 0.1
    assert test["modes"]["seal"]["f1"] > 0.6


def test_the_same_events_give_the_same_bytes_and_no_second_version(settings, admin) -> None:
    (first, is_new), (second, is_new_again) = (train(settings, admin, LIVES) for _ in range(2))

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


def test_a_registered_model_is_asked_about_machines_that_it_was_not_taught(settings, admin) -> None:
    version, _ = train(settings, admin, LIVES)
    found = stored_evaluation.evaluate(settings, admin, version.model_id, saves=True)

    assert found.of_judges
    assert found.metrics == version.metrics["test"]
    metrics = models.find(admin, Group("local", "laws"), version.model_id).metrics
    assert metrics == version.metrics | {"events ..": found.metrics}


def test_a_model_of_which_nobody_knows_what_taught_it_is_asked_about_all_machines(settings, admin) -> None:
    version, _ = train(settings, admin, LIVES)
    artefact = models.artefact(admin, version)
    other = models.Candidate("compressor", artefact)
    admin.execute("TRUNCATE model_version CASCADE")
    imported, _ = models.add(admin, Group("local", "laws"), other, KNOWN)

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
        (replace(LIVES, machine_type="press"), PipelineError, "no machine of type 'press'"),
        (TrainOptions("maintenance_class", "compressor"), PipelineError, "0 messages with all of pressure, speed"),
        (TrainOptions("maintenance_class", "compressor", horizon=7), SettingsError, "leave --horizon out"),
        (replace(MODES, horizon=1.5), SettingsError, "a whole number of cycles"),
        (replace(LIVES, horizon=-1.0), SettingsError, "--horizon is -1"),
        (replace(LIVES, horizon=float("nan")), SettingsError, "--horizon is nan"),
        (replace(LIVES, kind="oracle"), SettingsError, "no kind of model 'oracle'"),
        (replace(LIVES, sensors=("speed", "speed")), SettingsError, "names one twice"),
        (replace(MODES, sensors=("humidity",)), PipelineError, "has all features"),
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
