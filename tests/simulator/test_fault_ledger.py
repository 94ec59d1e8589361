"""The ledger of faults: an episode is there as soon as something measured in it was acknowledged, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import BrokerUnavailable
from simulator import fault_ledger
from simulator.drive import simulate
from simulator.episodes import Episode
from simulator.fault_ledger import FaultRow
from simulator.ledger import Ledger
from simulator.messages import Message, Sent
from simulator.options import PlantOptions
from simulator.plant import Plant
from tests.simulator.fakes import ListPublisher, ManualClock

FAULTY = PlantOptions(seed=3, machines=7, messages=3_000, garbage_share=0.02, array_share=0.1, fault_rate=24.0,
                      fault_ms=600_000, duplicate_share=0.02, late_share=0.05, pump_share=0.3)  # fmt: skip
EPISODE = Episode("step", "press-00001", "aurora", ("humidity",), 1_000, 2_000, -3.0, (4,))


def sent(episode: Episode | None, kind: str = "sent") -> Sent:
    message = Message("press-00001", "aurora", 1, 1_500, (), '{"humidity":9.5}', episode)
    return Sent(b"press-00001", b"{}", (), kind, "", 1_500, (message,))


def rows(path: Path) -> list[FaultRow]:
    return list(fault_ledger.read(fault_ledger.beside(path)))


def row(episode: Episode) -> FaultRow:
    return FaultRow(*episode[:7])


def test_a_row_is_read_as_it_was_written_as_soon_as_it_is_flushed_and_once(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    with Ledger(path) as ledger:
        ledger.append(sent(EPISODE), 0, "t", 0, 0)
        assert rows(path) == []

        ledger.flush()
        assert rows(path) == [row(EPISODE)]

        ledger.append(sent(EPISODE, "duplicate"), 0, "t", 0, 1)
        ledger.append(sent(EPISODE._replace(start_ms=3_000)), 0, "t", 0, 2)

    assert rows(path) == [row(EPISODE), row(EPISODE._replace(start_ms=3_000))]


def test_garbage_tells_of_no_fault(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.csv") as ledger:
        ledger.append(sent(EPISODE, "garbage"), 0, "t", 0, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]


def test_a_plant_without_faults_has_no_such_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.csv") as ledger:
        for record in Plant(replace(FAULTY, fault_rate=0.0, messages=20)):
            ledger.append(record, 0, "t", 0, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]
    assert rows(tmp_path / "l.csv") == []


def test_the_ledger_has_exactly_the_episodes_of_what_was_sent(tmp_path: Path) -> None:
    records = list(Plant(FAULTY))
    with Ledger(tmp_path / "l.csv") as ledger:
        for offset, record in enumerate(records):
            ledger.append(record, 0, "t", 0, offset)

    told = [m.episode for r in records if r.kind != "garbage" for m in r.messages if m.episode]
    assert rows(tmp_path / "l.csv") == [row(episode) for episode in dict.fromkeys(told)]
    assert len({each.machine_id for each in rows(tmp_path / "l.csv")}) >= 5


@pytest.mark.parametrize("refuse_from", [0, 40, 1_200])
def test_what_the_broker_did_not_take_tells_of_no_fault(tmp_path: Path, refuse_from: int) -> None:
    clock = ManualClock()
    publisher = ListPublisher(clock, refuse_from=refuse_from)
    with Ledger(tmp_path / "l.csv") as ledger, pytest.raises(BrokerUnavailable):
        simulate(FAULTY, publisher, ledger, clock=clock)

    told = [m.episode for r in publisher.records if r.kind != "garbage" for m in r.messages if m.episode]
    # Which partition is told of first is not said
    assert sorted(rows(tmp_path / "l.csv"), key=str) == sorted(map(row, set(told)), key=str)
    assert bool(told) == (refuse_from == 1_200)


def test_a_torn_line_is_not_read_and_the_ledger_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    with Ledger(path) as ledger:
        ledger.append(sent(EPISODE), 0, "t", 0, 0)
    beside = fault_ledger.beside(path)
    whole = beside.read_bytes()
    beside.write_bytes(whole + b"step,press-0")

    assert rows(path) == [row(EPISODE)]

    with Ledger(path) as ledger:
        ledger.append(sent(EPISODE._replace(start_ms=9_000)), 0, "t", 0, 1)
    assert [each.start_ms for each in rows(path)] == [1_000, 9_000]


def test_a_file_that_is_no_ledger_of_faults_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    fault_ledger.beside(path).write_text("buy milk\n")

    with pytest.raises(ValueError, match="is not a ledger of faults"):
        Ledger(path)
