"""Maintenance classes by rules (R18, R27, R34): rules in plain Python against the fold, and the laws for what follows."""

from __future__ import annotations

import operator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.core.controls import METADATA, Control
from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.maintenance.rules import DEFAULT_RULES, CompiledRules, rules_of
from pipeline.core.records import RecordBatch
from pipeline.core.registry import Registry
from pipeline.core.selection import Selection
from pipeline.core.state import PartitionState
from tests.core.sinks import SOURCE, MemorySink, counts_of, feed, folded, record, records_of, resumed
from tests.core.test_fold_laws import assert_same

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
RULES = FoldRules()
OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def message(machine: str, at_ms: int, ingest_ms: int | None = None, **readings: float) -> dict:
    at = START_MS + at_ms
    ingest = at if ingest_ms is None else START_MS + ingest_ms
    return {"machine": machine, "time_ms": at, "seq": -1, "ingest_ms": ingest, "readings": readings}


levels = {
    "pressure": st.sampled_from([7474.0, 7475.0, 7539.0, 7600.0, 7601.0]),
    "temperature": st.sampled_from([49.0, 50.0, 69.0, 70.0]),
    "humidity": st.just(20.0),
}
readings = st.one_of(
    st.fixed_dictionaries({name: levels[name] for name in ("temperature", "pressure")}),
    st.fixed_dictionaries({}, optional=levels).filter(bool),
)
streams = st.lists(
    st.builds(
        lambda machine, minute, found: message(machine, minute * 60_000, **found),
        st.sampled_from(["m0", "m1"]),
        st.integers(0, 200),
        readings,
    ),
    max_size=50,
)
cuts = st.lists(st.integers(0, 50), max_size=10)


def class_of(pressure: float, temperature: float) -> int:
    """The default rules once more, as people write them."""
    if pressure < 7475:
        return 1 if temperature < 70 else 4
    if pressure > 7600:
        return 5 if temperature >= 70 else 2 if temperature >= 50 else 3
    return 0


def plainly(messages: list[dict]) -> tuple[dict, dict, dict]:
    """Return changes of class and corrections by offset, and the counts of messages."""
    changed, again, counts = {}, {}, {}
    state: dict[str, tuple[int, int]] = {}
    told: dict[str, tuple[int, int, set[int]]] = {}
    watermark = None
    for offset, each in enumerate(messages):
        reached, at, machine = watermark, each["time_ms"], each["machine"]
        watermark = max(at - 10_000, at - 10_000 if watermark is None else watermark)
        if not {"pressure", "temperature"} <= each["readings"].keys():
            continue
        found = class_of(each["readings"]["pressure"], each["readings"]["temperature"])
        newest, before = state.get(machine, (at, -1))
        if at >= newest:
            state[machine] = at, found
            if found != before:
                changed[offset, 0] = machine, before, found
        start = at // HOUR_MS * HOUR_MS
        late = reached is not None and start + HOUR_MS <= reached
        if late:
            minute = reached // 60_000
            if told.get(machine, ())[:2] != (start, minute):
                told[machine] = start, minute, set()
            if found not in told[machine][2]:
                again[offset, 0] = machine, found, start
            told[machine][2].add(found)
        key = machine, "aurora", found, start
        count, of_late, first, last = counts.get(key, (0, 0, at, at))
        counts[key] = count + 1, of_late + late, min(first, at), max(last, at)
    return changed, again, counts


@given(streams, cuts, st.integers(1, 4))
def test_classes_changes_corrections_and_counts_are_those_of_the_rules_written_plainly(
    messages, at, merge_every
) -> None:
    changed, again, counts = plainly(messages)

    sink = folded(messages, RULES, at, merge_every)

    assert {k: (r.machine_id, r.previous, r.requirement) for k, r in sink.requirements.items()} == changed
    assert {k: (r.machine_id, r.requirement, r.start_ms) for k, r in sink.recalculations.items()} == again
    assert sink.aggregates == counts
    for each in sink.requirements.values():
        assert each.rule_id == (f"default-{each.requirement}" if each.requirement else "")
        assert class_of(**each.readings) == each.requirement


