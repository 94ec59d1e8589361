"""The ledger: what was acknowledged, complete rows only, whoever was killed when."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from simulator.ledger import COLUMNS, Ledger, LedgerRow, read
from simulator.messages import Message, Sent
from simulator.options import PlantOptions
from simulator.plant import Plant

READINGS = '{"temperature":99.00,"humidity":20.0}'


def record(seq: int | None = 3, messages: int = 1, kind: str = "sent", fault: str = "") -> Sent:
    said = tuple(
        Message("press-00001", "aurora", seq, 1_000 + at, (("temperature", "spike"),) if at == 0 else (), READINGS)
        for at in range(messages)
    )
    return Sent(b"press-00001", b"{}", (), kind, fault, 1_000, said)


def test_a_row_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.csv"
    with Ledger(path) as ledger:
        ledger.append(record(), 1_234, "telemetry.machine", 2, 77)

    (row,) = read(path)
    assert row == LedgerRow(
        topic="telemetry.machine",
        partition=2,
        offset=77,
        index=0,
        kind="sent",
        fault="",
        machine_id="press-00001",
        factory_id="aurora",
        seq=3,
        event_time_ms=1_000,
        sent_at_ms=1_234,
        anomalies=row.anomalies,
        readings=READINGS,
    )
    assert orjson.loads(row.anomalies) == [{"sensor": "temperature", "kind": "spike"}]


def test_an_array_has_a_row_per_message_and_a_device_without_seq_has_none(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.csv") as ledger:
        ledger.append(record(seq=None, messages=3), 0, "t", 0, 5)

    rows = list(read(tmp_path / "l.csv"))
    assert [(row.offset, row.index, row.event_time_ms, row.seq) for row in rows] == [
        (5, 0, 1_000, None),
        (5, 1, 1_001, None),
        (5, 2, 1_002, None),
    ]
    assert [row.anomalies for row in rows[1:]] == ["[]", "[]"]


def test_what_a_plant_sent_is_what_is_read(tmp_path: Path) -> None:
    options = PlantOptions(machines=9, messages=500, garbage_share=0.1, array_share=0.1, lab_share=0.3)
    records = list(Plant(options))
    with Ledger(tmp_path / "l.csv") as ledger:
        for offset, each in enumerate(records):
            ledger.append(each, 0, "t", 0, offset)

    expected = [
        (offset, index, each.kind, each.fault, m.machine_id, m.factory_id, m.seq, m.event_time_ms, m.readings)
        for offset, each in enumerate(records)
        for index, m in enumerate(each.messages)
    ]
    assert [
        (r.offset, r.index, r.kind, r.fault, r.machine_id, r.factory_id, r.seq, r.event_time_ms, r.readings)
        for r in read(tmp_path / "l.csv")
    ] == expected


def test_rows_are_seen_at_once_after_a_flush_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    with Ledger(path) as ledger:
        ledger.append(record(), 0, "t", 0, 0)
        assert list(read(path)) == []

        ledger.flush()
        assert len(list(read(path))) == 1


def test_a_ledger_goes_on_where_it_ended(tmp_path: Path) -> None:
    for offset in range(3):
        with Ledger(tmp_path / "l.csv") as ledger:
            ledger.append(record(), 0, "t", 0, offset)

    assert [row.offset for row in read(tmp_path / "l.csv")] == [0, 1, 2]


def test_a_line_that_a_killed_writer_left_torn_is_not_read_and_then_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    for offset in range(2):
        with Ledger(path) as ledger:
            ledger.append(record(), 0, "t", 0, offset)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in (last + 1, last + 9, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert [row.offset for row in read(path)] == [0]

        with Ledger(path) as ledger:
            ledger.append(record(), 0, "t", 0, 1)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("written", [b"", b"topic,par", (",".join(COLUMNS)).encode()])
def test_a_header_that_was_torn_is_written_anew(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(written)
    with Ledger(path) as ledger:
        ledger.append(record(), 0, "t", 0, 0)

    assert path.read_bytes().startswith((",".join(COLUMNS) + "\ntopic"[:1]).encode())
    assert len(list(read(path))) == 1


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n")

    with pytest.raises(ValueError, match=r"notes\.txt is not a ledger"):
        Ledger(path)

    assert path.read_text() == "buy milk\n"
