"""``make chaos``: faults at random, by seed, until it is clear that nothing is lost or doubled.

Seeds that failed are kept in ``build/chaos/failed-seeds`` with their options and are run first at the next start, until they
hold. The exit code is 1 when something differs.
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import orjson

from tests.chaos.faults import KINDS
from tests.chaos.figures import table
from tests.chaos.report import Options, Report, counted
from tests.chaos.run import Run

FOLDER = Path("build/chaos")

Go = Callable[[Options, Path], Report]
"""Does one run in a folder."""


def main(
    arguments: list[str], folder: Path = FOLDER, go: Go = lambda options, folder: Run(options, folder).go()
) -> int:
    """Run what failed before, then what is asked for; return the exit code."""
    # So that services and file system do not outlive a driver that is told to stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = FailedSeeds(folder)
    asked = arguments if "--seed" in arguments else [*arguments, "--seed", str(secrets.randbelow(10**6))]
    runs = [*(old for old in failed.lines() if old != shlex.join(asked)), shlex.join(asked)]
    return max(_run(line, failed, folder, go) for line in runs)


class FailedSeeds:
    """The options of runs that failed, or never came to their end, one run a line; kept in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "failed-seeds"

    def lines(self) -> list[str]:
        """Return them, oldest first."""
        return self._file.read_text().splitlines() if self._file.exists() else []

    def note(self, line: str, *, failed: bool) -> None:
        """Keep a line, or forget it."""
        kept = [old for old in self.lines() if old != line]
        self._file.write_text("".join(f"{old}\n" for old in [*kept, *([line] if failed else [])]))


def _run(line: str, failed: FailedSeeds, folder: Path, go: Go) -> int:
    options = _options(shlex.split(line))
    print(f"seed {options.seed}; the same once more: python -m tests.chaos {line}", flush=True)
    failed.note(line, failed=True)
    report = go(options, folder / f"seed-{options.seed}")
    (folder / f"report-{options.seed}.json").write_bytes(orjson.dumps(report.summary, option=orjson.OPT_INDENT_2))
    print(table(report))
    print(orjson.dumps(report.summary | {"faults": len(counted(report.faults))}).decode())
    for text in report.trouble:
        print(f"TROUBLE: {text}")
    print(f"seed {options.seed} {'holds' if report.holds else f'FAILS: python -m tests.chaos {line}'}", flush=True)
    failed.note(line, failed=not report.holds)
    return 0 if report.holds else 1


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    for each in fields(Options):
        name = f"--{each.name.replace('_', '-')}"
        if each.name == "only":
            parser.add_argument(
                name, action="append", choices=sorted(KINDS), default=[], help="a kind of fault, repeatable"
            )
        else:
            kind = float if each.type == "float" else int
            parser.add_argument(name, type=kind, required=each.name == "seed", default=None)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return Options(**given | {"only": tuple(given["only"])})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
