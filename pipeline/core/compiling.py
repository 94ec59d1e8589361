"""How kernels are compiled, and what they need to run uncompiled, with ``NUMBA_DISABLE_JIT=1``.

Every module with kernels has its ``njit`` from here: then the folder where compiled ones are kept is set, and numba is imported
where there are kernels only.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import config, njit
from numba.core import event
from numba.cpython.unsafe.tuple import tuple_setitem  # fills a tuple in a loop; numba has no other way
from numba.extending import overload

__all__ = ["njit", "record", "telling", "uncounted", "with_item"]

_PACKAGE = Path(__file__).parents[1]

F = TypeVar("F", bound=Callable[..., Any])

# numba's types leave this option out
_UNCOUNTED: dict[str, Any] = {"_nrt": False}


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


def uncounted(function: F) -> F:
    """Return a kernel that counts no references to arrays.

    Counted atomically at every touch, they took four fifths of the fold's loop. What makes an array is refused by the
    compiler; views are allowed.
    """
    compiled: F = njit(cache=True, nogil=True, **_UNCOUNTED)(function)
    return compiled


class _Teller(event.Listener):
    """Tells of the first compilation."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell: Callable[[], object] | None = tell

    def on_start(self, _: Any) -> None:
        """Tell, unless that was done."""
        if self._tell is not None:
            self._tell()
        self._tell = None

    def on_end(self, _: Any) -> None:
        """Tell nothing."""


@contextlib.contextmanager
def telling(tell: Callable[[], object]) -> Iterator[None]:
    """Call something once, before a kernel is compiled; not at all if all that are used were compiled before."""
    with event.install_listener("numba:compile", _Teller(tell)):
        yield


class _Row(np.void):  # type: ignore[misc]  # numpy's own records inherit from it too
    """A record whose fields are attributes, as in a compiled kernel: numbers as wide as there, records and views of arrays."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__
        if name not in (found("dtype").fields or ()):
            return found(name)
        value = self[name]
        return value if isinstance(value, np.void | np.ndarray) else value.item()

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def record(fields: Sequence[Any]) -> np.dtype[Any]:
    """Return the type of records of which kernels take fields as attributes; within another record it is one likewise.

    Examples
    --------
    >>> record([("seen", np.int32), ("mean", np.float64)]).itemsize
    12
    """
    # Numba knows no class of records but numpy's own, and that has no such attributes
    kind: Any = (_Row, fields) if config.DISABLE_JIT else fields  # type: ignore[attr-defined]  # numba makes its options
    made: np.dtype[Any] = np.dtype(kind)
    return made


def with_item(items: Any, place: int, value: float) -> Any:
    """Return a tuple with another value at a place: what kernels have that make no array.

    Examples
    --------
    >>> with_item((1.0, 2.0, 3.0), 1, 5.0)
    (1.0, 5.0, 3.0)
    """
    return (*items[:place], value, *items[place + 1 :])


@overload(with_item)
def _compiled_with_item(items: Any, place: int, value: float) -> Any:
    def compiled(items: Any, place: int, value: float) -> Any:
        return tuple_setitem(items, place, value)  # type: ignore[call-arg]  # the compiler gives the first argument itself

    return compiled
