"""``python -m benchmarks.evaluation NAME [argument …]``: run the main of ``benchmarks.evaluation.NAME``."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from benchmarks import evaluation

PARTS = sorted(
    each.name for each in pkgutil.iter_modules(evaluation.__path__) if hasattr(each, "name") and each.name != "__main__"
)


def main(arguments: list[str]) -> None:
    """Run the part that the first argument names, with the others."""
    if not arguments or arguments[0] not in PARTS:
        raise SystemExit(f"python -m benchmarks.evaluation {{{','.join(PARTS)}}} [argument …]")
    importlib.import_module(f"benchmarks.evaluation.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
