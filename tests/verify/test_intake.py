"""Rows taken in, block after block. R43."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.verifying.figures import Figures
from pipeline.verifying.intake import Intake
from pipeline.verifying.marks import Marks
from tests.core.raw_messages import maintenance, raw

TIME_MS = 1_800_000_000_000


def telemetry(said: str, offset: int) -> bytes:
    return (
        f'{{"factory_id":"aurora","machine_id":"{said}","machine_type":"press","time":"2027-01-15T08:00:00Z",'
        f'"seq":{offset},"readings":{{"temperature":55.5}}}}'
    ).encode()


def event(machine_id: str, body: bytes, offset: int, event_type: str = "Telemetry Ingest") -> pa.Table:
    """Return a row of event as a block."""
    numbers = {"source_partition": 0, "source_offset": offset, "source_index": 0, "event_ms": TIME_MS,
               "ingest_ms": TIME_MS, "latency_us": 5}  # fmt: skip
    return pa.table(
        {name: [value] for name, value in numbers.items()}
        | {
            "source_topic": pa.array(["t"]).dictionary_encode(),
            "machine_id": pa.array([machine_id]).dictionary_encode(),
        }
        | {"current": [True], "body": [body], "event_type": pa.array([event_type]).dictionary_encode()}
    )


def test_a_row_with_a_false_machine_that_comes_first_spoils_no_other_of_the_machine_in_its_body(tmp_path: Path) -> None:
    figures = Figures()
    intake = Intake(tmp_path, 1, Marks.gather({}, [], []), figures, with_places=False)

    intake.take_events(event("press-9", telemetry("press-1", 0), 0), with_bodies=True)
    intake.take_events(event("press-1", telemetry("press-1", 1), 1), with_bodies=True)

    assert figures.total("unreadable") == 1
    assert figures.examples("unreadable") == ("unreadable t:0:0:0 press-9",)
    assert intake.events.take(0)["seq"].tolist() == [-1, 1]
    assert intake.values.take(0).tolist() == [55.5]


def test_a_fact_is_read_by_the_type_of_its_event_and_has_no_part_in_windows(tmp_path: Path) -> None:
    figures = Figures()
    intake = Intake(tmp_path, 1, Marks.gather({}, [], []), figures, with_places=True)
    fact = raw(maintenance(machine_id="press-1", time="2027-01-15T08:00:00Z", type=...))

    intake.take_events(event("press-1", fact, 0, "Maintenance performed"), with_bodies=True)
    intake.take_events(event("press-1", telemetry("press-1", 1), 1), with_bodies=True)
    intake.take_events(event("press-2", fact, 2, "Maintenance performed"), with_bodies=True)
    intake.take_events(event("press-1", fact, 3), with_bodies=True)

    assert figures.examples("unreadable") == ("unreadable t:0:2:0 press-2", "unreadable t:0:3:0 press-1")
    rows = intake.events.take(0)
    assert rows["fact"].tolist() == [True, False, True, False]
    assert rows["seq"].tolist() == [-1, 1, -1, -1]
    assert intake.values.take(0).tolist() == [55.5]
