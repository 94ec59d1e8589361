"""Public data sets, which are no part of this repository."""

from __future__ import annotations

import os
from pathlib import Path


def dataset(name: str) -> Path:
    """Return the folder of a data set: in ``DATASETS``, or in ``shared/datasets`` beside the repository.

    Raises
    ------
    FileNotFoundError
        It is in neither.
    """
    named = os.environ.get("DATASETS")
    roots = [Path(named)] if named else [parent / "shared/datasets" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"there is no data set {name}; DATASETS can name the folder that has it")
