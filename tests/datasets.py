"""Public data sets, which are no part of this repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def dataset(name: str) -> Path:
    """Return the folder of a data set: in ``DATASETS``, or in ``shared/datasets`` beside the clone; skip if it is not there."""
    named = os.environ.get("DATASETS")
    roots = [Path(named)] if named else [parent / "shared/datasets" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / name).is_dir():
            return root / name
    pytest.skip(f"no data set {name}; DATASETS can name the folder that has it")
