"""Runs that failed are kept and come first the next time, until they hold."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.__main__ import FailedSeeds, main
from tests.chaos.report import Options, Report


@pytest.fixture(autouse=True)
def _signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Runs:
    """Runs that fail for the seeds that are bad."""

    def __init__(self, *bad: int) -> None:
        self.bad, self.seen = bad, list[Options]()

    def __call__(self, options: Options, folder: Path) -> Report:
        self.seen.append(options)
        trouble = ["the tables differ from the ledger"] if options.seed in self.bad else []
        return Report(options, [], [], [], 0.0, None, None, {}, 0.0, trouble)


def test_a_run_that_holds_leaves_nothing_behind_but_its_report(tmp_path: Path) -> None:
    assert main(["--seed", "1", "--only", "worker_kill"], tmp_path, runs := Runs()) == 0

    assert runs.seen == [Options(1, only=("worker_kill",))]
    assert FailedSeeds(tmp_path).lines() == []
    assert (tmp_path / "report-1.json").exists()


def test_a_run_that_failed_comes_first_with_its_options_until_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seed", "7", "--seconds", "9"], tmp_path, Runs(7)) == 1
    assert "python -m tests.chaos --seed 7 --seconds 9" in capsys.readouterr().out
    assert main(["--seed", "8"], tmp_path, Runs(7)) == 1

    assert main(["--seed", "9"], tmp_path, runs := Runs()) == 0

    assert runs.seen == [Options(7, seconds=9.0), Options(9)]
    assert FailedSeeds(tmp_path).lines() == []


def test_a_run_that_never_came_to_its_end_counts_as_failed(tmp_path: Path) -> None:
    def broken(options: Options, folder: Path) -> Report:
        raise TimeoutError("the workers did not begin")

    with pytest.raises(TimeoutError):
        main(["--seed", "3"], tmp_path, broken)

    assert FailedSeeds(tmp_path).lines() == ["--seed 3"]


def test_without_a_seed_one_is_drawn_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([], tmp_path, runs := Runs())

    assert f"--seed {runs.seen[0].seed}" in capsys.readouterr().out
