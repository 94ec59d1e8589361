"""The rules of the plant, pure: no broker, no database, no clock, no logging."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path

from numba import config

_PACKAGE = Path(__file__).parents[1]


def _kernels() -> Path:
    """Return the folder for compiled kernels: another one whenever a source changes.

    Numba takes a compiled function for up to date if its own file is, whatever has changed in those that it calls.
    """
    checksum = 0
    for path in sorted(_PACKAGE.rglob("*.py")):
        # An editor's own files come and go
        with contextlib.suppress(FileNotFoundError):
            checksum = zlib.crc32(path.read_bytes(), checksum)
    return _PACKAGE / "__pycache__" / f"kernels-{checksum:08x}"


# Where a folder is named by the environment, or cannot be written, numba finds its own way
if not config.CACHE_DIR:  # type: ignore[attr-defined]  # numba makes its options when it starts
    config.CACHE_DIR = str(_kernels())  # type: ignore[attr-defined]  # likewise
