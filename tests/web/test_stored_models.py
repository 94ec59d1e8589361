"""What is asked over HTTP is what the registry says is live, and it is noticed when that changes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import psycopg
import pytest

from pipeline.core.errors import DatabaseUnavailable, ModelRefused, SchemaOutdated
from pipeline.core.prognosis import artefacts, kinds
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.trees import tree_of
from pipeline.store import model_stages, models
from pipeline.store.connect import Connection, connect
from pipeline.store.models import Candidate, Group
from pipeline.web import stored_models
from pipeline.web.stored_models import StoredModels

GROUP = Group("local", "g")
KIND = MaintenanceClassModel.kind


def leaf(answer: int) -> MaintenanceClassModel:
    """A model that says one class of everything."""
    shares = np.full((1, 6), 0.1)
    shares[0, answer] = 0.5
    return MaintenanceClassModel(["pressure"], tree_of(np.array([-1]), np.zeros(1), np.zeros(1, np.int64), shares))


@pytest.fixture
def engineer(database) -> Iterator[Connection]:
    with connect(database.admin_dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def stored(database, monkeypatch: pytest.MonkeyPatch) -> StoredModels:
    """By a worker's login, looked for anew whenever one is asked."""
    monkeypatch.setattr(stored_models, "FRESH_S", 0.0)
    return StoredModels(partial(connect, database.dsn, autocommit=True), GROUP, KNOWN)


def add(engineer: Connection, answer: int, machine_type: str = "press") -> int:
    return models.add(engineer, GROUP, Candidate(machine_type, artefacts.encode(leaf(answer), 1)), KNOWN)[0].model_id


def told(stored: StoredModels, machine_type: str = "press") -> tuple[int, str] | None:
    found = stored.find(KIND, machine_type)
    return found and (found[0].version, kinds.answer(found[1], np.array([[1.0]])).labels[0])


def test_the_live_model_is_found_from_its_promotion_to_its_retirement(engineer, stored) -> None:
    first, second = add(engineer, 1), add(engineer, 2)
    assert told(stored) is None

    model_stages.promote(engineer, GROUP, first, KNOWN)
    assert told(stored) == (1, "1")
    model_stages.shadow(engineer, GROUP, second, KNOWN)
    assert told(stored) == (1, "1")
    model_stages.promote(engineer, GROUP, second, KNOWN)
    assert told(stored) == (2, "2")
    model_stages.rollback(engineer, GROUP, KIND, "press", KNOWN)
    assert told(stored) == (1, "1")
    model_stages.retire(engineer, GROUP, first)
    assert told(stored) is None


def test_each_machine_type_has_its_own_and_other_groups_have_theirs(engineer, stored) -> None:
    press, lathe, others = add(engineer, 1), add(engineer, 2, "lathe"), add(engineer, 3, "mill")
    for model_id in (press, lathe):
        model_stages.promote(engineer, GROUP, model_id, KNOWN)
    model_stages.promote(engineer, Group("local", "other"), others, KNOWN)

    assert (told(stored), told(stored, "lathe"), told(stored, "mill")) == ((1, "1"), (1, "2"), None)
    assert [(record.machine_type, record.id) for record, _ in stored.live()] == [("lathe", lathe), ("press", press)]
    record = stored.live()[0][0]
    assert record.sha256 == models.find(engineer, GROUP, lathe).sha256


def test_a_model_is_read_once(engineer, stored) -> None:
    model_stages.promote(engineer, GROUP, add(engineer, 1), KNOWN)

    first, again = stored.find(KIND, "press"), stored.find(KIND, "press")

    assert first is not None
    assert again is not None
    assert first[1] is again[1]


def test_between_two_looks_the_database_is_not_asked(engineer, database) -> None:
    asked = 0

    def counted() -> Connection:
        nonlocal asked
        asked += 1
        return connect(database.dsn, autocommit=True)

    stored = StoredModels(counted, GROUP, KNOWN)
    for _ in range(5):
        assert stored.find(KIND, "press") is None

    assert asked == 1


def test_a_model_that_this_program_does_not_know_is_refused_and_the_others_are_answered(
    engineer, database, stored
) -> None:
    for model_id in (add(engineer, 1), add(engineer, 2, "lathe")):
        model_stages.promote(engineer, GROUP, model_id, KNOWN)
    older = StoredModels(partial(connect, database.dsn, autocommit=True), GROUP, KnownModels({}, frozenset({1})))

    with pytest.raises(
        ModelRefused, match="maintenance_class of press, version 1: models of the kind 'maintenance_class'"
    ):
        older.find(KIND, "press")
    assert older.live() == []
    assert older.find(KIND, "mill") is None


def test_a_database_that_is_away_or_lacks_the_tables_is_told_as_that(database) -> None:
    away = StoredModels(partial(connect, "postgresql://nobody@127.0.0.1:1/none"), GROUP, KNOWN)
    elsewhere = StoredModels(partial(connect, database.dsn, autocommit=True, schema="nowhere"), GROUP, KNOWN)

    with pytest.raises(DatabaseUnavailable):
        away.find(KIND, "press")
    with pytest.raises(SchemaOutdated):
        elsewhere.live()


def test_a_login_of_workers_can_read_models_and_cannot_change_them(database) -> None:
    with connect(database.dsn, autocommit=True) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("DELETE FROM model_version")
