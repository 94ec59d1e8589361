"""What somebody who watches sees of long work."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli.bars import bars

MAP = """
factory_id = "aurora"
machine_id = "press-1"
machine_type = "press"
[time]
column = "time"
[readings]
temperature = "temperature"
"""


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


def test_of_work_whose_end_nobody_knows_no_end_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as show:
        show("copying events", 20_000_000, None)
        show("judging machines", 3, 8)

    said = capsys.readouterr().err
    assert "20000000/?" in said
    assert "/100" not in said
    assert "3/8" in said


def test_files_of_one_name_have_bars_of_their_own_with_rows_per_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("map.toml").write_text(MAP)
    for folder in ("one", "other"):
        Path(folder).mkdir()
        Path(folder, "plant.csv").write_text("time,temperature\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,2\n")

    done = CliRunner().invoke(app, ["import", "one/plant.csv", "other/plant.csv", "--mapping=map.toml", "--dry-run"])

    assert done.exit_code == 0, done.output
    for folder in ("one", "other"):
        (line,) = [line for line in done.stderr.splitlines() if f"{folder}/plant.csv" in line][-1:]
        assert "2 rows, " in line
        assert "/s" in line
