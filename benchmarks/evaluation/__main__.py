"""``python -m benchmarks.evaluation [NAME [argument …]]``: run ``main`` of ``benchmarks.evaluation.NAME``, or all of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

PARTS = ("nab", "skab", "cmapss", "maintenance", "failure_type", "plant", "changes", "budget", "costs")


def main(arguments: Sequence[str]) -> None:
    """Run the part that the first argument names, with the others; without any, all parts that have their data."""
    for part in arguments[:1] or PARTS:
        print(f"\n{part}\n{'=' * len(part)}")
        try:
            importlib.import_module(f"benchmarks.evaluation.{part}").main(arguments[1:])
        except FileNotFoundError as absent:
            if arguments:
                raise SystemExit(str(absent)) from absent
            print(absent)


if __name__ == "__main__":
    main(sys.argv[1:])