@given(streams, cuts, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_restart_from_a_snapshot_gives_the_same(messages, at, snapshot_at, effects_at, windows_at) -> None:
    sink = resumed(messages, RULES, at, snapshot_at, Marks(effects_at, windows_at))

    assert_same(folded(messages, RULES), sink)


operands = st.sampled_from([1.0, 2.0, 3.0])
conditions = st.fixed_dictionaries(
    {"sensor": st.sampled_from(["a", "b", "c"]), "op": st.sampled_from(list(OPERATORS)), "value": operands}
)
bodies = st.fixed_dictionaries(
    {"class": st.integers(1, 5), "name": st.just("x"), "conditions": st.lists(conditions, min_size=1, max_size=3)}
)


def told(number: int, rule: str, body: dict, *, version: int = 1, removed: bool = False) -> Control:
    said = {"entity": "maintenance_rule", "id": rule, "version": version, "removed": removed, "body": body}
    return Control(number, METADATA, said | {"changed_ms": 0, "command_id": f"c{number}"})


@given(st.lists(bodies, min_size=1, max_size=6), st.dictionaries(st.sampled_from("abc"), operands, min_size=1))
def test_the_first_rule_by_class_and_id_whose_conditions_all_hold_decides(some: list[dict], found: dict) -> None:
    state = PartitionState()
    for number, body in enumerate(some):
        state.registry.apply(told(number, f"r{number}", body))
    matching = [
        (body["class"], f"r{number}")
        for number, body in enumerate(some)
        if all(c["sensor"] in found and OPERATORS[c["op"]](found[c["sensor"]], c["value"]) for c in body["conditions"])
    ]

    effects = fold(state, RecordBatch(SOURCE, "me", 0, 1, [record(0, message("m0", 0, **found))]), RULES, Marks())

    is_judged = any({c["sensor"] for c in body["conditions"]} <= found.keys() for body in some)
    decides = [min(matching, default=(0, ""))] if is_judged else []
    assert [(each.requirement, each.rule_id) for each in effects.requirements] == decides
    counts = counts_of(project(state, 0, 1, RULES).requirements)
    assert list(counts) == ([("m0", "aurora", min(matching, default=(0, ""))[0], START_MS)] if is_judged else [])


def test_the_defaults_hold_until_somebody_adds_a_rule_and_never_again() -> None:
    registry = Registry()
    assert rules_of(registry) == DEFAULT_RULES

    body = {"class": 2, "name": "x", "conditions": [{"sensor": "t", "op": ">", "value": 1}]}
    registry.apply(told(1, "hot", body))
    assert [(rule.id, rule.version, rule.requirement) for rule in rules_of(registry)] == [("hot", 1, 2)]

    registry.apply(told(2, "hot", body, version=2, removed=True))
    assert rules_of(registry) == ()
    assert CompiledRules(()).places(("t",)) == ((), False)


def test_a_rule_holds_from_the_next_message_on_in_a_state_that_has_seen_others() -> None:
    state = PartitionState()
    sent = [message("m0", n * 1000, temperature=60.0, pressure=7539.0, humidity=20.0) for n in range(3)]
    batches = [[record(n, each)] for n, each in enumerate(sent)]
    first = fold(state, RecordBatch(SOURCE, "me", 0, 1, batches[0]), RULES, Marks())
    warm = [{"sensor": "temperature", "op": ">=", "value": 60}, {"sensor": "humidity", "op": "<", "value": 50}]
    body = {"class": 3, "name": "Warm", "conditions": warm}
    state.registry.apply(told(1, "warm", body))

    second = fold(state, RecordBatch(SOURCE, "me", 1, 2, batches[1]), RULES, Marks())

    assert [(each.previous, each.requirement) for each in first.requirements] == [(-1, 0)]
    changed = [(each.requirement, each.rule_id, each.rule_version, each.name) for each in second.requirements]
    assert changed == [(3, "warm", 1, "Warm")]
    assert second.requirements[0].readings == {"temperature": 60.0, "humidity": 20.0}


def test_a_class_ends_with_the_next_message_when_its_rule_is_gone_and_only_then() -> None:
    state = PartitionState()
    warm = {"class": 3, "name": "Warm", "conditions": [{"sensor": "temperature", "op": ">=", "value": 60}]}
    other = warm | {"conditions": [{"sensor": "pressure", "op": ">", "value": 1}]}
    state.registry.apply(told(1, "warm", warm))
    state.registry.apply(told(2, "other", other))

    def changes(n: int, **readings: float) -> list[tuple[int, int, str]]:
        batch = RecordBatch(SOURCE, "me", n, n + 1, [record(n, message("m0", n * 1000, **readings))])
        return [(e.previous, e.requirement, e.rule_id) for e in fold(state, batch, RULES, Marks()).requirements]

    assert [each[1:] for each in changes(0, temperature=60.0)] == [(3, "warm")]
    assert changes(1, humidity=1.0) == []
    limit = warm | {"conditions": [{"sensor": "temperature", "op": ">=", "value": 61}]}
    state.registry.apply(told(3, "warm", limit, version=2))
    assert changes(2, humidity=1.0) == []
    state.registry.apply(told(4, "warm", limit, version=3, removed=True))
    assert changes(3, temperature=60.0) == [(3, 0, "")]
    assert changes(4, temperature=60.0) == []
    counts = counts_of(project(state, 0, 5, RULES).requirements)
    assert {key[2]: row[0] for key, row in counts.items()} == {3: 1}


def test_what_came_before_is_counted_and_changes_nothing() -> None:
    sink = folded(
        [
            message("m0", 10_000, temperature=60.0, pressure=7539.0),
            message("m0", 5_000, temperature=80.0, pressure=7700.0),
            message("m0", 20_000, temperature=60.0, pressure=7539.0),
        ],
        RULES,
        [1, 2],
    )

    assert [(at, each.previous, each.requirement) for at, each in sink.requirements.items()] == [((0, 0), -1, 0)]
    assert {key[2]: row[0] for key, row in sink.aggregates.items()} == {0: 2, 5: 1}


def test_a_machine_that_was_away_for_an_hour_tells_of_corrections_once_for_each_class_and_minute() -> None:
    clock = message("clock", 3 * HOUR_MS, temperature=60.0, pressure=7539.0)
    away = [message("m0", n * 1000, 3 * HOUR_MS, temperature=60.0 + 20 * (n % 2), pressure=7700.0) for n in range(100)]
    later = message("clock", 3 * HOUR_MS + 120_000, temperature=60.0, pressure=7539.0)

    sink = folded([clock, *away, later, away[0]], RULES, [40])

    assert [(o, r.requirement) for (o, _), r in sink.recalculations.items()] == [(1, 2), (2, 5), (102, 2)]
    assert sink.aggregates["m0", "aurora", 2, START_MS][:2] == (51, 51)


@settings(max_examples=30)
@given(streams, st.sampled_from(["m0", "m1"]), st.integers(0, 200))
def test_a_selection_keeps_what_is_wanted(messages: list[dict], machine: str, minute: int) -> None:
    records = records_of(messages)
    state = PartitionState()
    effects = fold(state, RecordBatch(SOURCE, "me", 0, len(records), records), RULES, Marks())
    unit = UnitOfWork(SOURCE, "me", 0, len(records), [effects], project(state, 0, len(records), RULES))
    since_ms = START_MS + minute * 60_000

    selected = Selection(machines=frozenset({machine}), since_ms=since_ms).of(unit, 30_000)

    for name in ("requirements", "recalculations"):
        found = getattr(effects, name)
        assert getattr(selected.effects[0], name) == [
            each for each in found if each.machine_id == machine and each.time_ms >= since_ms
        ]
    counts = counts_of(unit.projections.requirements)
    assert counts_of(selected.projections.requirements) == {
        key: row for key, row in counts.items() if key[0] == machine and key[3] >= since_ms
    }


def test_a_machine_that_moves_to_another_partition_has_the_class_that_it_is_judged_to_have_there() -> None:
    told_of = []
    for n, pressure in enumerate([7700.0, 7539.0]):
        sent = [record(0, message("m0", n * 1000 + k, temperature=60.0, pressure=pressure)) for k in range(2)]
        found = fold(PartitionState(), RecordBatch(SOURCE, "me", 0, 2, sent), RULES, Marks()).requirements
        told_of += [(each.previous, each.requirement) for each in found]

    assert told_of == [(-1, 2), (-1, 0)]


@pytest.mark.parametrize("count", [300, 3000])
def test_the_state_has_one_row_for_each_machine(count: int) -> None:
    state = PartitionState()
    messages = [message(f"m{n % 3}", n, temperature=60.0, pressure=7539.0) for n in range(count)]
    feed(MemorySink(), state, records_of(messages), [100], RULES)

    assert len(state.to_arrays()["requirements"]) == 3
    assert np.all(state.to_arrays()["requirements"]["requirement"] == 0)
