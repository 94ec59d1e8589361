"""Learning from one file, telling of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import SettingsError
from pipeline.modelling import cmapss_files, remaining_life
from pipeline.modelling.remaining_life import EvaluateOptions, evaluate, figures, on_the_way
from tests.datasets import dataset
from tests.modelling.degrading import SENSORS, cut, lives, rows, text

HEADER = ["unit", "cycle", "setting_1", "setting_2", "setting_3", *SENSORS]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the learner have a small map and the first features only: what is tested is around it."""
    monkeypatch.setattr(remaining_life, "CANDIDATES", (("fast", "fast-slow"),))


def told(folder: Path) -> list[list[str]]:
    lines = (folder / "out.csv").read_text().splitlines()
    assert lines[0] == "unit,rul,lower,upper"
    return [line.split(",") for line in lines[1:]]


def options(folder: Path, train: str, test: str) -> EvaluateOptions:
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)
    return EvaluateOptions(folder / "train.txt", folder / "test.txt", folder / "out.csv", horizon=60.0)


def test_remaining_lives_of_a_fleet_are_told_well(tmp_path: Path) -> None:
    test, truths = cut(lives(40, seed=5))
    outcome = evaluate(options(tmp_path, text(rows(lives(30))), text(rows(test))))

    numbers = np.array([list(map(float, row[1:])) for row in told(tmp_path)])
    off = numbers[:, 0] - np.minimum(truths, 60.0)
    assert np.sqrt(np.mean(off**2)) < 5.0
    assert np.mean((numbers[:, 1] <= truths) & (truths <= numbers[:, 2])) >= 0.8
    assert [row[0] for row in told(tmp_path)] == [life.unit for life in test]
    assert (outcome.lives, outcome.units, outcome.unanswered) == (30, 40, 0)
    assert outcome.rmse_capped < 8.0


@pytest.mark.usefixtures("quick")
def test_neither_the_order_of_rows_nor_further_columns_change_the_answer(tmp_path: Path) -> None:
    train, (test, _) = rows(lives(8)), cut(lives(3, seed=5))
    evaluate(options(tmp_path, text([HEADER, *train], ","), text([HEADER, *rows(test)], ",")))
    expected = told(tmp_path)

    mixed = [train[i] for i in np.random.default_rng(3).permutation(len(train))]
    columns = [3, 8, 0, 6, 2, 7, 1, 4, 5]
    wider = [
        [*(row[i] for i in columns), extra] for row, extra in [(HEADER, "comment"), *((r, "7.5") for r in rows(test))]
    ]
    in_order = sorted(mixed, key=lambda row: int(row[0]))
    evaluate(options(tmp_path, text([HEADER, *in_order], ","), text(wider, ",")))

    assert told(tmp_path) == expected


@pytest.mark.usefixtures("quick")
def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    given = options(tmp_path, text(rows(lives(6))), text(rows(cut(lives(3, seed=5))[0])))
    evaluate(given)
    first = (tmp_path / "out.csv").read_bytes()
    evaluate(given)

    assert (tmp_path / "out.csv").read_bytes() == first


@pytest.mark.usefixtures("quick")
def test_units_of_one_row_of_any_name_and_with_readings_that_are_missing_are_told(tmp_path: Path) -> None:
    test = rows(cut(lives(3, seed=5))[0])
    cells = [["900", *row[1:]] for row in test if row[0] == "1"][:1]
    cells += [["7", *row[1:5], "nan", *row[6:]] for row in test if row[0] == "2"]
    outcome = evaluate(options(tmp_path, text(rows(lives(8))), text(cells)))

    assert [row[0] for row in told(tmp_path)] == ["900", "7"]
    assert outcome.unanswered == 0
    numbers = np.array([list(map(float, row[1:])) for row in told(tmp_path)])
    assert np.isfinite(numbers).all()
    assert (numbers[:, 1] <= numbers[:, 0]).all()
    assert (numbers[:, 0] <= numbers[:, 2]).all()


@pytest.mark.usefixtures("quick")
def test_a_unit_that_never_had_a_reading_has_no_answer_and_is_counted(tmp_path: Path) -> None:
    cells = [[*row[:5], "nan", "nan", "nan", "nan"] for row in rows(cut(lives(1, seed=5))[0])]

    outcome = evaluate(options(tmp_path, text(rows(lives(8))), text(cells)))

    assert outcome.unanswered == 1
    assert told(tmp_path) == [["1", "", "", ""]]


@pytest.mark.usefixtures("quick")
def test_files_that_do_not_go_together_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    fleet = rows(lives(2))
    other = [*HEADER[:5], "a", "b", "c", "d"]

    with pytest.raises(SettingsError, match="no sensor in common"):
        evaluate(options(tmp_path, text([HEADER, *fleet], ","), text([other, *fleet], ",")))
    with pytest.raises(SettingsError, match="has one unit"):
        evaluate(options(tmp_path, text(rows(lives(1))), text(fleet)))
    given = options(tmp_path, text(fleet), text(fleet))
    with pytest.raises(SettingsError, match="is a file that is to be read"):
        evaluate(EvaluateOptions(given.train, given.test, given.train))

    assert sorted(each.name for each in tmp_path.iterdir()) == ["test.txt", "train.txt"]


def test_fd001_is_told_as_well_as_the_docs_say() -> None:
    root = dataset("cmapss")
    train = cmapss_files.read(root / "train_FD001.txt")
    test = cmapss_files.read(root / "test_FD001.txt")
    truths = np.array((root / "RUL_FD001.txt").read_text().split(), np.float64)

    best = remaining_life.learned(train, 125.0, remaining_life.CANDIDATES[0], seed=0)

    found = figures(remaining_life.last_estimates(best, test.lives[: len(truths)], test.sensors), truths, 125.0)
    assert found.rmse_capped < 11.5
    assert found.score < 2.0
    assert on_the_way(best.judged, 125.0).coverage == pytest.approx(0.9, abs=0.02)
