"""Rows taken in, block after block. R43."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.verifying.figures import Figures
from pipeline.verifying.intake import Intake
from pipeline.verifying.marks import Marks

TIME_MS = 1_800_000_000_000


def event(machine_id: str, said: str, offset: int) -> pa.Table:
    """Return a row of event as a block, with the machine its body names."""
    body = (
        f'{{"factory_id":"aurora","machine_id":"{said}","machine_type":"press","time":"2027-01-15T08:00:00Z",'
        f'"seq":{offset},"readings":{{"temperature":55.5}}}}'
    )
    numbers = {"source_partition": 0, "source_offset": offset, "source_index": 0, "event_ms": TIME_MS,
               "ingest_ms": TIME_MS, "latency_us": 5}  # fmt: skip
    return pa.table(
        {name: [value] for name, value in numbers.items()}
        | {
            "source_topic": pa.array(["t"]).dictionary_encode(),
            "machine_id": pa.array([machine_id]).dictionary_encode(),
        }
        | {"current": [True], "body": [body.encode()]}
    )


def test_a_row_with_a_false_machine_that_comes_first_spoils_no_other_of_the_machine_in_its_body(tmp_path: Path) -> None:
    figures = Figures()
    intake = Intake(tmp_path, 1, Marks.gather({}, [], []), figures, with_places=False)

    intake.take_events(event("press-9", "press-1", 0), with_bodies=True)
    intake.take_events(event("press-1", "press-1", 1), with_bodies=True)

    assert figures.total("unreadable") == 1
    assert figures.examples("unreadable") == ("unreadable t:0:0:0 press-9",)
    assert intake.events.take(0)["seq"].tolist() == [-1, 1]
    assert intake.values.take(0).tolist() == [55.5]
