"""Devices that fall silent (R17), told from the records alone. Seconds since the beginning; m is watched, n goes on."""

from __future__ import annotations

from pipeline.core.controls import METADATA, Control
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import RecordBatch
from pipeline.core.state import PartitionState
from tests.core.sinks import SOURCE, MemorySink, folded, records_of

BASE_MS = 1_790_000_000_000
RULES = FoldRules(silence_ms=45_000)


def message(machine: str, second: int, ingest: int | None = None) -> dict:
    ingest_ms = BASE_MS + 1000 * (second if ingest is None else ingest)
    return {
        "machine": machine,
        "time_ms": BASE_MS + second * 1000,
        "seq": -1,
        "ingest_ms": ingest_ms,
        "readings": {"t": 1.0},
    }


def silent(messages: list[dict], rules: FoldRules = RULES) -> list[tuple[str, int, float]]:
    """Return machine, offset and length of each silence."""
    found = folded(messages, rules).anomalies
    return [(machine, offset, value) for (offset, _, machine, _), (value, *_) in found.items()]


def going_on(*seconds: int) -> list[dict]:
    return [message("n", second) for second in seconds]


def test_a_machine_is_silent_once_when_the_watermark_is_45_s_beyond_its_last_message() -> None:
    assert silent([message("m", 0), *going_on(10, 54)]) == []
    assert silent([message("m", 0), *going_on(10, 30, 55, 56, 70, 90)]) == [("m", 3, 45.0)]


def test_the_score_is_how_many_times_as_long_as_it_may_be_nothing_came() -> None:
    anomalies = folded([message("m", 0), *going_on(30, 60, 90, 100)], RULES).anomalies

    assert anomalies == {(2, 0, "m", "device_silent"): (50.0, 45.0, 50 / 45)}


def test_a_silence_ends_with_the_next_message_and_there_may_be_another() -> None:
    sink = folded([message("m", 0), *going_on(30, 60), message("m", 61), *going_on(90, 120)], RULES)

    assert [(machine, offset) for offset, _, machine, _ in sink.anomalies] == [("m", 2), ("m", 5)]
    assert (sink.machines["m"]["silent"], sink.machines["n"]["silent"]) == (True, False)
    assert not folded([message("m", 0), *going_on(30, 60), message("m", 61)], RULES).machines["m"]["silent"]


def test_a_device_whose_messages_are_late_or_whose_clock_is_slow_is_not_silent() -> None:
    times = range(0, 300, 5)

    assert silent([each for at in times for each in (message("n", at + 120), message("m", at, ingest=at + 120))]) == []


def test_a_clock_that_is_ahead_hides_no_silence() -> None:
    messages = [message("m", 3000, ingest=0), *going_on(*range(0, 80, 10))]

    assert [machine for machine, *_ in silent(messages)] == ["m"]


def test_a_silence_is_not_of_the_time_that_a_clock_shows_which_is_ahead() -> None:
    messages = [message("m", 0), *going_on(30), message("n", 3600, ingest=60)]
    batch = RecordBatch(SOURCE, "owner", 0, 3, records_of(messages))

    (found,) = fold(PartitionState(), batch, RULES, Marks()).anomalies

    assert (found.time_ms, found.ingest_ms) == (BASE_MS + 60_000, BASE_MS + 60_000)
    assert found.message_ms == BASE_MS + 3_600_000


def test_a_machine_that_first_sends_within_a_batch_is_not_silent_before() -> None:
    assert silent([*going_on(0, 30, 60, 90), message("m", 91)]) == []


def test_nobody_is_silent_where_that_is_switched_off() -> None:
    assert silent([message("m", 0), *going_on(30, 60, 90)], FoldRules()) == []


def test_a_machine_that_is_disabled_or_removed_is_not_told_of() -> None:
    for said in ({"removed": False, "body": {"status": "disabled"}}, {"removed": True, "body": {}}):
        state, sink = PartitionState(), MemorySink()
        records = records_of([message("m", 0), *going_on(30, 60)])
        sink.store(fold(state, RecordBatch(SOURCE, "owner", 0, 1, records[:1]), RULES, Marks()))
        body = {"entity": "machine", "id": "m", "version": 1, "changed_ms": 0, "command_id": "c"} | said
        state.registry.apply(Control(1, METADATA, body))

        sink.store(fold(state, RecordBatch(SOURCE, "owner", 1, 3, records[1:]), RULES, Marks()))

        assert sink.anomalies == {}
