"""``python -m benchmarks.evaluation NAME [argument …]``: run ``benchmarks.evaluation.NAME``, which prints its figures."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    import_module(f"benchmarks.evaluation.{sys.argv[1]}").main(sys.argv[2:])
