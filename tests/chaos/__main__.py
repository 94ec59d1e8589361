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
from dataclasses import fields
from pathlib import Path

import orjson

from tests.chaos.faults import KINDS
from tests.chaos.figures import table
from tests.chaos.run import Options, Run

FOLDER = Path("build/chaos")
FAILED = FOLDER / "failed-seeds"


def main(arguments: list[str]) -> int:
    """Run what failed before, then what is asked for; return the exit code."""
    # So that services and file system do not outlive a driver that is told to stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked = arguments if "--seed" in arguments else [*arguments, "--seed", str(secrets.randbelow(10**6))]
    before = [shlex.split(line) for line in FAILED.read_text().splitlines()] if FAILED.exists() else []
    worst = 0
    for each in [*(old for old in before if old != asked), asked]:
        worst |= _run(each)
    return worst


def _run(arguments: list[str]) -> int:
    options = _options(arguments)
    again = shlex.join(arguments)
    print(f"seed {options.seed}; the same once more: python -m tests.chaos {again}", flush=True)
    _remember(again, failed=True)
    report = Run(options, FOLDER / f"seed-{options.seed}").go()
    (FOLDER / f"report-{options.seed}.json").write_bytes(orjson.dumps(report.summary, option=orjson.OPT_INDENT_2))
    print(table(report))
    print(orjson.dumps(report.summary | {"faults": len(report.faults)}).decode())
    for text in report.trouble:
        print(f"TROUBLE: {text}")
    print(f"seed {options.seed} {'holds' if report.holds else f'FAILS: python -m tests.chaos {again}'}", flush=True)
    _remember(again, failed=not report.holds)
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


def _remember(line: str, *, failed: bool) -> None:
    """Keep the options of a run that failed, also of one that never came to its end."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = [old for old in (FAILED.read_text().splitlines() if FAILED.exists() else []) if old != line]
    FAILED.write_text("".join(f"{old}\n" for old in [*kept, *([line] if failed else [])]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
