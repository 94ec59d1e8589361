"""``pipeline models`` (R30, R32): what people and programs are told, files of models, and what is refused in one line."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from pipeline.cli import main, model_comparison
from pipeline.cli import models as commands
from pipeline.core.errors import ModelRefused, PipelineError, SettingsError
from pipeline.store import models
from pipeline.store.connect import connect
from pipeline.store.models import Candidate, Group
from pipeline.store.sink import Sink
from tests.small_model import KNOWN, line
from tests.store.test_model_stages import GROUP, PROGRESS, place
from tests.store.test_model_stages import said as predicted

Run = Callable[..., str]


@pytest.fixture
def run(database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs a command of a program that knows the small model; it returns what that prints."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", database.dsn)
    monkeypatch.setenv("PIPELINE_POSTGRES__ADMIN_DSN", database.admin_dsn)
    app = typer.main.get_command(commands.group(KNOWN))

    def command(*words: str) -> str:
        app(list(words), standalone_mode=False)
        return capfd.readouterr().out

    return command


@pytest.fixture
def two(database) -> list[int]:
    """Two candidates for presses."""
    with connect(database.admin_dsn, autocommit=True) as connection:
        return [
            models.add(connection, Group("local", "pipeline"), each, KNOWN)[0].model_id
            for each in (
                Candidate("press", line(1), metrics={"rmse": 14.0, "by": {"FD001": 12.5}, "rows": 7, "done": True}),
                Candidate("press", line(2), metrics={"rmse": 13.5, "by": {"FD001": 12.75}}, note="more\x1b[2Jdata"),
            )
        ]


def said(run: Run, *words: str) -> Any:
    return json.loads(run(*words, "--json"))


def test_versions_are_listed_with_their_stages(run: Run, two: list[int]) -> None:
    assert run("list").splitlines()[0].split() == [
        "model", "kind", "machine", "type", "version", "stage", "bytes", "created", "by", "note",
    ]  # fmt: skip
    run("promote", "1")

    assert [(each["model_id"], each["version"], each["stage"]) for each in said(run, "list")] == [
        (1, 1, "live"),
        (2, 2, "candidate"),
    ]
    assert said(run, "list", "--machine-type=lathe") == said(run, "list", "--kind=oracle") == []
    assert "\x1b" not in run("list")
    assert "artefact" not in said(run, "list")[0]


def test_a_model_that_a_partition_refused_is_told_with_the_list(
    run: Run, two: list[int], database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_BROKER__GROUP", GROUP.name)
    made = Sink(lambda: connect(database.dsn), PROGRESS)
    first, second = (said(run, "promote", str(each))["control_id"] for each in two)
    place(made, database, first, second)
    made.close()
    with connect(database.admin_dsn, autocommit=True) as owner:
        first, second = models.all_of(owner, GROUP)
    assert "note:" not in run("list")
    predicted(database, 4, first)

    assert [each["passed_over"] for each in said(run, "list")] == [
        [],
        [{"model_id": 2, "said_version": 1, "partitions": 1}],
    ]
    note = run("list").splitlines()[-1]
    assert note.startswith(
        "note: 1 partition(s) refused model 2, line of press, version 2, and predict with version 1: "
    )
    (place_of,) = said(run, "show", "2")["in_force"]
    assert (place_of["topic"], place_of["said_version"], place_of["said_offset"]) == ("t", 1, 4)


def test_another_factory_has_stages_of_its_own(run: Run, two: list[int]) -> None:
    run("promote", "1", "--factory=aurora")

    assert [each["stage"] for each in said(run, "list")] == ["candidate", "candidate"]
    assert [each["stage"] for each in said(run, "list", "--factory=aurora")] == ["live", "candidate"]


def test_stages_change_as_they_are_asked_to(run: Run, two: list[int]) -> None:
    assert "model 1, line of press, version 1 is shadow now, it was candidate" in run("shadow", "1")
    assert "is live now, it was shadow" in run("promote", "1", "--reason=better")
    assert "version 1 is retired; `pipeline models rollback` makes it live again" in run("promote", "2")
    assert run("promote", "2") == "model 2, line of press, version 2 is live already: nothing was changed\n"
    assert "version 1 is live now, it was retired" in run("rollback", "line", "press")
    done = said(run, "retire", "1")
    assert (done["stage"], done["previous_stage"], done["is_change"]) == ("retired", "live", True)
    assert not said(run, "retire", "1")["is_change"]

    shown = said(run, "show", "1")
    assert [each["stage"] for each in shown["stages"]] == ["shadow", "live", "retired", "live", "retired"]
    assert [each["reason"] for each in shown["stages"]] == ["", "better", "", "rollback", ""]
    assert (shown["metrics"]["rmse"], shown["in_force"]) == (14.0, [])
    assert "predicts in: none" in run("show", "1")


def test_two_versions_are_compared_by_their_figures(run: Run, two: list[int]) -> None:
    *table, _, note = run("compare", "1", "2").splitlines()

    assert note.startswith(
        "note: not measured on the same: by (machines not noted); rmse (machines not noted); to have"
    )
    assert [each.split() for each in table] == [
        ["metric", "1", "2", "difference"],
        ["by.FD001", "12.5", "12.75", "0.25"],
        ["rmse", "14", "13.5", "-0.5"],
        ["rows", "7", "–", "–"],
    ]
    assert said(run, "compare", "1", "2")["metrics"][0] == {
        "metric": "by.FD001", "first": 12.5, "second": 12.75, "difference": 0.25,
    }  # fmt: skip


def trained(machines: int, until_ms: int | None, horizon_h: float = 200.0) -> dict[str, Any]:
    """Return what training notes of one more version: how many machines taught and judged it, and until when."""
    return {
        "parameters": {"since_ms": None, "until_ms": until_ms, "horizon_h": horizon_h},
        "training": {"source": "events", "machines": 4 * machines},
        "metrics": {
            "test": {"rmse": 1.5, "machines": machines},
            "prequential": {"rmse": 1.75},
        },
    }


UNTIL_MS = 1_793_491_200_000


@pytest.mark.parametrize(
    ("other", "unlike"),
    [
        (trained(5, None), []),
        (trained(5, None, horizon_h=100.0), [(of, "horizon", 200.0, 100.0) for of in ("prequential", "test")]),
        (
            trained(7, UNTIL_MS),
            [(of, what, first, second) for of, machines in (("prequential", (20, 28)), ("test", (5, 7)))
             for what, first, second in (("machines", *machines), ("until", None, "2026-11-01T00:00:00+00:00"))],
        ),
        ({"metrics": {"test": {"rmse": 1.0}, "other": {"rmse": 1.0}}}, [
            ("test", "machines", 5, None), ("test", "horizon", 200.0, None), ("test", "source", "events", None),
        ]),
        ({"metrics": {"other": {"rmse": 1.0, "machines": 5}}}, []),
    ],
)  # fmt: skip
def test_figures_that_were_not_measured_on_the_same_say_in_what_it_differs(
    run: Run, database, other: dict[str, Any], unlike: list[tuple[Any, ...]]
) -> None:
    with connect(database.admin_dsn, autocommit=True) as connection:
        for number, about in enumerate((trained(5, None) | {"note": "first"}, other)):
            models.add(connection, Group("local", "pipeline"), Candidate("press", line(number), **about), KNOWN)

    notes = [text for text in run("compare", "1", "2").splitlines() if text.startswith("note: ")]

    assert [tuple(each.values()) for each in said(run, "compare", "1", "2")["unlike"]] == unlike
    assert len(notes) == bool(unlike)
    assert all(what in notes[0] for _, what, *_ in unlike)


def test_lives_are_no_difference_between_classes_of_maintenance(database, two: list[int]) -> None:
    with connect(database.admin_dsn, autocommit=True) as connection:
        version = models.find(connection, Group("local", "pipeline"), two[0])
    first, second = (
        replace(version, metrics={"test": {"accuracy": 0.9, "machines": 5, "lives": lives, "classed_messages": 60}})
        for lives in (3, 4)
    )

    assert [each.what for each in model_comparison.unlike(first, second)] == ["lives"]
    assert model_comparison.unlike(*(replace(each, kind="maintenance_class") for each in (first, second))) == []


def test_a_file_carries_a_model_with_all_that_is_known_of_it(
    run: Run, two: list[int], database, new_database, monkeypatch
) -> None:
    assert "press.model: line of press, version 1" in run("export", "1", "press.model")
    assert Path("press.model").read_bytes() == line(1)
    assert "is line of press, version 1, model 1, already: nothing was changed" in run("import", "press.model")
    with new_database() as elsewhere:
        monkeypatch.setenv("PIPELINE_POSTGRES__DSN", elsewhere.dsn)
        monkeypatch.setenv("PIPELINE_POSTGRES__ADMIN_DSN", elsewhere.admin_dsn)
        came = said(run, "import", "press.model")
        also = said(run, "import", "press.model", "--machine-type=lathe", "--note=carried")

    assert (came["is_new"], came["version"], came["stage"]) == (True, 1, "candidate")
    assert came["metrics"] == {"rmse": 14.0, "by": {"FD001": 12.5}, "rows": 7, "done": True}
    assert (also["is_new"], also["machine_type"], also["version"], also["note"]) == (True, "lathe", 1, "carried")


REFUSED = [
    (["show", "9"], PipelineError, "there is no model 9"),
    (["promote", "9"], PipelineError, "there is no model 9"),
    (["rollback", "line", "press"], PipelineError, "no line model of press was live in the group pipeline before"),
    (["import", "absent"], SettingsError, "absent cannot be read: No such file"),
    (["import", "."], SettingsError, "cannot be read"),
    (["import", "alone"], SettingsError, "say --machine-type"),
    (["import", "nul"], SettingsError, "nul.json has a text with the character NUL"),
    (["import", "deep"], SettingsError, "deep.json is no JSON: Recursion limit reached"),
    (["import", "text", "--machine-type=press"], ModelRefused, "text: this is no artefact"),
    (["import", "changed"], ModelRefused, "the artefact is damaged"),
    (["import", "unlike"], SettingsError, "unlike.json does not describe a model"),
    (["import", "listed"], SettingsError, "listed.json does not describe a model"),
    (["import", "unread"], SettingsError, "unread.json is no JSON"),
    (["import", "strange", "--machine-type=press"], ModelRefused, "kind 'oracle' are not known"),
    (["export", "1", "absent/file"], SettingsError, "absent/file cannot be written"),
    (["compare", "1", "3"], PipelineError, "compare two of one kind"),
]


def test_what_cannot_be_is_refused_in_one_line(run: Run, two: list[int], database) -> None:
    files = {
        "alone": line(3),
        "text": b"id,name\n",
        "changed": line(3),
        "unlike": line(3),
        "unread": line(3),
        "listed": line(3),
        "nul": line(3),
        "deep": line(3),
    }
    files["strange"] = zlib.compress(
        msgspec.msgpack.encode({"schema": 1, "kind": "oracle", "feature_version": 1, "model": {}})
    )
    for name, content in files.items():
        Path(name).write_bytes(content)
    Path("changed.json").write_text(json.dumps({"machine_type": "press", "sha256": "0" * 64}))
    Path("unlike.json").write_text('{"machine_type": "press", "metrics": 5}')
    Path("listed.json").write_text("[]")
    Path("unread.json").write_text("{")
    Path("nul.json").write_text(r'{"machine_type": "press", "metrics": {"a": ["\\\u0000"]}}')
    Path("deep.json").write_text('{"machine_type": "press", "metrics": {"a": ' + "[" * 500 + "]" * 500 + "}}")
    with connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO model_version (kind, machine_type, version, parameters, training, metrics, feature_version,"
            " schema_version, sha256, artefact, note) VALUES ('oracle', 'press', 1, '{}', '{}', '{}', 1, 1,"
            " encode(sha256('x'), 'hex'), 'x', '')"
        )

    for words, error, text in REFUSED:
        with pytest.raises(error) as refused:
            run(*words)
        assert text in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["promote", "1"], 1, "models of the kind 'line' are not known"),
        (["retire", "1"], 78, "let postgres.admin_dsn name one that has the role pipeline_engineer"),
        (["promote", "first"], 2, "Invalid value for 'MODEL'"),
        (["rollback", "line"], 2, "Missing argument 'MACHINE_TYPE'"),
    ],
)
def test_the_program_itself_ends_with_the_code_of_what_is_wrong(
    database,
    two: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", database.dsn)
    monkeypatch.setattr(sys, "argv", ["pipeline", "models", *words])

    with pytest.raises(SystemExit) as end:
        main()

    err = capfd.readouterr().err
    assert (end.value.code, err.count("\n")) == (code, 1)
    assert text in err
