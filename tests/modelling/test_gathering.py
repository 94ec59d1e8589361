"""What is gathered from stored events is what the fold gave a model in force, to the bit (R33)."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from pipeline.core.controls import PlacedControl
from pipeline.core.fold import FoldRules
from pipeline.core.records import Record, StoredEvents
from pipeline.core.ticks import tick
from pipeline.modelling.classed import ClassedMessages
from pipeline.modelling.gathering import Gathering, bare
from pipeline.modelling.labelled import MachineCycles, Maintenance, of_machine
from tests.core.prognosis.models_in_force import FEATURES, folded, maintained, partition, remaining_life, spoken_of
from tests.core.prognosis.test_predictions import BASE_MS, RULES, cycles, message, records_of
from tests.core.sinks import SOURCE

STARTS = [0, 100, 200, 300, 400, 500]
SENT = records_of(sorted([*cycles("m0", STARTS), *cycles("m1", STARTS, 80.0)], key=lambda each: each["time_ms"]))


def stored(records: list[Record]) -> StoredEvents:
    return StoredEvents.of((each.offset, 0, each.timestamp, each.value) for each in records)


def gathered(
    records: list[Record],
    known: list[Maintenance] | None = None,
    controls: list[PlacedControl] | None = None,
    machine_type: str = "stamping_press",
    rules: FoldRules = RULES,
) -> dict[str, MachineCycles]:
    gathering = Gathering(machine_type, FEATURES, bare(rules), of_machine(known or []))
    gathering.fold(SOURCE, [stored(records)], len(records), controls or [])
    assert gathering.messages == len(records)
    return gathering.cycles()


def failure(at_s: float, machine: str = "m0") -> Maintenance:
    return Maintenance(machine, BASE_MS + int(1000 * at_s), "failure", "seal")


def ages_s(cycles: MachineCycles) -> list[float]:
    return np.round(3600 * cycles.ages_h, 6).tolist()


@given(
    at=st.lists(st.integers(1, len(SENT)), max_size=3),
    repaired_s=st.lists(st.integers(0, 600), min_size=3, max_size=3),
    cuts=st.sets(st.integers(1, len(SENT) - 1), max_size=3),
)
@settings(max_examples=30)
def test_rows_are_what_a_live_model_was_given(at: list[int], repaired_s: list[int], cuts: set[int]) -> None:
    told = {0: [spoken_of(1, "live", remaining_life())]}
    placed = []
    for number, (offset, at_s) in enumerate(zip(sorted(at), repaired_s, strict=False)):
        control = maintained(10 + number, "m0", BASE_MS + 1000 * at_s)
        told.setdefault(offset, []).append(control)
        placed.append(PlacedControl(control, offset, number))
    live = folded(partition(), SENT, sorted(cuts), RULES, told)

    known = [failure(at_s) for at_s, _ in zip(repaired_s, at, strict=False)]
    for machine, found in gathered(SENT, known, placed).items():
        mine = [each for each in live if each.machine_id == machine]
        assert found.ends_ms.tolist() == [each.time_ms for each in mine]
        assert [tuple(row) for row in found.rows.tolist()] == [each.inputs for each in mine]
        assert found.ages_h.tolist() == [each.inputs[3] for each in mine]


def test_maintenance_of_which_no_control_record_told_begins_a_life_where_it_was() -> None:
    found = gathered(SENT, [failure(250.0), failure(450.0), failure(120.0, "m1"), failure(1.0, "another")])

    assert ages_s(found["m0"]) == [20, 40, 60, 20, 40]
    # The second cycle ended at that very time
    assert ages_s(found["m1"]) == [20, 40, 20, 40, 60]


def test_that_somebody_only_looked_begins_no_life() -> None:
    known = [failure(250.0)._replace(kind="planned", requirement=0)]

    assert ages_s(gathered(SENT, known)["m0"]) == [20, 40, 60, 80, 100]


def test_more_maintenance_than_may_lie_ahead_is_made_known_in_time() -> None:
    starts = [float(100 * n) for n in range(1500)]
    records = records_of(cycles("m0", starts))
    known = [failure(100 * n + 50.0) for n in range(0, 1500, 50)]
    found = gathered(records, known)["m0"]

    assert ages_s(found)[:50] == [20, *range(20, 1000, 20)]
    assert max(ages_s(found)) == 1000
    assert ages_s(found).count(20) == 31


def test_a_machine_of_another_type_is_not_gathered_and_neither_are_cycles_that_go_on() -> None:
    assert gathered(SENT, machine_type="lathe") == {}
    assert gathered(SENT[:4]) == {}


def test_what_a_tick_behind_the_last_message_closed_is_gathered() -> None:
    placed = [PlacedControl(tick(1, BASE_MS + 900_000), len(SENT), 0)]

    assert ages_s(gathered(SENT, controls=placed)["m0"]) == [20, 40, 60, 80, 100, 120]


def test_messages_that_records_say_the_class_of_are_kept() -> None:
    classed = ClassedMessages([failure(105.0)._replace(requirement=3), failure(300.0), failure(50.0, "m2")])
    records = records_of([message("m0", 100, 1.0), message("m0", 106, 2.0), message("m1", 104, 3.0)])
    gathering = Gathering("stamping_press", (), bare(RULES), {}, classed)
    gathering.fold(SOURCE, [stored(records)], 3)

    assert [(record.requirement, body) for record, body in classed.labelled()] == [(3, records[0].value)]
