"""What models in force say while records are folded (R25, R27, R29, R30, R32), and the laws for it."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from structlog.testing import capture_logs

from pipeline.core.controls import MAINTAINED, Control, PlacedControl
from pipeline.core.errors import ModelRefused
from pipeline.core.fold import FoldRules, Marks
from pipeline.core.predictions import Prediction
from pipeline.core.prognosis import artefacts, kinds
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.records import Record, RecordBatch
from pipeline.core.ticks import tick
from tests.core.prognosis.models_in_force import (
    FEATURES,
    folded,
    maintained,
    maintenance_class,
    partition,
    remaining_life,
    restored,
    spoken_of,
)
from tests.core.raw_messages import maintenance
from tests.core.sinks import SOURCE, records_of

BASE_MS = 1_790_000_000_000 // 60_000 * 60_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
RULES = FoldRules(silence_ms=45_000)


def message(machine: str, at_s: float, temperature: float, pressure: float = 7500.0, factory: str = "aurora") -> dict:
    at_ms = BASE_MS + int(at_s * 1000)
    readings = {"temperature": temperature, "pressure": pressure}
    return {
        "machine": machine,
        "factory": factory,
        "time_ms": at_ms,
        "seq": -1,
        "ingest_ms": at_ms,
        "readings": readings,
    }


def cycles(machine: str, starts_s: list[float], temperature: float = 60.0) -> list[dict]:
    """Three messages in 20 s from each of some moments: cycles, if they are more than 30 s apart."""
    return [message(machine, start + step, temperature + step / 10) for start in starts_s for step in (0, 10, 20)]


def said(predictions: list[Prediction], kind: str = "remaining_life") -> list[Prediction]:
    return [each for each in predictions if each.model.kind == kind]


def test_a_cycle_that_ends_is_answered_by_the_live_model_with_what_it_was_given() -> None:
    model = remaining_life()
    records = records_of(cycles("m0", [0, 100, 200]))
    found = said(folded(partition(), records, [], RULES, {0: [spoken_of(1, "live", model, 7)]}))
    assert [(each.offset, each.machine_id, each.factory_id) for each in found] == [
        (3, "m0", "aurora"),
        (6, "m0", "aurora"),
    ]
    first, second = found
    assert first.time_ms == BASE_MS + 20_000
    assert first.message_ms == BASE_MS + 100_000
    assert (first.model.model_id, first.model.version, first.model.stage) == (7, 7, "live")
    # Mean 61, slow and fast alike so far, largest 62, 20 s of age
    assert first.inputs == pytest.approx((61.0, 0.0, 62.0, 20 / 3600, np.log1p(20 / 3600)))
    assert second.inputs[3] == pytest.approx(40 / 3600)
    for each in found:
        estimates = model.predict(np.array([each.inputs]))
        assert (each.value, each.lower, each.upper) == (
            estimates.points[0],
            estimates.lower[0],
            estimates.upper[0],
        )
        assert 0 <= each.lower <= each.value <= each.upper
    # 40 s of 120 s since the life began
    assert second.hours_per_day == pytest.approx(8.0)


def test_a_cycle_ends_too_when_the_others_time_or_a_tick_has_left_it_behind() -> None:
    told = {0: [spoken_of(1, "live", remaining_life())]}
    records = records_of([*cycles("m0", [0]), message("m1", 300, 50.0)])
    left_behind = said(folded(partition(), records, [], RULES, told))
    assert [(each.offset, each.machine_id, each.time_ms) for each in left_behind] == [(3, "m0", BASE_MS + 20_000)]
    owned = partition()
    folded(owned, records_of(cycles("m0", [0])), [], RULES, told)
    assert owned.tick(BASE_MS + 300_000, RULES)
    by_tick = said([each for effects in owned.pending for each in effects.predictions])
    assert [(each.offset, each.machine_id) for each in by_tick] == [(2, "m0")]
    assert by_tick[0].index >= 2**30
    assert (by_tick[0].value, by_tick[0].inputs) == (left_behind[0].value, left_behind[0].inputs)


def test_shadows_are_asked_too_and_a_promotion_takes_the_place_of_the_live_one_alone() -> None:
    first, second, third = (remaining_life(seed) for seed in range(3))
    records = records_of(cycles("m0", [0, 100, 200, 300, 400]))
    told = {
        0: [spoken_of(1, "live", first, 1), spoken_of(2, "shadow", second, 2), spoken_of(3, "shadow", third, 3)],
        6: [spoken_of(4, "live", second, 2)],
        9: [spoken_of(5, "out", third, 3)],
        12: [spoken_of(6, "live", first, 1)],
    }
    found = said(folded(partition(), records, [], RULES, told))
    stages: dict[int, list[tuple[int, str]]] = {}
    for each in found:
        stages.setdefault(each.offset, []).append((each.model.model_id, each.model.stage))
    assert stages == {
        3: [(1, "live"), (2, "shadow"), (3, "shadow")],
        6: [(3, "shadow"), (2, "live")],
        9: [(2, "live")],
        12: [(1, "live")],
    }
    assert len({each.value for each in found if each.offset == 3}) == 3


def test_machines_of_another_type_are_not_asked_about() -> None:
    told = {0: [spoken_of(1, "live", remaining_life(), machine_type="pump")]}
    assert folded(partition(), records_of(cycles("m0", [0, 100])), [], RULES, told) == []


def test_no_life_is_kept_and_nothing_predicted_where_prognosis_is_off() -> None:
    owned = partition()
    told = {0: [spoken_of(1, "live", remaining_life()), spoken_of(2, "live", maintenance_class(7600), 2)]}
    assert folded(owned, records_of(cycles("m0", [0, 100])), [], FoldRules(predicts=False), told) == []
    assert owned.state.prognosis.lives.lives.used == 0


def test_a_sensor_that_the_machine_does_not_have_is_missing_and_most_of_them_give_no_answer() -> None:
    wanted = ("humidity.fast", "humidity.last", "humidity.quick", "temperature.last")
    told = {0: [spoken_of(1, "live", remaining_life(0, wanted))]}
    assert folded(partition(), records_of(cycles("m0", [0, 100])), [], RULES, told) == []


@pytest.mark.parametrize("damage", ["bytes", "hash", "kind", "missing"])
def test_a_model_that_is_not_what_was_promoted_is_refused_by_one_line_and_the_rest_goes_on(damage: str) -> None:
    good, owned = spoken_of(1, "live", remaining_life()), partition()
    changes: dict[str, dict[str, object]] = {
        "bytes": {"artefact": good.body["artefact"] + b"x"},
        "hash": {"sha256": "0" * 64},
        "kind": {"artefact": b"nothing"},
        "missing": {"artefact": b""},
    }
    told = {3: [good._replace(id=2, body={**good.body, "model_id": 2, **changes[damage]})]}
    records = records_of(cycles("m0", [0, 100, 200]))
    with capture_logs() as logged:
        assert folded(owned, records, [], RULES, told) == []
    assert sum(len(effects.events) for effects in owned.pending) == len(records)
    assert owned.state.registry.applied == 1
    assert [(each["event"], each["position"], each["log_level"]) for each in logged] == [("model.refused", 3, "error")]
    assert logged[0]["reason"].startswith("model 2: ")
    assert "\n" not in logged[0]["reason"]


def test_of_more_shadows_than_there_may_be_the_oldest_gives_way() -> None:
    models = [remaining_life(seed) for seed in range(3)]
    told = {0: [spoken_of(n, "shadow", models[n % 3], n) for n in range(1, 7)]}
    found = said(folded(partition(), records_of(cycles("m0", [0, 100])), [], RULES, told))
    assert [each.model.model_id for each in found] == [3, 4, 5, 6]


def test_a_life_begins_anew_with_maintenance_also_if_that_lies_ahead_or_comes_late() -> None:
    live = spoken_of(1, "live", remaining_life())
    records = records_of(cycles("m0", [0, 100, 200, 300, 400]))

    def ages(at: int, time_s: float) -> list[float]:
        told = {0: [live]} | {at: [*([live] if at == 0 else []), maintained(2, "m0", BASE_MS + int(time_s * 1000))]}
        return [each.inputs[3] * 3600 for each in said(folded(partition(), records, [], RULES, told))]

    assert ages(0, -1000) == pytest.approx([20, 40, 60, 80])
    # Heard of between the second and the third cycle, where it is of; and before the first was folded
    assert ages(6, 150) == pytest.approx([20, 40, 20, 40])
    assert ages(3, 150) == pytest.approx([20, 40, 20, 40])
    # Heard of before anything came from the machine
    assert ages(0, 150) == pytest.approx([20, 40, 20, 40])
    # Heard of one and two cycles late: what was said is said
    assert ages(9, 150) == pytest.approx([20, 40, 20, 40])
    assert ages(12, 150) == pytest.approx([20, 40, 60, 40])
    # Late, within the second cycle, 10 s before its end
    assert ages(12, 110) == pytest.approx([20, 40, 60, 50])
    # Within the third cycle, 10 s before its end: what is left of it is the new life's
    assert ages(3, 210) == pytest.approx([20, 40, 10, 30])


def test_maintenance_of_another_machine_or_before_the_present_life_changes_nothing() -> None:
    live, records = spoken_of(1, "live", remaining_life()), records_of(cycles("m0", [0, 100, 200]))
    alone = folded(partition(), records, [], RULES, {0: [live]})
    for control in (maintained(2, "m9", BASE_MS + 150_000), maintained(2, "m0", BASE_MS - 1)):
        assert folded(partition(), records, [], RULES, {0: [live], 6: [control]}) == alone


@pytest.mark.parametrize(
    "body",
    [{}, {"machine_id": 7, "time_ms": 5}, {"machine_id": "m0", "time_ms": "5"}, {"machine_id": "m0", "time_ms": -1}],
)
def test_maintenance_of_nobody_or_at_no_time_is_refused_by_one_line(body: dict) -> None:
    owned, live = partition(), spoken_of(1, "live", remaining_life())
    records = records_of(cycles("m0", [0, 100]))
    with capture_logs() as logged:
        found = folded(owned, records, [], RULES, {0: [live], 3: [Control(9, MAINTAINED, body)]})
    assert len(said(found)) == 1
    assert [each["reason"] for each in logged] == ["control record 9 says of no machine when it was maintained"]


def test_a_model_is_asked_of_nothing_where_no_telemetry_has_come() -> None:
    told = {0: [spoken_of(1, "live", maintenance_class(7550)), spoken_of(2, "live", remaining_life(), 2)]}
    facts = [Record(n, BASE_MS, orjson.dumps(maintenance())) for n in range(2)]
    owned = partition()
    assert folded(owned, [*facts, Record(2, BASE_MS, b"{")], [], RULES, told) == []
    owned.fold(RecordBatch(SOURCE, "owner", 3, 9, []), RULES)
    again = partition(restored(owned), 9)
    again.fold(RecordBatch(SOURCE, "owner", 9, 12, []), RULES)
    assert folded(again, [*[facts[0]] * 12, facts[1]._replace(offset=12)], [], RULES) == []


def test_a_shadow_that_becomes_live_says_everything_anew() -> None:
    records = records_of([message("m0", n, 60.0, 7500) for n in range(4)])
    told = {0: [spoken_of(1, "shadow", maintenance_class(7550))], 2: [spoken_of(2, "live", maintenance_class(7550))]}
    found = folded(partition(), records, [], RULES, told)
    assert [(each.offset, each.model.stage) for each in found] == [(0, "shadow"), (2, "live")]


def test_a_model_of_features_that_nobody_computes_is_refused_when_it_is_read() -> None:
    model = remaining_life(0, ("temperature.last", "temperature.speed", "age"))
    stored = artefacts.encode(model, FEATURE_VERSION)
    with pytest.raises(ModelRefused, match=r"there is no feature 'temperature.speed'"):
        kinds.read(stored, artefacts.digest(stored))


def test_a_class_is_told_when_it_changes_or_agrees_with_the_rules_where_it_did_not() -> None:
    # The rules ask for class 2 above 7600 where it is neither cold nor hot; the model from 7550 on
    pressures = [7500, 7560, 7570, 7610, 7620, 7500, 7500]
    records = records_of([message("m0", n, 60.0, pressure) for n, pressure in enumerate(pressures)])
    told = {0: [spoken_of(1, "live", maintenance_class(7550), 3)]}
    found = said(folded(partition(), records, [], RULES, told), "maintenance_class")
    assert [(each.offset, each.label, each.by_rules, each.value, each.inputs) for each in found] == [
        (0, "0", "0", 0.9, (7500.0,)),
        (1, "2", "0", 0.75, (7560.0,)),
        (3, "2", "2", 0.75, (7610.0,)),
        (5, "0", "0", 0.9, (7500.0,)),
    ]


def test_a_message_from_before_the_newest_one_says_nothing_about_the_present_class() -> None:
    records = records_of(
        [message("m0", 100, 60.0, 7500), message("m0", 50, 60.0, 7700), message("m0", 101, 60.0, 7500)]
    )
    told = {0: [spoken_of(1, "live", maintenance_class(7550))]}
    assert [each.offset for each in folded(partition(), records, [], RULES, told)] == [0]


def test_a_model_in_force_goes_on_where_another_one_comes_and_what_comes_back_begins_anew() -> None:
    records = records_of([message("m0", n, 60.0, 7500) for n in range(6)])
    told = {
        0: [spoken_of(1, "live", maintenance_class(7550), 1)],
        2: [spoken_of(2, "shadow", maintenance_class(7560), 2)],
        3: [spoken_of(3, "out", maintenance_class(7550), 1)],
        5: [spoken_of(4, "live", maintenance_class(7550), 1)],
    }
    found = folded(partition(), records, [], RULES, told)
    assert [(each.offset, each.model.model_id) for each in found] == [(0, 1), (2, 2), (5, 1)]


messages = st.lists(
    st.builds(
        message,
        st.sampled_from(["m0", "m1", "m2"]),
        st.integers(0, 900),
        st.floats(-100, 200),
        st.sampled_from([7400.0, 7500.0, 7580.0, 7650.0]),
        st.sampled_from(["aurora", "borealis"]),
    ),
    max_size=50,
)
decisions = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from(["live", "shadow", "out", "maintained"]),
        st.integers(0, 3),
        st.integers(0, 900),
    ),
    max_size=8,
)
cuts = st.lists(st.integers(0, 50), max_size=10)
HOT = [message("m0", 0, 60.0), message("m1", 40, 61.0, factory="borealis"), message("m0", 100, 70.0, 7650.0)]


def controls_at(decided: list[tuple[int, str, int, int]], end: int) -> dict[int, list]:
    told: dict[int, list] = {}
    models = [remaining_life(0), remaining_life(1), maintenance_class(7550), maintenance_class(7600)]
    for number, (at, action, which, at_s) in enumerate(decided, 1):
        if action == "maintained":
            control = maintained(number, f"m{which}", BASE_MS + at_s * 1000)
        else:
            control = spoken_of(number, action, models[which], which + 1)
        told.setdefault(min(at, end), []).append(control)
    return told


@settings(max_examples=60)
@given(messages, decisions, cuts)
@example(HOT, [(0, "live", 0, 0), (0, "shadow", 1, 0), (2, "maintained", 0, 30)], [1, 2])
@example(cycles("m0", [0, 100, 200, 300, 400]), [(0, "live", 0, 0), (10, "maintained", 0, 110)], [8, 11])
@example([*HOT, *HOT[::-1]], [(0, "live", 2, 0), (3, "shadow", 3, 0), (3, "live", 1, 0)], [3])
def test_laws_2_and_3_batches_restarts_and_recorded_places_change_no_prediction(
    stream: list[dict], decided: list[tuple[int, str, int, int]], cut_at: list[int]
) -> None:
    records = records_of(stream)
    end = len(records)
    told = controls_at(decided, end)
    whole = partition()
    expected = folded(whole, records, [], RULES, told)
    assert folded(partition(), records, range(end), RULES, told) == expected
    assert folded(partition(), records, cut_at, RULES, told) == expected
    places = [each for effects in whole.pending for each in effects.controls]
    for stop in cut_at:
        # Stopped somewhere, a snapshot from there, and another one goes on with the places that were recorded
        stopped = partition()
        before = folded(stopped, records[: min(stop, end)], cut_at, RULES, {p: c for p, c in told.items() if p < stop})
        goes_on = partition(restored(stopped), stopped.position, Marks(effects=stopped.position))
        applied = goes_on.state.registry.applied
        goes_on.recorded.extend(each for each in places if each.ordinal >= applied)
        goes_on.known.update(each.control.id for each in places)
        goes_on.move_to(goes_on.position, RULES)
        assert before + folded(goes_on, records, [], RULES) == expected


def test_who_folds_again_has_only_the_predictions_that_the_sink_lacks() -> None:
    records, live = records_of(cycles("m0", [0, 100, 200, 300])), spoken_of(1, "live", remaining_life())
    expected = folded(partition(), records, [], RULES, {0: [live]})
    again = partition(marks=Marks(effects=7, controls=1))
    again.recorded.append(PlacedControl(live, 0, 0))
    again.move_to(0, RULES)
    assert folded(again, records, [], RULES) == [each for each in expected if each.offset >= 7]


def test_a_tick_that_was_recorded_says_the_same_again() -> None:
    live, records = spoken_of(1, "live", remaining_life()), records_of(cycles("m0", [0]))
    places = [PlacedControl(live, 0, 0), PlacedControl(tick(2**62, BASE_MS + 300_000), 3, 1)]
    found = []
    for cut_at in ([], [1, 2]):
        owned = partition()
        owned.recorded.extend(places)
        owned.move_to(0, RULES)
        found.append(folded(owned, records, cut_at, RULES))
    assert found[0] == found[1]
    assert len(found[0]) == 1
    assert len(FEATURES) == len(found[0][0].inputs)
