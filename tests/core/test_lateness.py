"""Late and very late readings, and whose clock decides (R13, R14)."""

from __future__ import annotations

from pipeline.core.fold import FoldRules
from pipeline.core.state import PartitionState
from tests.core.sinks import MemorySink, feed, folded, records_of
from tests.core.test_fold_laws import BASE_MS

START_MS = BASE_MS // 60_000 * 60_000
HOUR_MS = 3_600_000


def message(machine: str, at_ms: int, ingest_ms: int | None = None) -> dict:
    time_ms = START_MS + at_ms
    ingested = time_ms if ingest_ms is None else START_MS + ingest_ms
    return {"machine": machine, "time_ms": time_ms, "seq": -1, "ingest_ms": ingested, "readings": {"t": 1.0}}


def test_honest_readings_beside_a_device_whose_clock_is_ahead_are_on_time() -> None:
    ahead = [message("ahead", at + 50 * 60_000, ingest_ms=at) for at in range(0, 100_000, 10_000)]
    honest = [message("honest", at) for at in range(0, 100_000, 10_000)]

    sink = folded([each for pair in zip(ahead, honest, strict=True) for each in pair], FoldRules())

    assert sink.machines["honest"]["messages"] == 10
    assert {machine: counts["late"] for machine, counts in sink.machines.items()} == {"ahead": 0, "honest": 0}


def test_idle_machines_do_not_hold_the_watermark_back() -> None:
    state, sink = PartitionState(), MemorySink()
    messages = [message("idle", 0), *(message("busy", at) for at in range(0, HOUR_MS, 60_000))]

    feed(sink, state, records_of(messages), [], FoldRules())

    assert state.watermark_ms == START_MS + HOUR_MS - 60_000 - 10_000


def test_a_reading_is_late_when_its_window_was_complete_and_very_late_after_the_allowed_lateness() -> None:
    reached = message("m", 10_000_000)  # so the watermark stands at 9,990 s, where a window ends
    starts = {"on time": 9_990_000, "late": 9_960_000, "just late": 2_790_000, "very late": 2_760_000}

    found = {}
    for what, start_ms in starts.items():
        counts = folded([reached, message("m", start_ms + 29_999)], FoldRules()).machines["m"]
        found[what] = counts["late"], counts["very_late"]

    assert found == {"on time": (0, 0), "late": (1, 0), "just late": (1, 0), "very late": (1, 1)}


def test_readings_that_are_very_late_count_all_the_same() -> None:
    rules = FoldRules(allowed_lateness_ms=60_000)

    sink = folded([message("m", 0), message("m", 200_000), message("m", 100), message("m", 100_000)], rules)

    rows = sink.window_rows()
    (first, third, last) = (rows["m", "t", (START_MS + at) // 30_000] for at in (0, 90_000, 200_000))
    assert (first["count"], first["late"], first["very_late"]) == (2, 1, 1)
    assert (third["count"], third["late"], third["very_late"]) == (1, 1, 1)
    assert (last["count"], last["late"], last["very_late"]) == (1, 0, 0)
    assert sink.machines["m"]["very_late"] == 2
