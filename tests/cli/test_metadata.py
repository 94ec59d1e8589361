"""Commands on metadata as people give them (R45, R74): what is wrong is said in one line, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.processes import Site


@pytest.fixture
def at(site: Callable[..., Site]) -> Site:
    made = site(partitions=1)
    made.environment["PIPELINE_BROKER__COMMAND_TOPIC"] = made.topics[0]
    return made


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["machines", "add", "m", "line"], 2, "'line' is not FIELD=VALUE"),
        (["machines", "change", "m"], 2, "say what to change: factory_id=…"),
        (["machines", "change", "m", "line_id=l"], 1, "there is no machine 'm'; `pipeline machines list`"),
        (["rules", "remove", "r"], 1, "there is no maintenance_rule 'r'; `pipeline rules list`"),
        (["factories", "add", "f", "name=F", "time_zone=Oslo"], 2, "there is no time zone 'Oslo'"),
        (["machines", "import", "absent.csv"], 78, "absent.csv cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(at: Site, words: list[str], code: int, said: str) -> None:
    done = at.run(*words)

    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machine,line\nm,l\n", "has no column id"),
        ("id,line_id\nm,l\nn\n", "line 3 has not one cell for each column"),
        ("id,line_id\n,l\n", "line 2 has not one cell for each column, or no id"),
        ('id,line_id\n"m,l\n', "is no CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused_as_a_whole(at: Site, tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "machines.csv"
    table.write_text(text)

    done = at.run("machines", "import", str(table))

    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert said in done.stderr


def test_a_command_that_no_worker_judges_in_time_is_not_forgotten(at: Site) -> None:
    done = at.run("machines", "add", "m", "factory_id=f", "--wait=0.5")
    sent = at.run("machines", "add", "n", "factory_id=f", "--no-wait")

    assert (done.returncode, "is in the topic and will be" in done.stderr) == (1, True)
    assert (sent.returncode, sent.stdout) == (0, "sent: n\n")
    at.worker("worker")
    at.wait(lambda: at.one("SELECT count(*) FROM metadata_command WHERE status = 'applied'") == 2)
    assert "m" in at.run("machines", "list").stdout
