"""Compiled kernels are kept between starts, and never outlive a change to what they call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from numba import config

from pipeline.core.compiling import njit, telling

PACKAGE = Path(__file__).parents[2] / "pipeline"

FOLDER = "from pipeline.core.compiling import config; print(config.CACHE_DIR)"


def said(folder: Path, program: str, **more: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=variables | {"PYTHONPATH": str(folder)} | more,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_compiled_kernels_are_kept_apart_for_each_state_of_the_sources(tmp_path: Path) -> None:
    """A change in a module that another one's kernel calls."""
    shutil.copytree(PACKAGE, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    before = said(tmp_path, FOLDER)
    assert said(tmp_path, FOLDER) == before

    with (tmp_path / "pipeline/core/windowing/watermark.py").open("a") as source:
        source.write("# another text\n")

    assert said(tmp_path, FOLDER) != before


def test_the_environment_says_where_compiled_kernels_are_if_it_says_so(tmp_path: Path) -> None:
    assert said(PACKAGE.parent, FOLDER, NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_that_a_kernel_is_compiled_is_told_once_and_of_a_compiled_one_nothing() -> None:
    told: list[int] = []
    kernels = [njit(lambda x: x + 1), njit(lambda x: x + 2)]

    for _ in range(2):
        with telling(lambda: told.append(len(told))):
            assert [kernel(1) for kernel in kernels] == [2, 3]

    assert told == ([] if config.DISABLE_JIT else [0])
