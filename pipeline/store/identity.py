"""Deterministic ids: the same source record has the same ids, in every run and every replay."""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.records import SourcePartition

_VERSION_8 = np.uint64(0x8000)
_VARIANT = np.uint64(0x8000_0000_0000_0000)


class Uuids(NamedTuple):
    """n uuids as their high and low 64 bits."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]


def source_id(cluster: str, source: SourcePartition) -> int:
    """Return a number in ``[0, 2**31)`` that stands for a source partition in wide tables.

    Examples
    --------
    >>> source = SourcePartition("telemetry.machine", 3)
    >>> source_id("aurora", source) == source_id("aurora", source) != source_id("borealis", source)
    True
    """
    return _digest(f"{cluster}\0{source.topic}\0{source.partition}") >> 33


@functools.lru_cache(maxsize=65_536)
def seed(cluster: str, source: SourcePartition, kind: str = "") -> int:
    """Return what sets the ids of one partition and one kind of event apart from all others.

    Parameters
    ----------
    kind
        What an event is about its record: empty for the record itself, else for example the sensor and the kind of anomaly.
    """
    return _digest(f"{cluster}\0{source.topic}\0{source.partition}\0{kind}")


def event_ids(
    seeds: npt.NDArray[np.uint64],
    times_ms: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    indexes: npt.NDArray[np.int32],
) -> Uuids:
    """Return the ids of events, shape (n,): version-8 uuids (RFC 9562) that begin with the event time in ms.

    The rest is a mix of seed, offset and index, so a row is found through partition pruning by its id alone, and the id of
    a record that is read again is the same.

    Parameters
    ----------
    seeds
        From :func:`seed`; shape (n,) or (1,).
    times_ms
        Event times, ms since the epoch, UTC, in ``[0, 2**48)``.
    """
    place = offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + indexes.astype(np.uint64)
    mixed = _mix(seeds ^ _mix(place))
    more = _mix(mixed + seeds)
    high = times_ms.astype(np.uint64) << np.uint64(16) | _VERSION_8 | more >> np.uint64(52)
    return Uuids(high, _VARIANT | mixed >> np.uint64(2))


def control_id(whence: str) -> int:
    """Return the number of a control record that a source record makes, in ``[2**62, 2**63)``; counted ones are less.

    Examples
    --------
    >>> control_id("a") == control_id("a") != control_id("b")
    True
    """
    return 2**62 | _digest(whence) >> 2


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread 64 bits (the finaliser of splitmix64, Steele et al. 2014); a bijection."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = x ^ x >> np.uint64(31)
    return mixed
