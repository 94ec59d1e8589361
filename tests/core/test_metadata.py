"""Commands on metadata (R9, R45, R46): what is accepted, what is rejected and why, and what the next one has to expect."""

from __future__ import annotations

import orjson
import pytest

from pipeline.core.controls import METADATA, Control
from pipeline.core.decoding.metadata import MetadataChange
from pipeline.core.effects import Effects
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.plant import ENTITIES
from pipeline.core.records import Record, RecordBatch
from pipeline.core.registry import Registry
from pipeline.core.state import PartitionState
from tests.core.raw_messages import canonical, command
from tests.core.sinks import SOURCE

NOW_MS = 1_790_000_200_000
BODIES = {
    "factory": {"name": "Aurora", "time_zone": "Europe/Oslo", "policy": "quarantine"},
    "line": {"factory_id": "aurora", "name": "line one"},
    "machine": {
        "factory_id": "aurora",
        "line_id": "l-1",
        "machine_type": "press",
        "status": "enabled",
        "pump_id": "p-1",
    },
    "sku": {"name": "bolt", "ideal_cycle_s": 2.5},
    "shift": {"factory_id": "aurora", "name": "early", "start": "06:00", "end": "14:00", "weekdays": [1, 2, 3, 4, 5]},
    "maintenance_rule": {
        "class": 1,
        "name": "Tighten adjustment harness",
        "conditions": [
            {"sensor": "pressure", "op": "<", "value": 7475},
            {"sensor": "temperature", "op": "<", "value": 70},
        ],
    },
}


def folded(*messages: dict, state: PartitionState | None = None, headers: list | None = None) -> Effects:
    records = [Record(n, NOW_MS, orjson.dumps(each), headers=headers or ()) for n, each in enumerate(messages)]
    batch = RecordBatch(SOURCE, "", 0, len(records), records)
    return fold(state or PartitionState(), batch, FoldRules(), Marks())


def outcome(*messages: dict) -> tuple[str, int, str]:
    """Return what became of the last of some commands."""
    last = folded(*messages).facts[-1]
    return last.status, last.version, last.reason


@pytest.mark.parametrize("kind", ENTITIES)
def test_every_kind_can_be_added_changed_and_removed(kind: str) -> None:
    body = BODIES[kind]
    name = next(iter(body))

    facts = folded(
        command(entity=kind, body=body),
        command(entity=kind, command_id="c-2", action="change", expected_version=1, body={name: body[name]}),
        command(entity=kind, command_id="c-3", action="remove", expected_version=2, body={}),
    ).facts

    assert [(each.status, each.version) for each in facts] == [("applied", 1), ("applied", 2), ("applied", 3)]
    assert all(isinstance(each, MetadataChange) and each.result == body for each in facts)
    assert [each.control()["removed"] for each in facts] == [False, False, True]
    assert {each.entity_type for each in facts} == {kind}


def test_a_stale_version_is_rejected_and_says_what_it_is_now() -> None:
    added, changed = command(), command(command_id="c-2", action="change", expected_version=1, body={"line_id": "l"})

    again = command(command_id="c-3", action="change", expected_version=1, body={"line_id": "k"})

    assert outcome(added, changed, again) == ("rejected", 2, "expected version 1, it is 2: read it again and repeat")


@pytest.mark.parametrize(
    ("before", "other", "reason"),
    [
        ([], {"action": "change"}, "there is no machine 'm0': add it"),
        ([], {"action": "remove"}, "there is no machine 'm0': add it"),
        ([], {"expected_version": 2}, "expected version 2, it is not there: read it again and repeat"),
        ([command()], {"expected_version": 1}, "there is a machine 'm0' already: change it"),
        ([], {"body": {}}, "factory_id is missing; send text of 1 to 128 characters"),
        ([], {"body": {"factory_id": "f", "x": 1}}, "a machine has no field 'x'; it has factory_id, line_id,"),
        ([], {"body": {"factory_id": "f", "status": "off"}}, "status is 'off'; send enabled or disabled"),
        ([], {"body": {"factory_id": "f", "line_id": []}}, "line_id is []; send text of 1 to 128 characters"),
        ([], {"entity": "sku", "body": {"name": "n", "ideal_cycle_s": 0}}, "ideal_cycle_s is 0; send seconds from"),
        ([], {"entity": "shift", "body": BODIES["shift"] | {"start": "24:00"}}, "start is '24:00'; send a time of day"),
        ([], {"entity": "shift", "body": BODIES["shift"] | {"weekdays": [0]}}, "weekdays is [0]; send a list of"),
        (
            [],
            {"entity": "maintenance_rule", "body": BODIES["maintenance_rule"] | {"conditions": [{"sensor": "t"}]}},
            "conditions is [{'sensor': 't'}]; send a list of 1 to 32 conditions",
        ),
        (
            [],
            {"entity": "maintenance_rule", "body": BODIES["maintenance_rule"] | {"class": True}},
            "class is True; send",
        ),
        (
            [],
            {"entity": "factory", "body": {"name": "A", "time_zone": "Oslo summer"}},
            "time_zone is 'Oslo summer'; send",
        ),
    ],
)
def test_what_cannot_be_done_is_rejected_in_one_line(before: list, other: dict, reason: str) -> None:
    status, version, said = outcome(*before, command(command_id="c-2", **other))

    assert (status, version) == ("rejected", len(before))
    assert said.startswith(reason)


