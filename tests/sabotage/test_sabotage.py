"""Tests that pass prove something only if they fail when the program is wrong: each of these bugs is noticed by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.forks import Forks
from tests.sabotage.bug import Bug
from tests.sabotage.bugs import BUGS
from tests.together import asked_for, together

ROOT = Path(__file__).parents[2]

AT_ONCE = 3
"""Bugs that are looked at at the same time: most of that is work."""


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, postgres_dsn: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Bug, Future[dict[str, Any]]]]:
    """What the tests say of each bug."""
    folder = tmp_path_factory.mktemp("sabotage")
    forks = Forks("tests.sabotage.child:prepare")
    names = {bug: f"bug-{number}" for number, bug in enumerate(asked_for(request, "bug"))}
    # Copied here: the threads below would meet pytest in the middle of a change to it
    inherited = dict(os.environ)

    def examine(bug: Bug) -> dict[str, Any]:
        own = folder / names[bug]
        own.mkdir()
        services = [f"--postgres-dsn={postgres_dsn}", f"--database-template={template}"]
        options = [*services, f"--basetemp={own / 'tmp'}", *bug.options]
        environment = inherited | {"HYPOTHESIS_STORAGE_DIRECTORY": str(own / "hypothesis")}
        child = forks.start(
            "tests.sabotage.child:examine",
            own / "pytest.log",
            environment,
            **{"module": bug.module, "old": bug.old, "new": bug.new, "test": bug.test},
            **{"options": options, "verdict": str(own / "verdict.json")},
        )
        assert child.wait(480) == 0, child.last_words()
        return json.loads((own / "verdict.json").read_text()) | {"said": child.last_words()}

    with together(request, "bug", examine, AT_ONCE) as playing:
        yield playing
    forks.close()


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_bug_is_noticed_by_the_test_that_is_there_for_it(
    verdicts: dict[Bug, Future[dict[str, Any]]], bug: Bug
) -> None:
    source = Path(ROOT, *bug.module.split(".")).with_suffix(".py").read_text()
    assert source.count(bug.old) == 1, "the text that the bug changes is not there any more: the bug must be kept up"

    verdict = verdicts[bug].result()

    assert verdict["failures"], f"nobody noticed; passed: {verdict['passed']}; {verdict['said']}"
    assert [(when, is_judgement) for when, is_judgement, _ in verdict["failures"]] == [("call", True)], verdict["said"]
