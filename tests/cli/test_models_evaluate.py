"""`pipeline models evaluate rul`: a file of whole lives, one of lives that go on, and what remains of these."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.modelling import remaining_life
from tests.modelling.degrading import cut, lives, rows, text

Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rul(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Evaluate:
    """Return a function that runs the command in this process, in a folder with both files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remaining_life, "CANDIDATES", (("fast", "fast-slow"),))
    Path("train.txt").write_text(text(rows(lives(6))))
    Path("test.txt").write_text(text(rows(cut(lives(3, seed=5))[0])))

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", "models", "evaluate", "rul", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capfd.readouterr())

    return command


FILES = ("--train=train.txt", "--test=test.txt", "--out=out.csv")


def test_each_unit_has_a_row_and_the_last_line_says_how_good_it_is(rul: Evaluate) -> None:
    code, out, err = rul(*FILES)

    assert (code, err) == (0, "")
    assert out.startswith("3 units told, by 6 lives (fast, fast-slow of each sensor); of these, each told before")
    assert [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()] == ["unit", "1", "2", "3"]


def test_a_program_reads_the_same_as_json(rul: Evaluate) -> None:
    code, out, _ = rul(*FILES, "--json", "--horizon=50")

    found = json.loads(out)
    assert code == 0
    assert (found["lives"], found["units"], found["features"]) == (6, 3, ["fast", "fast-slow"])
    assert all(float(line.split(",")[1]) <= 50.0 for line in Path("out.csv").read_text().splitlines()[1:])


def test_a_wrong_cell_is_one_line_with_file_row_and_column_and_nothing_is_written(rul: Evaluate) -> None:
    lines = Path("test.txt").read_text().splitlines(keepends=True)
    lines[11] = lines[11].rsplit(" ", 1)[0] + " broken\n"
    Path("test.txt").write_text("".join(lines))

    code, out, err = rul(*FILES)

    assert (code, out) == (1, "")
    assert err == "pipeline: test.txt, line 12, column s4: 'broken' is no number within ±1e140\n"
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--train=none.txt", "--test=test.txt", "--out=out.csv"), 78, "none.txt cannot be read"),
        (
            ("--train=train.txt", "--test=test.txt", "--out=train.txt"),
            78,
            "--out train.txt is a file that is to be read",
        ),
        (("--train=train.txt", "--out=out.csv"), 2, "--test"),
        ((*FILES, "--horizon=0"), 2, "--horizon"),
    ],
)
def test_wrong_use_ends_with_one_line(rul: Evaluate, words: tuple[str, ...], code: int, said: str) -> None:
    ended, out, err = rul(*words)

    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
