"""Versions of models in the database (R30): numbered, never changed, loaded only as what they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pipeline.core.errors import ModelRefused, PipelineError, SettingsError
from pipeline.core.prognosis import artefacts
from pipeline.store import models
from pipeline.store.connect import connect
from pipeline.store.models import Candidate, Group
from tests.small_model import KNOWN, line

GROUP = Group("local", "g")


def candidate(weight: float, machine_type: str = "press", **more) -> Candidate:
    return Candidate(machine_type, line(weight), **more)


def test_versions_are_counted_for_each_kind_and_machine_type(engineer) -> None:
    added = [models.add(engineer, GROUP, each, KNOWN) for each in
             (candidate(1), candidate(2), candidate(1, "lathe"))]  # fmt: skip

    assert [(each.kind, each.machine_type, each.version, is_new) for each, is_new in added] == [
        ("line", "press", 1, True),
        ("line", "press", 2, True),
        ("line", "lathe", 1, True),
    ]
    found = models.all_of(engineer, GROUP)
    assert [(each.machine_type, each.version, each.stage) for each in found] == [
        ("lathe", 1, "candidate"),
        ("press", 1, "candidate"),
        ("press", 2, "candidate"),
    ]
    assert models.all_of(engineer, GROUP, kind="oracle") == []
    assert [each.version for each in models.all_of(engineer, GROUP, kind="line", machine_type="press")] == [1, 2]


def test_a_version_is_what_was_given(engineer) -> None:
    training = {
        "offsets": {"t": {"0": [5, 90]}},
        "from_time": "2026-11-01T00:00:00Z",
        "to_time": "2026-11-21T00:00:00Z",
    }
    given = candidate(1, parameters={"ridge": 0.5}, training=training, metrics={"rmse": 13.5}, note="the first one")

    added, _ = models.add(engineer, GROUP, given, KNOWN)

    assert (added.parameters, added.training, added.metrics) == ({"ridge": 0.5}, training, {"rmse": 13.5})
    assert (added.note, added.feature_version, added.schema_version) == ("the first one", 1, 1)
    assert added.features == ["age"]
    assert (added.sha256, added.artefact_bytes) == (artefacts.digest(given.artefact), len(given.artefact))
    assert models.artefact(engineer, added) == given.artefact
    assert models.load(engineer, added, KNOWN).weights.tolist() == [1.0]


def test_the_same_model_once_more_is_the_version_that_there_is(engineer) -> None:
    first, _ = models.add(engineer, GROUP, candidate(1, note="first"), KNOWN)

    again, is_new = models.add(engineer, GROUP, candidate(1, note="again"), KNOWN)

    assert (again, is_new) == (first, False)


def test_two_who_add_at_once_get_two_versions(database) -> None:
    def add(weight: int) -> int:
        with connect(database.admin_dsn, autocommit=True) as connection:
            return models.add(connection, GROUP, candidate(weight), KNOWN)[0].version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(8))) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_could_not_be_loaded_or_named_is_not_kept(engineer) -> None:
    for given, error in (
        (Candidate("press", b"no model"), ModelRefused),
        (Candidate("press", line(float("nan"))), ModelRefused),
        (Candidate("press", line(1, feature_version=9)), ModelRefused),
        (Candidate("", line(1)), SettingsError),
        (Candidate("x" * 129, line(1)), SettingsError),
        (Candidate("a\0b", line(1)), SettingsError),
    ):
        with pytest.raises(error):
            models.add(engineer, GROUP, given, KNOWN)

    assert models.all_of(engineer, GROUP) == []


def test_metrics_grow_and_what_is_not_finite_is_null(engineer) -> None:
    added, _ = models.add(engineer, GROUP, candidate(1, metrics={"rmse": 13.5, "rows": 7}), KNOWN)

    models.add_metrics(engineer, added.model_id, {"rmse": 12.0, "coverage": float("nan")})

    found = models.find(engineer, GROUP, added.model_id)
    assert found.metrics == {"rmse": 12.0, "rows": 7, "coverage": None}
    with pytest.raises(PipelineError, match="there is no model 9: `pipeline models list`"):
        models.add_metrics(engineer, 9, {})


def test_a_version_stays_what_it_is_even_for_the_tables_owner(database) -> None:
    with connect(database.admin_dsn, autocommit=True) as owner:
        models.add(owner, GROUP, candidate(1), KNOWN)
        for statement in (
            "UPDATE model_version SET note = 'x'",
            "UPDATE model_version SET metrics = '{}', version = 7",
            "UPDATE model_version SET artefact = '', sha256 = encode(sha256(''), 'hex')",
            "DELETE FROM model_version",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation, match="only its metrics change"):
                owner.execute(statement)


def test_an_engineer_cannot_rewrite_what_was_decided(engineer) -> None:
    for statement in (
        "UPDATE model_version SET parameters = '{}'",
        "DELETE FROM model_version",
        "TRUNCATE model_version CASCADE",
        "DELETE FROM model_stage",
        "UPDATE model_stage SET stage = 'live'",
        "DELETE FROM control_record",
        "UPDATE control_record SET body = '{}'",
        "SELECT FROM event",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            engineer.execute(statement)


def test_a_worker_reads_models_and_changes_none(database, engineer) -> None:
    added, _ = models.add(engineer, GROUP, candidate(1), KNOWN)
    with connect(database.dsn, autocommit=True) as worker:
        assert models.load(worker, models.find(worker, GROUP, added.model_id), KNOWN).weights.tolist() == [1.0]
        with pytest.raises(SettingsError, match=r"worker_test may not change models.*role pipeline_engineer"):
            models.add(worker, GROUP, candidate(2), KNOWN)
        with pytest.raises(SettingsError, match="role pipeline_engineer"):
            models.add_metrics(worker, added.model_id, {})


def test_bytes_that_are_not_those_of_the_hash_are_never_stored(engineer) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        engineer.execute(
            "INSERT INTO model_version (kind, machine_type, version, parameters, training, metrics, feature_version,"
            " schema_version, sha256, artefact, note) VALUES ('line', 'press', 1, '{}', '{}', '{}', 1, 1, %s, %s, '')",
            [artefacts.digest(line(1)), line(2)],
        )


def test_bytes_that_were_damaged_since_are_never_loaded(database, engineer) -> None:
    added, _ = models.add(engineer, GROUP, candidate(1), KNOWN)
    with connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE model_version DISABLE TRIGGER USER, DROP CONSTRAINT model_version_check")
        owner.execute("UPDATE model_version SET artefact = set_byte(artefact, 20, 0)")

    with pytest.raises(ModelRefused, match="damaged"):
        models.load(engineer, added, KNOWN)