def test_a_command_that_comes_twice_changes_nothing_the_second_time() -> None:
    assert outcome(command(), command()) == ("applied", 1, "it was applied before")
    assert sum(isinstance(each, MetadataChange) for each in folded(command(), command()).facts) == 1


def test_null_takes_a_field_away() -> None:
    change = command(command_id="c-2", action="change", expected_version=1, body={"line_id": None})

    facts = folded(command(body={"factory_id": "f", "line_id": "l"}), change).facts

    assert facts[-1].result == {"factory_id": "f"}


def test_what_was_removed_can_be_added_again_and_is_a_later_version() -> None:
    removal = command(command_id="c-2", action="remove", expected_version=1)

    assert outcome(command(), removal, command(command_id="c-3")) == ("applied", 3, "")


def test_a_change_is_in_force_only_when_its_control_record_has_come() -> None:
    state = PartitionState()

    (change,) = folded(command(body={"factory_id": "f", "status": "disabled"}), state=state).facts
    assert not state.registry.is_disabled("m0")
    state = PartitionState.from_arrays(state.to_arrays())
    assert state.registry.head("machine", "m0").version == 1
    state.registry.apply(Control(1, METADATA, change.control()))

    assert state.registry.is_disabled("m0")
    assert state.registry.to_plain()[1] == []


def test_of_two_equal_versions_every_partition_takes_the_same() -> None:
    (one,) = folded(command(command_id="a", body={"factory_id": "f"})).facts
    (two,) = folded(command(command_id="b", body={"factory_id": "g"})).facts
    controls = [Control(n, METADATA, each.control()) for n, each in enumerate((one, two))]
    registries = [Registry(), Registry()]

    for registry, order in zip(registries, (controls, controls[::-1]), strict=True):
        for each in order:
            registry.apply(each)

    assert [each.find("machine", "m0").body for each in registries] == [{"factory_id": "g"}] * 2


@pytest.mark.parametrize(
    ("other", "detail"),
    [
        ({"entity": "valve"}, "entity is 'valve'; send factory, line, machine, sku, shift or maintenance_rule"),
        ({"action": "drop"}, "action is 'drop'; send add, change or remove"),
        ({"expected_version": -1}, "expected_version is -1; send a whole number, 0 if it is not there yet"),
        ({"body": 7}, "body is a number; send an object"),
        ({"command_id": ""}, "command_id is empty; send text that is not empty"),
        ({"id": "x" * 129}, "id has 129 characters"),
        ({"time": "yesterday"}, "time is 'yesterday'; send ISO 8601"),
    ],
)
def test_what_is_no_command_is_a_dead_letter(other: dict, detail: str) -> None:
    effects = folded(command(**other))

    assert effects.facts == []
    assert effects.dead_letters[0].detail.startswith(detail)


def test_a_device_commands_nobody_not_even_itself() -> None:
    effects = folded(command(), headers=[("iothub-connection-device-id", b"m0")])

    assert [str(letter.reason) for letter in effects.dead_letters] == ["device_mismatch"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_machine_that_one_factory_accepts_is_known_to_one_that_quarantines_however_batches_are_cut(size: int) -> None:
    state, found = PartitionState(), []
    policy = {"entity": "factory", "id": "strict", "version": 1, "removed": False, "body": {"policy": "quarantine"}}
    state.registry.apply(Control(1, METADATA, policy | {"changed_ms": 0, "command_id": "c"}))
    at = "2026-09-21T14:14:00Z"
    # What is not accepted, because of its time, makes no machine known
    sent = [("m", "strict", at), ("n", "open", "never"), ("n", "strict", at), ("m", "open", at), ("m", "strict", at)]
    records = [
        Record(n, NOW_MS, orjson.dumps(canonical(machine_id=machine, factory_id=factory, time=time)))
        for n, (machine, factory, time) in enumerate(sent)
    ]

    for n in range(0, len(records), size):
        some = records[n : n + size]
        found += fold(state, RecordBatch(SOURCE, "", n, n + len(some), some), FoldRules(), Marks()).dead_letters

    assert {each.offset: str(each.reason) for each in found} == {
        0: "unknown_device",
        1: "wrong_shape",
        2: "unknown_device",
    }
