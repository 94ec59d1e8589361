"""Which versions of models a group works with (R32): one live, a few in the shadow, all of a change or nothing, and back."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from pipeline.core.controls import MODEL, PlacedControl
from pipeline.core.errors import ModelRefused, PipelineError, SettingsError
from pipeline.core.prognosis import model_controls
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.records import SourcePartition
from pipeline.processes import wait_until
from pipeline.replaying import shadow
from pipeline.store import controls, model_stages, models
from pipeline.store.connect import Connection, connect
from pipeline.store.models import Candidate, Group, ModelVersion
from pipeline.store.sink import Sink
from tests.small_model import KNOWN, line
from tests.store.leasing import PROGRESS, acquire
from tests.store.test_controls import applied

GROUP, OTHER = Group("local", "g"), Group("local", "h")
SOURCE = SourcePartition("t", 0)


def added(connection: Connection, count: int, machine_type: str = "press") -> list[ModelVersion]:
    return [
        models.add(connection, GROUP, Candidate(machine_type, line(weight)), KNOWN)[0] for weight in range(1, count + 1)
    ]


def stages(connection: Connection, group: Group = GROUP) -> dict[int, str]:
    return {each.version: each.stage for each in models.all_of(connection, group)}


def told(connection: Connection, group: Group = GROUP) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT body FROM control_record WHERE kind = 'model' AND consumer_group = %s AND topic IS NULL ORDER BY id",
        [group.name],
    ).fetchall()
    return [body for (body,) in rows]


def test_a_promotion_retires_the_live_version_and_is_told_to_the_group(engineer) -> None:
    first, second = added(engineer, 2)

    once = model_stages.promote(engineer, GROUP, first.model_id, KNOWN, "the first one")
    then = model_stages.promote(engineer, GROUP, second.model_id, KNOWN)

    assert (once.stage, once.previous_stage, once.replaced_version) == ("live", "candidate", None)
    assert (then.stage, then.previous_stage, then.replaced_version) == ("live", "candidate", 1)
    assert stages(engineer) == {1: "retired", 2: "live"}
    assert stages(engineer, OTHER) == {1: "candidate", 2: "candidate"}
    assert told(engineer) == [
        {"action": "live", "kind": "line", "machine_type": "press", "model_id": each.model_id, "version": each.version,
         "sha256": each.sha256}
        for each in (first, second)
    ]  # fmt: skip
    assert told(engineer, OTHER) == []
    lived, retired = models.history(engineer, GROUP, first.model_id)
    assert (lived["stage"], lived["reason"], lived["control_id"]) == ("live", "the first one", once.control_id)
    assert (retired["stage"], retired["since"], retired["until"]) == ("retired", lived["until"], None)
    assert retired["control_id"] == then.control_id


def test_what_is_so_already_is_not_done_again(engineer) -> None:
    first, second, third = (each.model_id for each in added(engineer, 3))
    model_stages.promote(engineer, GROUP, first, KNOWN)
    model_stages.shadow(engineer, GROUP, second, KNOWN)
    model_stages.retire(engineer, GROUP, third)
    before = told(engineer)

    again = [
        model_stages.promote(engineer, GROUP, first, KNOWN),
        model_stages.shadow(engineer, GROUP, second, KNOWN),
        model_stages.retire(engineer, GROUP, third),
    ]

    assert [(each.is_change, each.stage, each.control_id) for each in again] == [
        (False, "live", None),
        (False, "shadow", None),
        (False, "retired", None),
    ]
    assert told(engineer) == before
    assert len(models.history(engineer, GROUP, first)) == 1


def test_a_candidate_that_is_retired_is_nobodys_business(engineer) -> None:
    (first,) = added(engineer, 1)

    assert model_stages.retire(engineer, GROUP, first.model_id).control_id is None
    assert told(engineer) == []


def test_groups_have_stages_of_their_own(engineer) -> None:
    first, second = added(engineer, 2)
    model_stages.promote(engineer, GROUP, first.model_id, KNOWN)

    model_stages.promote(engineer, OTHER, second.model_id, KNOWN)

    assert (stages(engineer), stages(engineer, OTHER)) == ({1: "live", 2: "candidate"}, {1: "candidate", 2: "live"})
    foremost = engineer.execute("SELECT version, stage FROM dashboard.model_version ORDER BY version").fetchall()
    assert foremost == [(1, "live"), (2, "live")]


def test_each_rollback_goes_one_promotion_further_back(engineer) -> None:
    first, second, third = (each.model_id for each in added(engineer, 3))
    for each in (first, second, first, third):
        model_stages.promote(engineer, GROUP, each, KNOWN)
    back = partial(model_stages.rollback, engineer, GROUP, "line", "press", KNOWN)

    assert [(change.version, change.replaced_version) for change in (back(), back(), back())] == [
        (1, 3),
        (2, 1),
        (1, 2),
    ]
    with pytest.raises(
        PipelineError, match=r"no line model of press was live in the group g before the present one: promote one"
    ):
        back()
    assert stages(engineer) == {1: "live", 2: "retired", 3: "retired"}


def test_a_rollback_brings_back_what_was_retired_without_a_successor(engineer) -> None:
    first, second = (each.model_id for each in added(engineer, 2))
    model_stages.promote(engineer, GROUP, first, KNOWN)
    model_stages.promote(engineer, GROUP, second, KNOWN)
    model_stages.retire(engineer, GROUP, second)
    assert stages(engineer) == {1: "retired", 2: "retired"}

    change = model_stages.rollback(engineer, GROUP, "line", "press", KNOWN)

    assert (change.version, change.replaced_version) == (2, None)
    model_stages.retire(engineer, GROUP, second)
    model_stages.promote(engineer, GROUP, second, KNOWN)
    assert model_stages.rollback(engineer, GROUP, "line", "press", KNOWN).version == 1


def test_there_is_no_rollback_to_what_never_was(engineer) -> None:
    added(engineer, 1)

    for kind, machine_type in (("line", "press"), ("line", "lathe"), ("oracle", "press")):
        with pytest.raises(PipelineError, match=f"no {kind} model of {machine_type} was live in the group g before: "):
            model_stages.rollback(engineer, GROUP, kind, machine_type, KNOWN)


def test_four_are_in_the_shadow_at_most_and_none_of_them_is_live(engineer) -> None:
    numbers = [each.model_id for each in added(engineer, 6)]
    for each in numbers[:4]:
        model_stages.shadow(engineer, GROUP, each, KNOWN)
    with pytest.raises(
        PipelineError, match=r"4 models are in the shadow already \(1, 2, 3, 4\): `pipeline models retire`"
    ):
        model_stages.shadow(engineer, GROUP, numbers[4], KNOWN)

    model_stages.promote(engineer, GROUP, numbers[0], KNOWN)
    model_stages.shadow(engineer, GROUP, numbers[4], KNOWN)

    assert stages(engineer) == {1: "live", 2: "shadow", 3: "shadow", 4: "shadow", 5: "shadow", 6: "candidate"}
    with pytest.raises(PipelineError, match="the model 1 is live: promote another one first"):
        model_stages.shadow(engineer, GROUP, numbers[0], KNOWN)


def test_what_this_program_cannot_load_is_not_let_near_machines(engineer) -> None:
    first, second = (each.model_id for each in added(engineer, 2))
    model_stages.promote(engineer, GROUP, first, KNOWN)
    nobody = KnownModels({}, KNOWN.feature_versions)
    old = KnownModels(KNOWN.kinds, frozenset({2}))

    for known in (nobody, old):
        for attempt in (model_stages.promote, model_stages.shadow):
            with pytest.raises(ModelRefused):
                attempt(engineer, GROUP, second, known)
    model_stages.promote(engineer, GROUP, second, KNOWN)
    with pytest.raises(ModelRefused):
        model_stages.rollback(engineer, GROUP, "line", "press", nobody)

    assert (stages(engineer), len(told(engineer))) == ({1: "retired", 2: "live"}, 2)


def test_there_is_no_stage_of_a_model_that_is_not(engineer) -> None:
    for attempt in (model_stages.promote, model_stages.shadow):
        with pytest.raises(PipelineError, match="there is no model 7: `pipeline models list`"):
            attempt(engineer, GROUP, 7, KNOWN)
    with pytest.raises(PipelineError, match="there is no model 7"):
        model_stages.retire(engineer, GROUP, 7)


def test_a_worker_may_not_decide(database, engineer) -> None:
    (first,) = added(engineer, 1)
    with connect(database.dsn, autocommit=True) as worker:
        for attempt in (
            partial(model_stages.promote, known=KNOWN),
            partial(model_stages.shadow, known=KNOWN),
            model_stages.retire,
        ):
            with pytest.raises(SettingsError, match="role pipeline_engineer"):
                attempt(worker, GROUP, first.model_id)
    assert (stages(engineer), told(engineer)) == ({1: "candidate"}, [])


def test_of_two_who_promote_at_once_one_waits_and_one_version_is_live(database, engineer) -> None:
    numbers = [each.model_id for each in added(engineer, 4)]

    def promote(model_id: int) -> model_stages.StageChange:
        with connect(database.admin_dsn, autocommit=True) as connection:
            return model_stages.promote(connection, GROUP, model_id, KNOWN)

    with ThreadPoolExecutor(4) as pool:
        changes = list(pool.map(promote, sorted(numbers * 3)))

    done = sorted((each for each in changes if each.is_change), key=lambda each: each.control_id)
    assert [each.replaced_version for each in done] == [None, *(each.version for each in done[:-1])]
    assert [body["version"] for body in told(engineer)] == [each.version for each in done]
    assert {version for version, stage in stages(engineer).items() if stage == "live"} == {done[-1].version}


def test_whoever_waited_decides_by_what_the_other_did(database, engineer) -> None:
    (first,) = added(engineer, 1)
    with connect(database.admin_dsn, autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        with models.changing(engineer) as cursor:
            models.hold(cursor, "line", "press")
            waiting = pool.submit(model_stages.promote, other, GROUP, first.model_id, KNOWN)
            query = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
            assert wait_until(lambda: cursor.execute(query, [other.info.backend_pid]).fetchone() == (1,), 30)
            model_stages.promote(engineer, GROUP, first.model_id, KNOWN)

        assert not waiting.result(30).is_change
    assert len(told(engineer)) == 1


class _Breaking(psycopg.Cursor[Any]):
    """Ends its session before the n-th statement, as a crash there would."""

    left = 0

    def execute(self, *args: Any, **more: Any) -> Any:
        _Breaking.left -= 1
        if _Breaking.left == 0:
            super().execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return super().execute(*args, **more)


@pytest.mark.parametrize("what", ["promote", "rollback", "shadow", "retire"])
def test_a_session_that_ends_anywhere_in_a_change_leaves_nothing_half(database, engineer, what: str) -> None:
    first, second, third = (each.model_id for each in added(engineer, 3))
    model_stages.promote(engineer, GROUP, first, KNOWN)
    model_stages.promote(engineer, GROUP, second, KNOWN)
    attempts = {
        "promote": partial(model_stages.promote, group=GROUP, model_id=third, known=KNOWN),
        "rollback": partial(model_stages.rollback, group=GROUP, kind="line", machine_type="press", known=KNOWN),
        "shadow": partial(model_stages.shadow, group=GROUP, model_id=third, known=KNOWN),
        "retire": partial(model_stages.retire, group=GROUP, model_id=second),
    }
    everything = (
        "SELECT (SELECT array_agg(m ORDER BY id)::text FROM model_stage AS m), (SELECT count(*) FROM control_record)"
    )
    before = engineer.execute(everything).fetchone()

    crashes = 0
    while True:
        with connect(database.admin_dsn, autocommit=True) as connection:
            connection.cursor_factory = _Breaking
            _Breaking.left = crashes + 1
            try:
                attempts[what](connection)
            except psycopg.OperationalError:
                crashes += 1
                assert engineer.execute(everything).fetchone() == before
                continue
        break

    assert crashes >= 6
    assert engineer.execute(everything).fetchone() != before


class _Stack:
    """What stages are after changes, said another way: the live ones as a list that rollbacks shorten."""

    def __init__(self, versions: list[int]) -> None:
        self.stage = dict.fromkeys(versions, "candidate")
        self.past: list[int] = []

    @property
    def live(self) -> int | None:
        return next((version for version, stage in self.stage.items() if stage == "live"), None)

    def promote(self, version: int) -> None:
        if self.live is not None:
            self.stage[self.live] = "retired"
        if self.past[-1:] != [version]:
            self.past.append(version)
        self.stage[version] = "live"

    def rollback(self) -> bool:
        rest = self.past[:-1] if self.live is not None else self.past
        if not rest:
            return False
        self.past = rest
        self.promote(rest[-1])
        return True

    def shadow(self, version: int) -> bool:
        if self.stage[version] == "live":
            return False
        self.stage[version] = "shadow"
        return True


NUMBERS = itertools.count()
VERSIONS = st.integers(1, 3)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["promote", "shadow", "retire"]), VERSIONS), st.tuples(st.just("rollback"), VERSIONS)
)


@given(st.lists(CHANGES, max_size=25))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_changes_stages_are_those_of_a_stack(engineer, changes: list[tuple[str, int]]) -> None:
    numbers = {each.version: each.model_id for each in added(engineer, 3)}
    group = Group("local", f"g-{next(NUMBERS)}")
    expected = _Stack(list(numbers))
    for what, version in changes:
        attempt = {
            "promote": lambda v: model_stages.promote(engineer, group, numbers[v], KNOWN),
            "shadow": lambda v: model_stages.shadow(engineer, group, numbers[v], KNOWN),
            "retire": lambda v: model_stages.retire(engineer, group, numbers[v]),
            "rollback": lambda _: model_stages.rollback(engineer, group, "line", "press", KNOWN),
        }[what]
        if what == "retire":
            expected.stage[version] = "retired"
            is_possible = True
        elif what == "rollback":
            is_possible = expected.rollback()
        else:
            is_possible = getattr(expected, what)(version) is not False
        if is_possible:
            attempt(version)
        else:
            with pytest.raises(PipelineError):
                attempt(version)
        assert stages(engineer, group) == expected.stage


def place(sink: Sink, database, *ids: int) -> None:
    """Let the partition apply control records where it stands, as it was told of them."""
    with connect(database.dsn, autocommit=True) as worker:
        taken = acquire(PROGRESS, worker, SOURCE)
    waiting = {each.id: each for each in taken.waiting}
    unit = applied(taken.owner, 0, *(waiting[number] for number in ids), before=taken.controls_mark)
    assert sink.store([unit]) == {SOURCE}


def test_partitions_get_the_artefact_with_the_control_record(database, engineer, sink) -> None:
    first, second = added(engineer, 2)
    live = model_stages.promote(engineer, GROUP, first.model_id, KNOWN)
    beside = model_stages.shadow(engineer, GROUP, second.model_id, KNOWN)
    out = model_stages.retire(engineer, GROUP, second.model_id)
    with connect(database.dsn, autocommit=True) as worker:
        acquire(PROGRESS, worker, SOURCE)
        polled = controls.since(worker, PROGRESS, 0).controls
        waiting = acquire(PROGRESS, worker, SOURCE).waiting
    place(sink, database, live.control_id)
    with connect(database.dsn, autocommit=True) as worker:
        again = acquire(PROGRESS, worker, SOURCE)
        placed = controls.placed(worker, PROGRESS, SOURCE)

    said = [model_controls.parse(each.body) for each in polled]
    assert [(each.id, each.kind) for each in polled] == [(c.control_id, MODEL) for c in (live, beside, out)]
    assert [each.artefact for each in said] == [line(1), line(2), b""]
    assert waiting == tuple(polled)
    assert placed == [PlacedControl(polled[0], 0, 0)]
    assert again.waiting == tuple(polled[1:])


def test_a_replay_folds_with_the_models_of_then(database, engineer, sink) -> None:
    first, second = added(engineer, 2)
    live = model_stages.promote(engineer, GROUP, first.model_id, KNOWN)
    place(sink, database, live.control_id)
    model_stages.promote(engineer, GROUP, second.model_id, KNOWN)
    with connect(database.admin_dsn) as owner:
        shadow.create(owner, "replayed", PROGRESS)
        with owner.cursor() as cursor:
            shadow.begin(cursor, "replayed", PROGRESS, SOURCE, {"first": 0, "counted_from": 0, "state_at": 0})
        shadow.place_controls(owner, "replayed", PROGRESS)
        owner.commit()

    with connect(database.dsn, autocommit=True, schema="replayed") as replaying:
        acquire(PROGRESS, replaying, SOURCE)
        (placed,) = controls.placed(replaying, PROGRESS, SOURCE)

    assert model_controls.parse(placed.control.body).artefact == line(1)


def in_force(connection: Connection) -> set[tuple[Any, ...]]:
    rows = connection.execute(
        "SELECT machine_type, version, stage, topic, partition, from_offset FROM dashboard.model_in_force"
    ).fetchall()
    assert len(set(rows)) == len(rows)
    return set(rows)


def test_what_is_in_force_is_what_each_partition_was_told_last(database, engineer, sink) -> None:
    first, second, third = added(engineer, 3)
    (lathe,) = added(engineer, 1, "lathe")
    model_stages.shadow(engineer, GROUP, first.model_id, KNOWN)
    assert in_force(engineer) == set(), "decided, and no partition has heard of it"

    decided = [model_stages.shadow(engineer, GROUP, second.model_id, KNOWN).control_id]
    decided += [
        model_stages.promote(engineer, GROUP, each.model_id, KNOWN).control_id for each in (third, first, lathe)
    ]
    place(sink, database, *decided)

    press = {("press", 2, "shadow", "t", 0, 0), ("press", 1, "live", "t", 0, 0)}
    assert in_force(engineer) == press | {("lathe", 1, "live", "t", 0, 0)}
    place(sink, database, model_stages.retire(engineer, GROUP, lathe.model_id).control_id)
    assert in_force(engineer) == press
    place(sink, database, model_stages.rollback(engineer, GROUP, "line", "press", KNOWN).control_id)
    assert in_force(engineer) == {("press", 2, "shadow", "t", 0, 0), ("press", 3, "live", "t", 0, 0)}
    assert [each["topic"] for each in models.in_force(engineer, GROUP, third.model_id)] == ["t"]
    assert models.in_force(engineer, GROUP, first.model_id) == []
    engineer.execute("RESET ROLE")
    engineer.execute("UPDATE source_progress SET log_since = clock_timestamp()")
    assert in_force(engineer) == set(), "the log in which that was is lost"


def said(database, offset: int, version: ModelVersion, machine_id: str = "m0") -> None:
    """Let a machine of the partition have a prediction."""
    with connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO machine_state (machine_id, factory_id, machine_type, readings, last_seen, last_offset, source_id,"
            " messages, duplicates, late, unverified) SELECT %s, 'aurora', %s, '{}', now(), 0, source_id, 0, 0, 0, 0"
            " FROM source_progress ON CONFLICT DO NOTHING",
            [machine_id, version.machine_type],
        )
        owner.execute(
            "INSERT INTO maintenance_prediction (machine_id, cluster, source_topic, source_partition, source_offset,"
            " source_index, kind, model_id, factory_id, event_time, stage, model_version, feature_version, label, value, lower,"
            " upper, hours_per_day, by_rules, inputs, worker, event_id, message_id) VALUES (%s, 'local', 't', 0, %s, 0, 'line',"
            " %s, 'aurora', to_timestamp(%s), 'live', %s, 1, '', 1, 1, 1, 0, '', '{}', 'w', gen_random_uuid(),"
            " gen_random_uuid())",
            [machine_id, offset, version.model_id, offset, version.version],
        )


def spoken(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT version, stage, said_version, said_offset FROM dashboard.model_in_force ORDER BY version"
    ).fetchall()


def test_a_machine_that_calls_itself_of_another_type_refuses_nothing(database, engineer, sink) -> None:
    first, press = added(engineer, 2)
    (lathe,) = added(engineer, 1, "lathe")
    for version in (press, lathe):
        place(sink, database, model_stages.promote(engineer, GROUP, version.model_id, KNOWN).control_id)
    said(database, 7, press)
    engineer.execute("RESET ROLE")
    engineer.execute("UPDATE machine_state SET machine_type = 'lathe'")

    assert sorted(spoken(engineer)) == [(1, "live", None, None), (2, "live", 2, 7)]
    assert models.passed_over(engineer, GROUP, [first, press, lathe]) == []


def test_a_model_that_a_partition_refuses_is_seen_beside_the_one_that_it_goes_on_with(database, engineer, sink) -> None:
    first, second, shadow = added(engineer, 3)
    place(sink, database, model_stages.promote(engineer, GROUP, first.model_id, KNOWN).control_id)
    place(sink, database, model_stages.shadow(engineer, GROUP, shadow.model_id, KNOWN).control_id)
    assert spoken(engineer) == [(1, "live", None, None), (3, "shadow", None, None)]
    said(database, 4, first)
    said(database, 3, first, "m1")
    assert spoken(engineer) == [(1, "live", 1, 4), (3, "shadow", None, None)]
    assert models.passed_over(engineer, GROUP, [first, second, shadow]) == []
    place(sink, database, model_stages.promote(engineer, GROUP, second.model_id, KNOWN).control_id)
    engineer.execute("RESET ROLE")
    engineer.execute('UPDATE control_effect SET "offset" = 5 WHERE ordinal = 2')

    assert spoken(engineer) == [(2, "live", 1, 4), (3, "shadow", None, None)]
    assert models.passed_over(engineer, GROUP, [second]) == [], "it said nothing since"
    said(database, 5, first, "m1")
    assert spoken(engineer)[0] == (2, "live", 1, 5)
    assert models.passed_over(engineer, GROUP, [first, second, shadow]) == [(second.model_id, 1, 1)]
    assert models.passed_over(engineer, OTHER, [first, second, shadow]) == []
    said(database, 6, second)
    assert spoken(engineer)[0] == (2, "live", 2, 6)
    assert models.passed_over(engineer, GROUP, [second]) == []
    engineer.execute("UPDATE maintenance_prediction SET stored_time = now() - interval '1 day'")
    engineer.execute("UPDATE source_progress SET log_since = now() - interval '1 hour'")
    assert spoken(engineer)[0] == (2, "live", None, None), "of a log that is lost"


@pytest.mark.parametrize("kind", ["metadata", "skip", "maintained", "tick", "version"])
def test_whoever_decides_about_models_decides_about_nothing_else(engineer, kind: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is not for who decides about models"):
        engineer.execute(
            "INSERT INTO control_record (kind, cluster, consumer_group, reason, detail, created_by, body)"
            " VALUES (%s, 'local', 'g', '', '', '', '{}')",
            [kind],
        )


@pytest.mark.parametrize("body", ["{}", '{"model_id": "x"}', '{"model_id": 1.5}', '{"model_id": -1}', "[]"])
def test_a_decision_about_no_model_is_not_stored(engineer, body: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        engineer.execute(
            "INSERT INTO control_record (kind, cluster, consumer_group, reason, detail, created_by, body)"
            " VALUES ('model', 'local', 'g', '', '', '', %s)",
            [body],
        )
