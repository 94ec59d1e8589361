"""``pipeline models monitor`` (R31): what is told, and options that are refused."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import pytest

from pipeline.cli import main
from pipeline.store.connect import connect
from tests.core.prognosis.models_in_force import remaining_life
from tests.modelling.monitored import Stored

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path) -> Run:
    """Return a function that runs the command; it returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIPELINE_POSTGRES__DSN", database.dsn)
    monkeypatch.setenv("PIPELINE_POSTGRES__ADMIN_DSN", database.admin_dsn)
    monkeypatch.setenv("PIPELINE_MONITORING__LEAST_LABELS", "1")

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", "models", "monitor", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return command


def failed(dsn: str) -> int:
    """Store one failure of which a live model said something that is far off; nothing is stored to learn another from."""
    with connect(dsn, autocommit=True) as admin:
        plant = Stored(admin)
        model = plant.model(remaining_life(), metrics={"test": {"rmse": 0.5}})
        plant.machine("m", [(1, 2), (3, 5)])
        plant.says(model, "remaining_life", "m", 2.0, value=9.0, lower=8.0, upper=10.0)
        plant.record("m", 6.0)
        return model


def test_a_round_tells_figures_and_what_became_of_a_model_that_does_too_badly(database, run: Run) -> None:
    model = failed(database.admin_dsn)

    code, out, _ = run("--once", "--json")

    told = json.loads(out)
    assert code == 0
    assert (told["is_alone"], told["machines"]) == (True, 1)
    assert [(each["model_id"], each["labels"], each["rmse"]) for each in told["quality"]] == [(model, 1, 7.0)]
    (trigger,) = told["triggers"]
    assert trigger["reason"] == "rmse 7.000 > 1.5 * 0.500; coverage 0.000 < 0.9 - 0.1"
    assert trigger["candidate_id"] is None
    assert trigger["outcome"]


def test_a_round_is_told_in_words(database, run: Run) -> None:
    model = failed(database.admin_dsn)

    code, out, _ = run("--once")

    assert code == 0
    assert out.startswith("labels of 1 machines joined, 0 days of inputs counted\n")
    assert "7.000" in out
    assert f"model {model}: rmse 7.000" in out
    assert run("--once")[1].startswith("labels of 0 machines")


@pytest.mark.parametrize(
    "words", [("--interval=0s",), ("--window=30",), ("--window=-1d",), ("--interval=nan",), ("--window=99999d",)]
)
def test_a_time_that_is_none_is_refused_in_one_line(run: Run, words: tuple[str, ...]) -> None:
    code, out, error = run("--once", *words)

    assert (code, out) == (78, "")
    assert "give a number of s, m, h or d" in error
    assert len(error.splitlines()) == 1


def test_rounds_follow_each_other_until_they_are_ended(database, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(database.admin_dsn)
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)

    code, out, _ = run("--interval=5m", "--json")

    assert code == 130
    assert waited == [300.0] * 3
    assert [json.loads(line)["machines"] for line in out.splitlines()] == [1, 0, 0]
