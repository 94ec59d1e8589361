"""How kernels are compiled that make no array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

# numba's types leave this option out
_UNCOUNTED: dict[str, Any] = {"_nrt": False}


def uncounted(function: F) -> F:
    """Return a kernel that counts no references to arrays.

    Counted atomically at every touch, they took four fifths of the fold's loop. What makes an array is refused by the
    compiler; views are allowed.
    """
    compiled: F = njit(cache=True, nogil=True, **_UNCOUNTED)(function)
    return compiled
