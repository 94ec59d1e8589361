"""Room in memory for what the services of the tests keep: a database's 800 files are made and deleted there at no cost."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30
_PREFIX = "pipeline-tests-"


@contextmanager
def room(otherwise: Path) -> Iterator[Path]:
    """Return an empty folder in memory, deleted at the end; where memory has no folder or too little is free, the other one.

    A service that is killed finds there what it wrote, as it would on a disk: only a power cut would tell them apart.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ENOUGH:
        yield otherwise
        return
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_MEMORY))
    # The database's user has to pass through
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Delete what killed runs left behind."""
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)
