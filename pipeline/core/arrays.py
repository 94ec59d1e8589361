"""Arrays as plain values and back, for states and models that are stored; no pickles, which do not survive upgrades."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def to_plain(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name with each array as a mapping of its dtype, shape and bytes; other values stay what they are.

    Examples
    --------
    >>> plain = to_plain({"weights": np.array([[1.5, 2.5]]), "name": "a"})
    >>> plain["weights"]["shape"], plain["name"]
    ((1, 2), 'a')
    >>> from_plain(plain)["weights"]
    array([[1.5, 2.5]])
    """
    return {
        name: {"dtype": value.dtype.descr, "shape": value.shape, "bytes": value.tobytes()}
        if isinstance(value, np.ndarray)
        else value
        for name, value in arrays.items()
    }


def from_plain(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`to_plain` was given, also after MessagePack has made lists of its tuples; arrays cannot be written to.

    Raises
    ------
    ValueError, TypeError, LookupError
        If a mapping among the values is none that stands for an array.
    """
    return {name: _array(value) for name, value in plain.items()}


def _array(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    dtype = np.dtype(_fields(value["dtype"]))
    return np.frombuffer(value["bytes"], dtype).reshape(value["shape"])


def _fields(described: Any) -> Any:
    """Return what numpy takes for a record, or for a plain type, from what :attr:`numpy.dtype.descr` became as lists."""
    if described[0][0] == "":
        return described[0][1]
    return [
        (name, kind if isinstance(kind, str) else _fields(kind), *map(tuple, shape)) for name, kind, *shape in described
    ]
