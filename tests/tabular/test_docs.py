"""R10: what docs/import.md shows is what comes out; its mapping for public data reads that data."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.tabular import mapping
from tests.datasets import dataset
from tests.tabular.tables import read

DOCS = (Path(__file__).parents[2] / "docs/import.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", DOCS, re.MULTILINE)]


def block(beginning: str) -> str:
    (found,) = [each.strip("\n") for each in BLOCKS if each.strip("\n").startswith(beginning)]
    return found + "\n"


def test_the_example_gives_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plant.csv").write_text(block("Anlage;"))
    (tmp_path / "plant.toml").write_text(block('factory_id = "aurora"'))

    done = CliRunner().invoke(app, ["import", "plant.csv", "--mapping=plant.toml", "--output=messages.jsonl", "--json"])

    assert done.exit_code == 1, done.output
    messages = [json.loads(line) for line in (tmp_path / "messages.jsonl").read_text().splitlines()]
    first = json.loads(block('{"type":').replace("…", str(messages[0]["seq"])))
    assert messages[0] == first
    assert [each["readings"] for each in messages[1:]] == [{"temperature": 55.3}, {"pressure": 7541.0}]
    assert (tmp_path / "plant.csv.rejects.csv").read_text().splitlines() == block("file,line").splitlines()


def test_the_mapping_for_public_data_reads_every_row_of_it(tmp_path: Path) -> None:
    (tmp_path / "skab.toml").write_text(block('factory_id = "skab"'))
    given = mapping.load(tmp_path / "skab.toml")
    skab = dataset("skab")
    files = [skab / "anomaly-free/anomaly-free.csv", *sorted((skab / "valve1").glob("*.csv"))]

    found = [read(file, given.model_dump(exclude_none=True)) for file in files]

    assert [each.rejects for each in found] == [[]] * 17
    assert sum(len(each.messages) for each in found) == 9_405 + 18_160
    assert found[0].messages[0]["time"] == "2020-02-08T10:30:47.000Z"
    assert found[0].messages[0]["readings"]["pressure"] == pytest.approx(38.2638)
