"""R40: limits of a replay leave out results, and change nothing of the others."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import Marks, fold, project
from pipeline.core.records import RecordBatch
from pipeline.core.selection import Selection
from pipeline.core.state import PartitionState
from tests.core.sinks import SOURCE, records_of
from tests.core.test_fold_laws import BASE_MS, RULES, streams

WINDOW_MS = RULES.window.size_ms
MINUTE_MS = 60_000
ids = st.frozensets(st.sampled_from(["m0", "m1", "m2", "nobody"]), max_size=2)
factories = st.frozensets(st.sampled_from(["aurora", "borealis"]), max_size=2)
instants = st.one_of(st.none(), st.integers(0, 400).map(lambda s: BASE_MS + s * 1000))
selections = st.builds(Selection, factories, ids, instants, instants)


def unit_of(messages: list[dict]) -> UnitOfWork:
    records = records_of(messages)
    state = PartitionState()
    effects = fold(state, RecordBatch(SOURCE, "me", 0, len(records), records), RULES, Marks())
    return UnitOfWork(SOURCE, "me", 0, len(records), [effects], project(state, 0, len(records), RULES))


@given(streams, selections)
def test_what_is_wanted_is_kept_as_it_is_and_nothing_else(messages: list[dict], selection: Selection) -> None:
    unit = unit_of(messages)

    selected = selection.of(unit, WINDOW_MS)

    def is_in(first: int, last: int) -> bool:
        after = selection.since_ms is None or first >= selection.since_ms
        return after and (selection.until_ms is None or last < selection.until_ms)

    def is_of(machine: str, factory: str) -> bool:
        return machine in (selection.machines or {machine}) and factory in (selection.factories or {factory})

    (all_of,), (some,) = unit.effects, selected.effects
    events = [
        (offset, body)
        for offset, at, machine, factory, body in zip(
            all_of.events.offsets.tolist(),
            all_of.events.times_ms.tolist(),
            all_of.events.machine_ids,
            all_of.events.factory_ids,
            all_of.events.bodies,
            strict=True,
        )
        if is_in(at, at) and is_of(machine, factory)
    ]
    assert list(zip(some.events.offsets.tolist(), some.events.bodies, strict=True)) == events
    for kept, of in ((some.anomalies, all_of.anomalies), (some.facts, all_of.facts)):
        assert kept == [x for x in of if is_in(x.time_ms, x.time_ms) and is_of(x.machine_id, x.factory_id)]
    is_owned = selection.machines or selection.factories
    assert some.dead_letters == [
        letter for letter in all_of.dead_letters if not is_owned and is_in(letter.record_ms, letter.record_ms)
    ]
    assert unit.projections is not None
    assert selected.projections is not None
    rows, kept_rows = unit.projections.windows, selected.projections.windows
    windows = [
        (start, machine, delta.tobytes())
        for start, machine, factory, delta in zip(
            rows.starts_ms.tolist(), rows.machine_ids, rows.factory_ids, rows.deltas, strict=True
        )
        if is_in(start, start + WINDOW_MS - 1) and is_of(machine, factory)
    ]
    found = zip(kept_rows.starts_ms.tolist(), kept_rows.machine_ids, kept_rows.deltas, strict=True)
    assert [(start, machine, delta.tobytes()) for start, machine, delta in found] == windows
    is_timed = selection.since_ms is not None or selection.until_ms is not None
    machines = [] if is_timed else [m for m in unit.projections.machines if is_of(m.machine_id, m.factory_id)]
    assert selected.projections.machines == machines
    of_factories, kept_factories = unit.projections.factories, selected.projections.factories
    assert kept_factories.starts_ms.tolist() == [
        start
        for start, factory in zip(of_factories.starts_ms.tolist(), of_factories.factory_ids, strict=True)
        if not selection.machines and is_of("any", factory) and is_in(start, start + MINUTE_MS - 1)
    ]
    cycles = [] if is_timed else [cycle for cycle in cycles_of(unit) if is_of(*cycle[:2])]
    assert cycles_of(selected) == cycles


def cycles_of(unit: UnitOfWork) -> list[tuple[str, str, int, list[tuple[str, float]]]]:
    """Return machine, factory, start and readings' means of each fragment."""
    assert unit.projections is not None
    rows = unit.projections.cycles
    readings: dict[int, list[tuple[str, float]]] = {}
    for of, sensor, mean in zip(
        rows.closed.fragments.tolist(), rows.sensors, rows.closed.moments.mean.tolist(), strict=True
    ):
        readings.setdefault(of, []).append((sensor, mean))
    starts_ms = rows.closed.started_ms.tolist()
    fragments = zip(rows.machine_ids, rows.factory_ids, starts_ms, strict=True)
    return [(*fragment, readings[n]) for n, fragment in enumerate(fragments)]


@given(streams, selections)
def test_the_marks_move_past_what_is_left_out(messages: list[dict], selection: Selection) -> None:
    unit = unit_of(messages)

    selected = selection.of(unit, WINDOW_MS)

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

    assert Selection().of(unit, WINDOW_MS) is unit
    assert Selection.from_options({"cold": True}) == Selection()


def test_limits_come_from_the_options_of_a_replay() -> None:
    options = {"machines": ["a", "b"], "factories": None, "since_ms": 5, "until_ms": None, "rate": 0}

    assert Selection.from_options(options) == Selection(machines=frozenset("ab"), since_ms=5)
