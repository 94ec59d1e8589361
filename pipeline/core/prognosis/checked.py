"""Arrays and numbers of a stored model or learner, looked at before anything is computed with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

LONGEST_NAME = 256
"""Characters."""


def array(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> npt.NDArray[Any]:
    """Return a copy of an array of finite numbers that can be written to, so that kernels know only one type of it.

    Parameters
    ----------
    shape
        What it has to be; -1: any length.

    Raises
    ------
    ValueError
        If it is missing, or anything else.

    Examples
    --------
    >>> array({"weights": np.ones(3)}, "weights", (3,))
    array([1., 1., 1.])
    >>> array({"weights": np.ones(3)}, "weights", (2,))
    Traceback (most recent call last):
    ValueError: weights is float64 of shape (3,); float64 of shape (2,) is expected
    """
    found = arrays.get(name)
    expected = np.dtype(dtype)
    if not isinstance(found, np.ndarray) or found.dtype != expected or not _fits(found.shape, shape):
        what = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "no array"
        raise ValueError(f"{name} is {what}; {expected} of shape {shape} is expected")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has a number that is not finite")
    return np.array(found, expected, order="C")


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(found) == len(wanted) and all(each in (-1, length) for each, length in zip(wanted, found, strict=True))


def number(arrays: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """Return a number in [low, high]; raises :class:`ValueError` if it is missing, or anything else.

    Examples
    --------
    >>> number({"horizon": 125}, "horizon", 1.0, 1e6)
    125.0
    """
    found = arrays.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError(f"{name} is {found!r}; a number is expected")
    if not low <= found <= high:
        raise ValueError(f"{name} is {found!r}; it has to be within [{low:g}, {high:g}]")
    return float(found)


def names(arrays: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts that can be stored, not empty, none twice; raises :class:`ValueError` if it is none.

    Examples
    --------
    >>> names({"features": ["oil.fast", "age"]}, "features")
    ('oil.fast', 'age')
    """
    found = arrays.get(name)
    if not isinstance(found, list | tuple) or not found or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{name} is no list of texts")
    if any("\0" in each or len(each) > LONGEST_NAME for each in found):
        raise ValueError(f"{name} has a text with U+0000, or of more than {LONGEST_NAME} characters")
    if len(set(found)) < len(found):
        raise ValueError(f"{name} has a text twice")
    return tuple(found)


def rows(given: Any, width: int) -> npt.NDArray[np.float64]:
    """Return rows of numbers as kernels take them; raises :class:`ValueError` if they have another width.

    Examples
    --------
    >>> rows([[1, 2]], 2)
    array([[1., 2.]])
    """
    found = np.array(given, np.float64, order="C")
    if found.ndim != 2 or found.shape[1] != width:
        raise ValueError(f"the rows have shape {found.shape}; (n, {width}) is expected")
    return found
