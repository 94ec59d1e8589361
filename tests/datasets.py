"""Public data sets, which are no part of this repository."""

from __future__ import annotations

from pathlib import Path

from benchmarks.evaluation import datasets
from tests.absent import absent


def dataset(name: str) -> Path:
    """Return the folder of a data set; without it the test is skipped, or fails where nothing may be missing."""
    try:
        return datasets.dataset(name)
    except FileNotFoundError as error:
        absent(error)
