"""Files in the shape of C-MAPSS: what is read from them, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.prognosis.remaining_life import Estimates
from pipeline.modelling.cmapss_files import RunFile, read, write
from tests.modelling.degrading import SENSORS, lives, rows, text

FLEET = lives(3)
HEADER = ["unit", "cycle", "setting_1", "setting_2", "setting_3", *SENSORS]


def written(folder: Path, content: str) -> Path:
    path = folder / "fleet.txt"
    path.write_text(content)
    return path


def facts(found: RunFile) -> list[tuple[str, list[float], list[list[float]]]]:
    """Return units, cycles and readings, sensors by name."""
    order = np.argsort(found.sensors)
    return [(life.unit, life.cycles.tolist(), life.readings[:, order].tolist()) for life in found.lives]


def test_whitespace_or_commas_with_a_header_or_without_say_the_same(tmp_path: Path) -> None:
    cells = rows(FLEET)
    contents = [text(cells), text(cells, "   "), text(cells, "\t"), text(cells, ","), "\n\n" + text(cells, " ") + "\n"]
    plain = [read(written(tmp_path, content)) for content in contents]
    headed = [read(written(tmp_path, text([HEADER, *cells], delimiter))) for delimiter in (" ", ",")]

    assert all(facts(found) == facts(plain[0]) for found in plain[1:])
    assert all(facts(found) == facts(headed[0]) for found in headed[1:])
    assert (plain[0].sensors, headed[0].sensors) == (("s1", "s2", "s3", "s4"), SENSORS)
    assert [(life.unit, len(life.cycles)) for life in plain[0].lives] == [
        (life.unit, len(life.cycles)) for life in FLEET
    ]
    assert plain[0].lives[1].readings == pytest.approx(FLEET[1].readings, abs=1e-4)


def test_the_order_of_rows_and_of_named_columns_does_not_matter(tmp_path: Path) -> None:
    cells = rows(FLEET)
    rng = np.random.default_rng(2)
    columns = rng.permutation(len(HEADER)).tolist()
    shuffled = [cells[0], *(cells[i] for i in 1 + rng.permutation(len(cells) - 1))]

    expected = read(written(tmp_path, text([HEADER, *cells], ",")))
    found = read(written(tmp_path, text([[row[i] for i in columns] for row in [HEADER, *shuffled]], ",")))

    assert sorted(facts(found)) == sorted(facts(expected))
    assert found.lives[0].unit == "1"


def test_units_are_any_texts_in_the_order_of_their_first_rows(tmp_path: Path) -> None:
    names = {"1": "900", "2": "press-7", "3": "5"}
    cells = [[names[row[0]], *row[1:]] for row in rows(FLEET)]

    found = read(written(tmp_path, text(cells[::-1])))

    assert [life.unit for life in found.lives] == ["5", "press-7", "900"]


@pytest.mark.parametrize("nothing", ["NaN", "nan", "NA", ""])
def test_a_reading_may_be_missing(tmp_path: Path, nothing: str) -> None:
    cells = rows(FLEET)
    cells[4][6] = nothing

    found = read(written(tmp_path, text(cells, ",")))

    assert np.isnan(found.lives[0].readings[4, 1])
    assert np.isfinite(np.delete(found.lives[0].readings[4], 1)).all()


@pytest.mark.parametrize(
    ("place", "cell", "said"),
    [
        (5, "hot", r"line 8, column s1: 'hot' is no number within"),
        (6, "inf", r"line 8, column s2: 'inf' is no number within"),
        (6, "1e141", r"line 8, column s2: '1e141' is no number within"),
        (6, "1_0", r"line 8, column s2: '1_0' is no number within"),
        (1, "-3", r"line 8, column cycle: the cycle is '-3'; a number from 0"),
        (1, "NaN", r"line 8, column cycle: the cycle is 'NaN'; a number from 0"),
        (1, "5", r"line 8: unit '1' has cycle 5 in line 5 already"),
        (0, "", r"line 8, column unit: the unit is empty"),
    ],
)
def test_a_cell_that_is_wrong_is_named(tmp_path: Path, place: int, cell: str, said: str) -> None:
    cells = rows(FLEET)
    cells[7][place] = cell
    path = written(tmp_path, text(cells, ","))

    with pytest.raises(PipelineError, match=said) as refused:
        read(path)

    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_row_with_other_columns_than_the_first_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="line 3 has 8 columns; the first row has 9"):
        read(written(tmp_path, text([*rows(FLEET)[:2], rows(FLEET)[2][:8]])))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ("\n  \n", "has no rows"),
        ("unit,cycle,a,b,c,oil\n", "has no rows"),
        ("1 1 0 0 100\n", "has 5 columns; unit, cycle, three settings and at least one sensor"),
        ("oil,unit,a,b,c,d\n1,1,0,0,0,1\n", "has no column of cycles"),
        ("unit,cycle,a,b,oil,oil\n1,1,0,0,0,1\n", "two columns of the same name"),
    ],
)
def test_a_file_without_rows_or_sensors_is_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(written(tmp_path, content))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read(tmp_path / "none.txt")
    (tmp_path / "bytes").write_bytes(b"1 1 0 0 \xff\xfe")
    with pytest.raises(PipelineError, match="is no text"):
        read(tmp_path / "bytes")


def test_what_is_written_has_a_row_for_each_unit_and_nothing_where_there_is_no_answer(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    estimates = Estimates(np.array([1.5, np.nan]), np.array([0.0, np.nan]), np.array([7.25, np.nan]))

    write(out, ["7", "a,b"], estimates)

    assert out.read_text() == 'unit,rul,lower,upper\n7,1.500,0.000,7.250\n"a,b",,,\n'
    assert [each.name for each in tmp_path.iterdir()] == ["out.csv"]


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    nothing = Estimates(np.zeros(0), np.zeros(0), np.zeros(0))

    with pytest.raises(SettingsError, match=r"--out .* cannot be written"):
        write(tmp_path / "none" / "out.csv", [], nothing)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=r"--out .* cannot be written"):
        write(tmp_path / "folder", [], nothing)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("header", "sensors"),
    [
        ("unit_nr time_cycles setting_1 setting_2 setting_3 s_1 s_2", ("s_1", "s_2")),
        ("s_1 op1 s_2 op2 op3 cycle engine", ("s_1", "s_2")),
        ("id cycle altitude mach throttle T24 T30", ("T24", "T30")),
        ("unit cycle s1 s2 s3 s4 s5", ("s1", "s2", "s3", "s4", "s5")),
    ],
)
def test_a_header_says_which_columns_are_sensors(tmp_path: Path, header: str, sensors: tuple[str, ...]) -> None:
    assert read(written(tmp_path, f"{header}\n1 1 0 0 0 5 1\n")).sensors == sensors
