"""Ids of many events at once: from text to numbers, and sums of them that do not depend on an order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import ArchiveDamaged
from pipeline.store.identity import Uuids

_NO_TIMES = np.empty(0, np.int64)
_TEXT = 36
_DIGITS = np.array([at for at in range(_TEXT) if at not in {8, 13, 18, 23}])
_VALUES = np.full(256, 255, np.uint8)
_VALUES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)

CHECKSUM = (
    "COALESCE(sum(('x' || encode(uuid_send(event_id), 'hex'))::bit(64)::bigint)"
    " + sum(('x' || substr(encode(uuid_send(event_id), 'hex'), 17))::bit(64)::bigint), 0)"
)
"""The same sum by the database; it has to be taken modulo 2**64."""


def halves(texts: pa.ChunkedArray) -> Uuids:
    """Return ids as their high and low 64 bits, shape (n,) each.

    Parameters
    ----------
    texts
        n ids as text.

    Raises
    ------
    ArchiveDamaged
        If one is no id.

    Examples
    --------
    >>> halves(pa.chunked_array([["00000000-0000-0001-ffff-ffffffffffff"]])).high.tolist()
    [1]
    """
    if not len(texts):
        return Uuids(np.empty(0, np.uint64), np.empty(0, np.uint64))
    found = [_halves(chunk) for chunk in texts.cast(pa.large_string()).chunks if len(chunk)]
    return Uuids(np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found]))


def _halves(texts: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    _, offsets, characters = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if texts.null_count or not (np.diff(ends) == _TEXT).all():
        raise ArchiveDamaged("an event's id is no uuid")
    characters_of_each = np.frombuffer(characters, np.uint8)[ends[0] : ends[-1]].reshape(-1, _TEXT)
    values = _VALUES[characters_of_each[:, _DIGITS]]
    if (values == 255).any():
        raise ArchiveDamaged("an event's id is no uuid")
    both = np.ascontiguousarray(values[:, ::2] << 4 | values[:, 1::2]).view(">u8").astype(np.uint64)
    return both[:, 0], both[:, 1]


def checksum(ids: Uuids) -> int:
    """Return the sum of both halves of all ids, modulo 2**64: equal sets have equal ones, in any order.

    Examples
    --------
    >>> checksum(Uuids(np.array([1, 2], np.uint64), np.array([2**64 - 1, 0], np.uint64)))
    2
    """
    return (int(ids.high.sum(dtype=np.uint64)) + int(ids.low.sum(dtype=np.uint64))) % 2**64


def are_among(
    mine: Uuids, mine_stored: npt.NDArray[np.int64], others: Uuids, others_stored: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which rows, by id and time of storing, are among others; shape (n,)."""
    return np.isin(_keys(mine, mine_stored), _keys(others, others_stored))


def surplus(
    mine: Uuids,
    mine_stored: npt.NDArray[np.int64],
    others: Uuids,
    others_stored: npt.NDArray[np.int64],
    logs: npt.NDArray[np.int64] = _NO_TIMES,
) -> npt.NDArray[np.bool_]:
    """Return which rows others lack, shape (n,), where ids may repeat.

    Of an id that is here more often than there, as many rows are missing there as it is more: first those whose time of storing
    is not there either, and of these the latest. A row that was stored once more after the database was restored, at
    another time, is therefore none.

    Parameters
    ----------
    mine, others
        Ids of n and m rows.
    mine_stored, others_stored
        When they were stored, µs since the epoch; shape (n,) and (m,).
    logs
        Instants, rising, at which another log began: an id from before is not the one from after.

    Examples
    --------
    >>> def ids(*low): return Uuids(np.zeros(len(low), np.uint64), np.array(low, np.uint64))
    >>> surplus(ids(1, 2, 2, 3), np.array([5, 5, 9, 6]), ids(2, 3), np.array([5, 4])).tolist()
    [True, False, True, False]
    """
    n = len(mine_stored)
    of_log, others_log = (np.searchsorted(logs, stored, side="right") for stored in (mine_stored, others_stored))
    key = np.r_[_keys(mine, of_log), _keys(others, others_log)]
    _, number = np.unique(key, return_inverse=True)
    here, there = number[:n], number[n:]
    more = np.bincount(here, minlength=len(key)) - np.bincount(there, minlength=len(key))
    lacking = more[here] > 0
    absent_there = np.bincount(there, minlength=len(key))[here] == 0
    undecided = np.flatnonzero(lacking & ~absent_there)
    if len(undecided):
        _decide(
            lacking, undecided, here, mine_stored, set(zip(there.tolist(), others_stored.tolist(), strict=True)), more
        )
    return lacking


def _decide(
    lacking: npt.NDArray[np.bool_],
    undecided: npt.NDArray[np.int64],
    number: npt.NDArray[np.int64],
    stored: npt.NDArray[np.int64],
    there: set[tuple[int, int]],
    more: npt.NDArray[np.int64],
) -> None:
    """Choose among rows of ids that others have, but not as often."""
    left = more.copy()
    pairs = [(int(number[at]), int(stored[at]), int(at)) for at in undecided]
    for id_, _, at in sorted(pairs, key=lambda pair: (pair[:2] in there, -pair[1])):
        lacking[at] = left[id_] > 0
        left[id_] -= 1


def _keys(ids: Uuids, more: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    keys = np.empty(len(ids.high), [("high", np.uint64), ("low", np.uint64), ("more", np.int64)])
    keys["high"], keys["low"] = ids
    keys["more"] = more
    return keys
