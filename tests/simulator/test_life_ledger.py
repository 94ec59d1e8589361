"""The ledger of lives: a life is there as soon as something of it was acknowledged, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import BrokerUnavailable
from simulator import life_ledger
from simulator.drive import simulate
from simulator.ledger import Ledger
from simulator.lives import Life
from simulator.messages import Message, Sent
from simulator.options import PlantOptions
from simulator.plant import Plant
from tests.simulator.fakes import ListPublisher, ManualClock

WEARING = PlantOptions(seed=3, machines=2, messages=120, interval_ms=60_000.0, wear_machines=3, wear_pace=20.0,
                       wear_planned_ms=600_000.0)  # fmt: skip
LIFE = Life("compressor-00001", "aurora", 0, "failure", "seal", 1_000, 90_000, 500_000, 12, (102, 300), (60, 30))


def sent(life: Life | None) -> Sent:
    message = Message("compressor-00001", "aurora", 1, 1_500, (), '{"speed":9.5}', None, life)
    return Sent(b"compressor-00001", b"{}", (), "sent", "", 1_500, (message,))


def rows(path: Path) -> list[Life]:
    return list(life_ledger.read(life_ledger.beside(path)))


def test_a_row_is_read_as_it_was_written_as_soon_as_it_is_flushed_and_once(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    with Ledger(path) as ledger:
        ledger.append(sent(LIFE), 0, "t", 0, 0)
        assert rows(path) == []

        ledger.flush()
        assert rows(path) == [LIFE]

        ledger.append(sent(LIFE), 0, "t", 0, 1)
        ledger.append(sent(LIFE._replace(number=1)), 0, "t", 0, 2)

    assert rows(path) == [LIFE, LIFE._replace(number=1)]


def test_a_plant_where_nothing_wears_out_has_no_such_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.csv") as ledger:
        for record in Plant(replace(WEARING, wear_machines=0)):
            ledger.append(record, 0, "t", 0, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]
    assert rows(tmp_path / "l.csv") == []


def test_the_ledger_has_exactly_the_lives_of_what_was_sent(tmp_path: Path) -> None:
    records = list(Plant(WEARING))
    with Ledger(tmp_path / "l.csv") as ledger:
        for offset, record in enumerate(records):
            ledger.append(record, 0, "t", 0, offset)

    told = rows(tmp_path / "l.csv")
    assert told == list(dict.fromkeys(message.life for r in records for message in r.messages if message.life))
    assert {life.kind for life in told} == {"failure", "planned"}


@pytest.mark.parametrize("refuse_from", [0, 900])
def test_what_the_broker_did_not_take_tells_of_no_life(tmp_path: Path, refuse_from: int) -> None:
    clock = ManualClock()
    publisher = ListPublisher(clock, refuse_from=refuse_from)
    with Ledger(tmp_path / "l.csv") as ledger, pytest.raises(BrokerUnavailable):
        simulate(WEARING, publisher, ledger, clock=clock)

    told = {message.life for record in publisher.records for message in record.messages if message.life}
    assert set(rows(tmp_path / "l.csv")) == told
    assert bool(told) == bool(refuse_from)


def test_a_torn_line_is_not_read_and_the_ledger_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    with Ledger(path) as ledger:
        ledger.append(sent(LIFE), 0, "t", 0, 0)
    beside = life_ledger.beside(path)
    beside.write_bytes(beside.read_bytes() + b"compressor-0")

    assert rows(path) == [LIFE]

    with Ledger(path) as ledger:
        ledger.append(sent(LIFE._replace(number=1)), 0, "t", 0, 1)
    assert [life.number for life in rows(path)] == [0, 1]


def test_a_file_that_is_no_ledger_of_lives_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    life_ledger.beside(path).write_text("buy milk\n")

    with pytest.raises(ValueError, match="is not a ledger of lives"):
        Ledger(path)
