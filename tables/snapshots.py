"""A partition's state as bytes: plain arrays with a version, compressed; no pickles, which do not survive upgrades."""

from __future__ import annotations

from typing import Any

import cramjam
import msgspec
import numpy as np

from pipeline.core.state import PartitionState

FORMAT_VERSION = 1

_LEVEL = 1  # zstd; higher levels cost seconds per 100 MB and gain a tenth


def encode(arrays: dict[str, Any]) -> tuple[bytes, int]:
    """Return compressed bytes of what :meth:`PartitionState.to_arrays` gave, and their size before compression."""
    plain = {
        name: {"dtype": value.dtype.descr, "shape": value.shape, "bytes": value.tobytes()}
        if isinstance(value, np.ndarray)
        else value
        for name, value in arrays.items()
    }
    raw = msgspec.msgpack.encode({"format": FORMAT_VERSION, "state": plain})
    return bytes(cramjam.zstd.compress(raw, level=_LEVEL)), len(raw)


def decode(state: bytes) -> PartitionState:
    """Return the state that :func:`encode` made bytes of.

    Raises
    ------
    ValueError
        If the bytes are of another format or version, or were damaged.
    """
    try:
        plain = msgspec.msgpack.decode(bytes(cramjam.zstd.decompress(state)))
        found = plain["format"]
        if found == FORMAT_VERSION:
            return PartitionState.from_arrays({name: _array(value) for name, value in plain["state"].items()})
    except Exception as error:  # whatever is wrong with the bytes, the log can be folded again
        msg = f"the snapshot cannot be read: {error!r}"
        raise ValueError(msg) from error
    msg = f"the snapshot's format {found} is not {FORMAT_VERSION}"
    raise ValueError(msg)


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
