"""R40: limits of a replay leave out results, and change nothing of the others."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import Marks, fold, project
from pipeline.core.records import RecordBatch
from pipeline.core.selection import Selection
from pipeline.core.state import PartitionState
from tests.core.sinks import SOURCE, record
from tests.core.test_fold_laws import BASE_MS, RULES, streams

MINUTE = 60_000
ids = st.frozensets(st.sampled_from(["m0", "m1", "m2", "nobody"]), max_size=2)
factories = st.frozensets(st.sampled_from(["aurora", "borealis"]), max_size=2)
instants = st.one_of(st.none(), st.integers(0, 400).map(lambda s: BASE_MS + s * 1000))
selections = st.builds(Selection, factories, ids, instants, instants)


def unit_of(messages: list[dict]) -> UnitOfWork:
    records = [record(i, m) for i, m in enumerate(messages)]
    state = PartitionState()
    effects = fold(state, RecordBatch(SOURCE, "me", 0, len(records), records), RULES, Marks())
    return UnitOfWork(SOURCE, "me", 0, len(records), [effects], project(state, 0, len(records), RULES.window))


@given(streams, selections)
def test_what_is_wanted_is_kept_as_it_is_and_nothing_else(messages: list[dict], selection: Selection) -> None:
    unit = unit_of(messages)

    selected = selection.of(unit, MINUTE)

    def is_in(first: int, last: int) -> bool:
        after = selection.since_ms is None or first >= selection.since_ms
        return after and (selection.until_ms is None or last < selection.until_ms)

    def is_of(machine: str) -> bool:
        return machine in (selection.machines or {machine}) and "aurora" in (selection.factories or {"aurora"})

    (all_of,), (some,) = unit.effects, selected.effects
    events = [
        (offset, body)
        for offset, at, machine, body in zip(
            all_of.events.offsets.tolist(),
            all_of.events.times_ms.tolist(),
            all_of.events.machine_ids,
            all_of.events.bodies,
            strict=True,
        )
        if is_in(at, at) and is_of(machine)
    ]
    assert list(zip(some.events.offsets.tolist(), some.events.bodies, strict=True)) == events
    assert some.anomalies == [a for a in all_of.anomalies if is_in(a.time_ms, a.time_ms) and is_of(a.machine_id)]
    assert some.facts == [f for f in all_of.facts if is_in(f.time_ms, f.time_ms) and is_of(f.machine_id)]
    is_owned = selection.machines or selection.factories
    assert some.dead_letters == [
        letter for letter in all_of.dead_letters if not is_owned and is_in(letter.record_ms, letter.record_ms)
    ]
    assert unit.projections is not None
    assert selected.projections is not None
    rows, kept = unit.projections.windows, selected.projections.windows
    windows = [
        (start, machine, delta.tobytes())
        for start, machine, delta in zip(rows.starts_ms.tolist(), rows.machine_ids, rows.deltas, strict=True)
        if is_in(start, start + MINUTE - 1) and is_of(machine)
    ]
    found = zip(kept.starts_ms.tolist(), kept.machine_ids, kept.deltas, strict=True)
    assert [(start, machine, delta.tobytes()) for start, machine, delta in found] == windows
    is_timed = selection.since_ms is not None or selection.until_ms is not None
    machines = [] if is_timed else [m for m in unit.projections.machines if is_of(m.machine_id)]
    assert selected.projections.machines == machines


@given(streams, selections)
def test_the_marks_move_past_what_is_left_out(messages: list[dict], selection: Selection) -> None:
    unit = unit_of(messages)

    selected = selection.of(unit, MINUTE)

    assert (selected.source, selected.owner, selected.expected, selected.next, selected.checksum) == (
        unit.source,
        unit.owner,
        unit.expected,
        unit.next,
        unit.checksum,
    )
    assert unit.projections is not None
    assert selected.projections is not None
    for name in ("expected", "next", "watermark_ms"):
        assert getattr(selected.projections, name) == getattr(unit.projections, name)


@given(streams)
def test_without_limits_a_unit_of_work_is_the_one_that_came(messages: list[dict]) -> None:
    unit = unit_of(messages)

    assert Selection().of(unit, MINUTE) is unit
    assert Selection.from_options({"cold": True}) == Selection()


def test_limits_come_from_the_options_of_a_replay() -> None:
    options = {"machines": ["a", "b"], "factories": None, "since_ms": 5, "until_ms": None, "rate": 0}

    assert Selection.from_options(options) == Selection(machines=frozenset("ab"), since_ms=5)
