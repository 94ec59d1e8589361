"""A worker whose fold is of the previous version: what the present one keeps it cannot load, and the other way round."""

from __future__ import annotations

from pipeline import rules
from pipeline.cli import main

if __name__ == "__main__":
    rules.FOLD_VERSION -= 1
    main()
