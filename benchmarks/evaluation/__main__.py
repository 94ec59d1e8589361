"""``python -m benchmarks.evaluation NAME [argument …]``: run ``main`` of ``benchmarks.evaluation.NAME``."""

from __future__ import annotations

import importlib
import sys


def main(arguments: list[str]) -> None:
    """Run the part that the first argument names, with the others."""
    if not arguments:
        raise SystemExit(__doc__)
    importlib.import_module(f"benchmarks.evaluation.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
